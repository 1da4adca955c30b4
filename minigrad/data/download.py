"""Downloads that are whole or absent.

Design: bytes go to ``<name>.part`` and the file gets its name, by an atomic rename, only when its
SHA-256 is right; an interrupted download continues where it stopped (HTTP Range).  A file with
the wrong checksum is kept as ``<name>.bad`` for inspection and never used.  Every failure says
from where the file can be fetched by hand and where it must be put.  Absent on purpose:
mirrors, authentication, unpacking.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from minigrad.errors import ArgError, DataFormatError, MinigradError

CHUNK = 1 << 18


class DownloadError(MinigradError, OSError):
    """A file could not be fetched: no network, no such address, or cut off in the middle."""


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str,
    max_bytes: int = 4 << 30,
    timeout: float = 30.0,
    progress: bool = False,
) -> Path:
    """The file at ``path``, fetched from ``url`` unless it is already there and right.

    ``timeout``    seconds without a byte before giving up
    ``progress``   show a bar on a terminal
    Raises   DownloadError if it cannot be fetched; DataFormatError if the checksum is wrong (the
             file is kept as ``.bad``) or it exceeds ``max_bytes``; ArgError unless http(s)
    """
    from http.client import HTTPException  # imported here: it takes 20 ms
    from urllib.error import URLError

    path = Path(path)
    if not url.startswith(("http://", "https://")):
        raise ArgError(f"download: only http and https addresses, got {url!r}")
    if path.exists() and sha256_of(path) == sha256:
        return path
    part = path.with_name(path.name + ".part")
    by_hand = f"fetch it by hand from {url} and put it at {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part, max_bytes, timeout, progress)
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"cannot download {path.name} ({reason}); {by_hand}") from error
    found = sha256_of(part)
    if found != sha256:
        bad = path.with_name(path.name + ".bad")
        os.replace(part, bad)
        raise DataFormatError(
            f"{path.name}: SHA-256 {found}, expected {sha256}; kept as {bad};"
            f" try again, or {by_hand}"
        )
    os.replace(part, path)
    _sync_folder(path.parent)
    return path


def _fetch(url: str, part: Path, max_bytes: int, timeout: float, progress: bool) -> None:
    """Completes ``part`` from ``url``, continuing what is there if the server can."""
    import urllib.error
    import urllib.request

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "minigrad"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:  # 416: nothing lies beyond what we have
            raise
        if (total := _total(error)) is not None and total != have:
            part.unlink()
            _fetch(url, part, max_bytes, timeout, progress)
        return
    with response:
        resumed = response.status == 206 and _starts_at(response, have)
        if have and response.status == 206 and not resumed:
            part.unlink()
            raise DownloadError(f"{url} answered with another range; try again")
        done = have if resumed else 0
        _copy(response, part, done, max_bytes, progress)


def _total(response: Any) -> int | None:
    """The whole file's length from ``Content-Range: bytes */1234``."""
    total = (response.headers.get("Content-Range") or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _starts_at(response: Any, offset: int) -> bool:
    given = response.headers.get("Content-Range") or ""
    return given.removeprefix("bytes ").split("-")[0].strip() == str(offset)


def _copy(response: Any, part: Path, done: int, max_bytes: int, progress: bool) -> None:
    """Appends the response's body to ``part``, which already holds ``done`` bytes."""
    from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

    length = response.headers.get("Content-Length") or ""
    total = done + int(length) if length.isdigit() else None
    bar = tqdm(
        desc=part.stem, total=total, initial=done, unit="B", unit_scale=True,
        disable=None if progress else True,
    )  # fmt: skip
    with bar, open(part, "ab" if done else "wb") as f:
        while block := response.read(CHUNK):
            done += len(block)
            if done > max_bytes:
                part.unlink()
                raise DataFormatError(f"{part}: more than {max_bytes} bytes; refused")
            f.write(block)
            bar.update(len(block))
        f.flush()
        os.fsync(f.fileno())
    if total is not None and done != total:
        raise ConnectionError(f"connection lost after {done} of {total} bytes; run it again")


def _sync_folder(folder: Path) -> None:
    """Makes the rename durable, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
