"""Replace a file whole, or not at all.

Design: `atomic_write` writes a temporary file beside the target, forces it to the disk, renames
it over the target and forces the folder. A process killed at any instruction leaves the old file
or the new one, never a mixture; an error leaves the old file and removes the temporary one. What
a killed process left behind is removed by the next write to the same target. It does not lock: of
two writers at once, the last rename wins. Next: `checkpoint.py`, which decides what the bytes
are.

Source: the sequence write, fsync, rename, fsync of the folder is the one that survives a crash on
POSIX file systems; see Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014,
section 4.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import time
from collections.abc import Iterable

STALE_SECONDS = (
    3600.0  # how long a temporary file is left alone where its process cannot be asked for
)
_writing: set[str] = set()  # temporary files that this process is writing now


def atomic_write(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Make `path` hold exactly the bytes of `chunks`, atomically and durably.

    A symbolic link stays one (its target is replaced) and an existing file keeps its permissions.
    Raises the operating system's own error (FileNotFoundError, PermissionError,
    IsADirectoryError, OSError "no space left"...) naming `path`; then the old file is untouched
    and no temporary file remains.
    """
    target = os.path.realpath(os.fspath(path))
    try:
        _write(target, chunks)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def _write(target: str, chunks: Iterable[bytes | memoryview]) -> None:
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    remove_stale(target)
    temporary = temporary_name(target)
    _writing.add(temporary)
    try:
        with open(temporary, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, os.stat(target).st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        _writing.discard(temporary)
    _sync_folder(os.path.dirname(target))


def temporary_name(target: str) -> str:
    """`.name.<process>-<random>.tmp` in the target's folder (a rename never crosses file
    systems)."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:40]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")


def remove_stale(target: str) -> None:
    """Delete the temporary files that dead processes left for this target."""
    folder, name = os.path.split(target)
    for left in glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name[:40])}.*-*.tmp")):
        owner = left.rsplit(".", 2)[-2].partition("-")[0]
        if owner.isdigit() and not _alive(int(owner), left):
            with contextlib.suppress(OSError):
                os.unlink(left)


def _alive(process: int, file: str) -> bool:
    if (
        process == os.getpid()
    ):  # a dead process may have had our number: containers start with the same one
        return file in _writing
    if os.name != "posix":  # elsewhere os.kill(process, 0) is not a question but a signal
        with contextlib.suppress(OSError):
            return time.time() - os.stat(file).st_mtime < STALE_SECONDS
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync_folder(folder: str) -> None:
    if os.name != "posix":  # only POSIX lets a folder be opened and forced
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)
