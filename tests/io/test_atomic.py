"""Design: whatever happens during a save, the file is the old one or the new one. Proved by
failing and by dying at every call to the operating system, and by killing a process that saves
all the time.
"""

import errno
import os
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minigrad.io
from minigrad.io import atomic

KILLS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 10


def content(folder):
    return sorted(p.name for p in folder.iterdir())


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "a"
    minigrad.io.atomic_write(path, [b"long old content"])
    minigrad.io.atomic_write(path, [b"ne", memoryview(b"w")])
    assert path.read_bytes() == b"new" and content(tmp_path) == ["a"]


def test_relative_path_is_written_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    minigrad.io.atomic_write("a", [b"x"])
    assert content(tmp_path) == ["a"]


def test_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    minigrad.io.atomic_write(tmp_path / "link", [b"new"])
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


def test_permissions_of_the_old_file_stay(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    minigrad.io.atomic_write(path, [b"new"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_missing_folder_is_the_systems_error_with_our_path(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        minigrad.io.save(tmp_path / "no" / "a", {"x": np.ones(2)})
    assert caught.value.filename == str(tmp_path / "no" / "a")


def test_folder_in_the_files_place_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        minigrad.io.save(tmp_path / "a", {"x": np.ones(2)})
    assert content(tmp_path) == ["a"]


FAULTS = [
    ("fsync", errno.EIO),
    ("fsync", errno.ENOSPC),
    ("replace", errno.EACCES),
    ("replace", errno.EROFS),
]


@pytest.mark.parametrize("call, number", FAULTS)
def test_failing_call_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call, number):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError) as caught:
        minigrad.io.atomic_write(path, [b"new"])
    assert caught.value.errno == number and caught.value.filename == str(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and content(tmp_path) == ["a"]


def test_file_and_then_its_folder_are_forced_to_the_disk(tmp_path, monkeypatch):
    forced, fsync = [], os.fsync

    def watched(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        forced.append(("folder" if folder else "file", (tmp_path / "a").exists()))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", watched)
    minigrad.io.atomic_write(tmp_path / "a", [b"new"])
    assert forced == [("file", False), ("folder", True)]


def test_interrupt_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def chunks():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minigrad.io.atomic_write(path, chunks())
    assert path.read_bytes() == b"old" and content(tmp_path) == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="limits of file size are POSIX")
def test_full_disk_leaves_the_old_file(tmp_path):
    program = """
        import resource, signal, sys
        import numpy as np
        import minigrad.io
        path = sys.argv[1]
        minigrad.io.save(path, {"x": np.ones(10)})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            minigrad.io.save(path, {"x": np.ones(100_000)})
        except OSError as error:
            print(error.filename == path, minigrad.io.load(path).tensors["x"].size)
    """
    done = run(program, tmp_path / "a")
    assert done.returncode == 0 and done.stdout.split() == ["True", "10"], done.stderr
    assert content(tmp_path) == ["a"]


def run(program, *args):
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_leftovers_of_dead_processes_are_removed_and_others_stay(tmp_path):
    path = tmp_path / "a"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".a.{dead.pid}-12ab.tmp", f".a.{os.getpid()}-12ab.tmp"):
        (tmp_path / name).write_bytes(b"half")  # the second: a dead process that had our number
    alive = [f".a.{os.getppid()}-12ab.tmp", f".b.{dead.pid}-12ab.tmp", ".a.note.tmp"]
    for name in alive:
        (tmp_path / name).write_bytes(b"")
    minigrad.io.atomic_write(path, [b"new"])
    assert content(tmp_path) == sorted(["a", *alive])


DIE = """
    import os, sys
    import minigrad.io.atomic as atomic
    path, calls, limit = sys.argv[1], 0, 0

    def counted(function):
        def call(*args, **options):
            global calls
            calls += 1
            if calls > limit:
                os._exit(9)
            return function(*args, **options)
        return call

    def chunks():
        for part in (b"new ", b"content"):
            yield counted(lambda: part)()

    def child():
        for name in ("fsync", "replace", "chmod", "stat", "close", "unlink"):
            setattr(os, name, counted(getattr(os, name)))
        atomic.open = counted(open)
        atomic.atomic_write(path, chunks())
        os._exit(0)

    status = 9
    while status == 9 and limit < 40:
        with open(path, "wb") as file:
            file.write(b"old content")
        limit += 1
        process = os.fork()
        if process == 0:
            child()
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        with open(path, "rb") as file:
            print(limit, status, file.read().decode(), sep=":")
"""


def test_process_that_dies_at_any_call_leaves_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "a"
    done = run(DIE, path)
    deaths = [line.split(":") for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(deaths) >= 7, done.stderr
    assert [status for _, status, _ in deaths] == ["9"] * (len(deaths) - 1) + ["0"]
    assert {text for *_, text in deaths} == {"old content", "new content"}
    minigrad.io.atomic_write(path, [b"x"])
    assert content(tmp_path) == ["a"]


KILL = """
    import os, random, signal, sys, time
    import numpy as np
    import minigrad.io
    path, draw = sys.argv[1], random.Random(0)

    def save_forever(pipe):
        for step in range(1_000_000):
            values = np.full(40_000, step, np.float32)
            minigrad.io.save(path, {"values": values}, {"step": str(step)})
            os.write(pipe, b"%d " % step)

    for _ in range(int(sys.argv[2])):
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            save_forever(writer)
        os.close(writer)
        first = os.read(reader, 2)
        time.sleep(draw.uniform(0, 0.05))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        with os.fdopen(reader, "rb") as file:
            done = int((first + file.read()).split()[-1])
        loaded = minigrad.io.load(path)
        step = int(loaded.metadata["step"])
        print(step - done, (loaded.tensors["values"] == step).all())
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_kill_at_any_moment_leaves_the_last_checkpoint_or_the_one_before(tmp_path):
    path = tmp_path / "run"
    done = run(KILL, path, KILLS)
    found = done.stdout.splitlines()
    assert done.returncode == 0 and len(found) == KILLS, done.stderr
    assert set(found) <= {"0 True", "1 True"}
    minigrad.io.save(path, {})
    assert content(tmp_path) == ["run"]
