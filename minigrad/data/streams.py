"""Reading files that nobody has checked yet: limits on bytes, members and compression.

Design: nothing here trusts a size that a file states about itself.  Compressed data is read as
a stream and counted; archives are read member by member into memory, only members that the
caller named, and nothing is ever extracted to disk, so a hostile name has nowhere to go.  Every
refusal is a ``DataFormatError`` that names the file.  Formats are elsewhere: ``idx.py``,
``cifar.py``, ``folder.py``, ``npz.py``.
"""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from minigrad.errors import DataFormatError

if TYPE_CHECKING:
    import tarfile

MAX_BYTES = 2 << 30  # of decompressed data from one file
MAX_MEMBERS = 300_000  # of one archive
MAX_DIRECTORY = 100 * MAX_MEMBERS  # bytes of a zip archive's own directory
MAX_RATIO = 200  # decompressed over compressed, for members larger than RATIO_FREE
RATIO_FREE = 16 << 20
CHUNK = 1 << 20
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)  # what a damaged gzip file raises
ZIP_DAMAGE = (  # OSError: a damaged offset makes zipfile seek before the start of the file
    zipfile.BadZipFile, KeyError, NotImplementedError, OSError, OverflowError, RuntimeError,
    ValueError,
)  # fmt: skip


def read_up_to(stream: IO[bytes], limit: int) -> bytes:
    """At most ``limit`` bytes of ``stream``, in chunks, so memory follows what is there."""
    parts, left = [], limit
    while left > 0 and (part := stream.read(min(CHUNK, left))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def open_maybe_gz(path: str | os.PathLike[str]) -> IO[bytes]:
    """``path`` opened for reading, through gzip if its first two bytes say so."""
    with open(path, "rb") as f:
        zipped = f.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")  # type: ignore[return-value]


def safe_name(name: str, archive: str) -> str:
    """``name`` if it stays inside the archive; DataFormatError for absolute paths and ``..``."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise DataFormatError(f"{archive}: member {name[:80]!r} points outside the archive")
    return "/".join(part for part in parts if part not in ("", "."))


class _Counted:
    """A stream that refuses to give more than ``limit`` bytes in all."""

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self.stream, self.limit, self.name, self.seen = stream, limit, name, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, or DataFormatError once the limit is passed."""
        part = self.stream.read(min(size, self.limit + 1) if size >= 0 else self.limit + 1)
        self.seen += len(part)
        if self.seen > self.limit:
            raise DataFormatError(f"{self.name}: unpacks to more than {self.limit} bytes; refused")
        return part


def tar_members(
    path: str | os.PathLike[str],
    wanted: Collection[str],
    *,
    ignored: Collection[str] = (),
    member_limit: int = 64 << 20,
    total_limit: int = 256 << 20,
) -> Iterator[tuple[str, bytes]]:
    """The ``wanted`` members of a .tar or .tar.gz, as (name, content), in file order.

    Raises   DataFormatError for a damaged archive, a member that is neither wanted nor ignored,
             a name that leaves the archive or comes twice, a link or device, and sizes or
             counts beyond the limits; FileNotFoundError if the archive is missing
    """
    import tarfile  # here, because few programs need it and it is slow to import

    archive = str(path)
    seen: set[str] = set()
    try:
        with open_maybe_gz(path) as raw:
            counted = _Counted(raw, total_limit, archive)
            with tarfile.open(fileobj=counted, mode="r|") as tar:  # type: ignore[call-overload]
                for count, member in enumerate(tar):
                    tar.members = []  # tarfile would remember every header
                    name = _checked_member(member, archive, seen, count)
                    if member.isdir() or name in ignored:
                        continue
                    if name not in wanted:
                        raise DataFormatError(f"{archive}: unexpected member {name[:80]!r}")
                    if member.size > member_limit:
                        raise DataFormatError(
                            f"{archive}: {name!r} has {member.size} bytes, limit {member_limit}"
                        )
                    content = tar.extractfile(member)
                    yield name, b"" if content is None else read_up_to(content, member.size)
    except DataFormatError:
        raise
    except (*DAMAGE, tarfile.TarError, ValueError, OverflowError) as error:
        raise DataFormatError(f"{archive}: damaged archive ({error})") from error


def _checked_member(member: tarfile.TarInfo, archive: str, seen: set[str], count: int) -> str:
    """The name of a tar member that is an ordinary file or folder, not met before."""
    name = safe_name(member.name, archive)
    if count >= MAX_MEMBERS:
        raise DataFormatError(f"{archive}: more than {MAX_MEMBERS} members; refused")
    if not (member.isfile() or member.isdir()):
        raise DataFormatError(f"{archive}: member {name!r} is a link or device")
    if name in seen and member.isfile():
        raise DataFormatError(f"{archive}: member {name!r} comes twice")
    seen.add(name)
    return name


def open_zip(path: str | os.PathLike[str]) -> zipfile.ZipFile:
    """A zip archive whose directory has passed inspection: names, kinds, sizes, count.

    Raises   DataFormatError for a damaged archive, names that leave it or come twice, links,
             encryption, methods but deflate, more than MAX_MEMBERS members, or a member that
             claims to unpack more than MAX_RATIO times; FileNotFoundError if the archive is missing
    """
    archive = str(path)
    _check_directory_size(Path(path))
    try:
        zipped = zipfile.ZipFile(path)
    except ZIP_DAMAGE as error:
        raise DataFormatError(f"{archive}: damaged zip archive ({error})") from error
    try:
        seen: set[str] = set()
        if len(zipped.infolist()) > MAX_MEMBERS:
            raise DataFormatError(f"{archive}: more than {MAX_MEMBERS} members; refused")
        for info in zipped.infolist():
            name = safe_name(info.filename, archive)
            if name in seen:
                raise DataFormatError(f"{archive}: member {name!r} comes twice")
            seen.add(name)
            if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000, 0o040000):
                raise DataFormatError(f"{archive}: member {name!r} is a link or device")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataFormatError(f"{archive}: member {name!r} is neither stored nor deflated")
            if info.flag_bits & 0x1:
                raise DataFormatError(f"{archive}: member {name!r} is encrypted")
            _check_ratio(info, archive)
    except BaseException:
        zipped.close()
        raise
    return zipped


