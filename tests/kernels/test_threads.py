"""Design: who decides how many threads run, and that nobody ever waits for threads that are gone.

That the number does not change a result is in ``test_isa_and_threads.py``. Environment variables,
forks and Ctrl-C are tried in processes of their own.
"""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import threadpoolctl

import minigrad
from minigrad._kernels import elementwise
from minigrad._kernels import threads as kernel
from minigrad.errors import ArgError

OPENMP = kernel.info()["openmp"]
needs_openmp = pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

BIG = """
import os, sys
import numpy as np
import minigrad
from minigrad._kernels import elementwise
x = np.arange(3_000_000, dtype=np.float32)
def work():
    return elementwise.add(x, x).tobytes()
"""


def run(code, timeout=60, **environment):
    """The output of `code`, after the lines of BIG, in a new process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BIG + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def restore():
    """Every test leaves the number as it was."""
    before = minigrad.get_num_threads()
    yield
    minigrad.set_num_threads(before)


def in_thread(function):
    """What `function` returns in a new thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


@needs_openmp
@pytest.mark.parametrize("n", [1, 2, 3, 5, 16])
def test_set_num_threads_reaches_every_thread(n):
    minigrad.set_num_threads(n)
    assert minigrad.get_num_threads() == n
    assert in_thread(minigrad.get_num_threads) == n
    assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {n}


@needs_openmp
def test_a_team_of_the_asked_size_really_runs():
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    code = """
from minigrad._kernels import threads
before = len(os.listdir("/proc/self/task"))
threads.set_num_threads(5)                   # the kernel's alone: BLAS would start threads too
work()
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run(code) == "4"


@pytest.mark.parametrize("n", [0, -1, -(2**70)])
def test_less_than_one_thread_is_refused(n):
    for function in (minigrad.set_num_threads, minigrad.threads):
        with pytest.raises(ArgError, match="at least 1"):
            function(n)


@pytest.mark.parametrize("n", [True, False, 1.0, "2", None, [1], np.float32(2)])
def test_what_is_no_int_is_refused(n):
    for function in (minigrad.set_num_threads, minigrad.threads):
        with pytest.raises(TypeError, match="must be an int"):
            function(n)


@needs_openmp
def test_numpy_integers_are_ints():
    minigrad.set_num_threads(np.int64(2))
    assert minigrad.get_num_threads() == 2


@needs_openmp
@pytest.mark.parametrize("n", [10**6, 2**31, 2**70])
def test_absurdly_many_threads_are_capped_with_a_warning(n):
    with pytest.warns(RuntimeWarning, match="using"):
        minigrad.set_num_threads(n)
    assert minigrad.get_num_threads() == max(16, 4 * os.cpu_count())


@needs_openmp
def test_threads_is_for_this_thread_nests_and_ends_with_an_exception():
    minigrad.set_num_threads(2)
    with minigrad.threads(1):
        assert minigrad.get_num_threads() == 1
        assert in_thread(minigrad.get_num_threads) == 2
        with minigrad.threads(3) as context:
            assert minigrad.get_num_threads() == 3
            with context:
                assert minigrad.get_num_threads() == 3
        assert minigrad.get_num_threads() == 1
        with pytest.raises(ZeroDivisionError), minigrad.threads(4):
            raise ZeroDivisionError
        assert minigrad.get_num_threads() == 1
    assert minigrad.get_num_threads() == 2
    assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {2}


@needs_openmp
def test_limits_from_outside_are_obeyed_and_lifted():
    minigrad.set_num_threads(3)
    with threadpoolctl.threadpool_limits(1):
        assert minigrad.get_num_threads() == 1
        with threadpoolctl.threadpool_limits(2, user_api="openmp"):
            assert minigrad.get_num_threads() == 2
    assert minigrad.get_num_threads() == 3


@needs_openmp
def test_the_environment_is_obeyed():
    code = "print(minigrad.get_num_threads())"
    for n in (1, 3, 5):
        assert run(code, OMP_NUM_THREADS=str(n)) == str(n)
    assert int(run(code, OMP_NUM_THREADS="1000000")) == max(16, 4 * os.cpu_count())
    assert int(run(code, OMP_NUM_THREADS="lots")) >= 1


def test_many_python_threads_get_the_same_bits():
    x = np.random.default_rng(0).standard_normal(400_000).astype(np.float32)
    want = elementwise.exp(x)
    same = []

    def work(n):
        with minigrad.threads(n):
            same.extend(np.array_equal(elementwise.exp(x), want) for _ in range(5))

    workers = [threading.Thread(target=work, args=(1 + i % 3,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert same == [True] * 30


@needs_fork
@needs_openmp
def test_a_forked_child_is_serial_after_threads_and_does_not_hang():
    code = """
minigrad.set_num_threads(2)
before = work()
pid = os.fork()
if pid == 0:
    ok = minigrad.get_num_threads() == 1 and work() == before
    minigrad.set_num_threads(2)
    with minigrad.threads(2):
        ok = ok and minigrad.get_num_threads() == 1 and work() == before
    again = os.fork()
    if again == 0:
        os._exit(0 if work() == before else 1)
    os._exit(0 if ok and os.waitpid(again, 0)[1] == 0 else 1)
print(os.waitpid(pid, 0)[1], minigrad.get_num_threads(), work() == before)
"""
    assert run(code) == "0 2 True"


@needs_fork
@needs_openmp
def test_a_child_forked_before_any_team_may_use_threads():
    code = """
minigrad.set_num_threads(2)
pid = os.fork()
if pid == 0:
    work()
    os._exit(minigrad.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(code) == "2"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method, tmp_path):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    script = tmp_path / "script.py"
    script.write_text(
        BIG + "\nimport multiprocessing, hashlib\n"
        "def task(i):\n    return hashlib.sha256(work()).hexdigest()\n"
        "if __name__ == '__main__':\n    here = task(0)\n"
        f"    with multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
        "        print(set(pool.map(task, range(4))) == {here})\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs signals to a process")
def test_ctrl_c_in_a_long_kernel():
    code = """
import threading, time, signal
from minigrad._kernels import memory
x = memory.empty_array(2**28)
x[...] = 0.5
minigrad.set_num_threads(2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sent = []
def send():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.1, send).start()
try:
    while True:
        elementwise.add(x, x)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - sent[0] < 2)
assert np.all(elementwise.neg(x[:100]) == -0.5)
"""
    assert run(code) == "interrupted True"


def test_info_says_what_was_built():
    info = kernel.info()
    assert set(info) == {"openmp", "version", "threads", "processors", "serial_after_fork"}
    assert info["threads"] == minigrad.get_num_threads() >= 1
    assert info["serial_after_fork"] is False
    assert (info["version"] is None) is (not info["openmp"])