def _check_directory_size(path: Path) -> None:
    """Refuses a zip whose directory alone would fill the memory, before it is parsed."""
    with open(path, "rb") as f:
        size = f.seek(0, os.SEEK_END)
        f.seek(max(0, size - 65_557))  # the end record, and the longest comment after it
        tail = f.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        raise DataFormatError(f"{path}: not a zip archive, or cut short (no end record)")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    end64 = tail.rfind(b"PK\6\6", 0, at)
    if directory == 0xFFFFFFFF and 0 <= end64 <= len(tail) - 48:  # zip64 has its own record
        directory = int.from_bytes(tail[end64 + 40 : end64 + 48], "little")
    if directory > MAX_DIRECTORY:
        raise DataFormatError(f"{path}: more than {MAX_MEMBERS} members; refused")


def _check_ratio(info: zipfile.ZipInfo, archive: str) -> None:
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > MAX_BYTES or (info.file_size > RATIO_FREE and ratio > MAX_RATIO):
        raise DataFormatError(
            f"{archive}: {info.filename!r} claims {info.file_size} bytes from"
            f" {info.compress_size}; refused (limits: {MAX_BYTES} bytes, ratio {MAX_RATIO})"
        )


def read_member(zipped: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The content of one member, at most ``limit`` bytes, its checksum verified.

    Raises   DataFormatError if it is longer, damaged or missing
    """
    where = f"{zipped.filename}: {name!r}"
    try:
        with zipped.open(name) as f:
            content = read_up_to(f, limit + 1)
    except (*DAMAGE, *ZIP_DAMAGE) as error:
        raise DataFormatError(f"{where}: damaged or missing ({error})") from error
    if len(content) > limit:
        raise DataFormatError(f"{where} is longer than {limit} bytes; refused")
    return content
