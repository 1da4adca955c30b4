"""Are the compiled modules there, and do they belong to these sources?

Design: in a source checkout (``src/`` beside the package) the compiled modules may be older than
the sources.  Modification times decide quickly; only when a source is newer than a module is the
digest compared that the build wrote down.  An installed wheel has no sources and is not checked.
``MINIGRAD_STALE=allow`` switches the check off, for those who edit kernels with the editor open.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
COMMAND = "python setup.py build_ext --inplace"


def sources() -> list[Path]:
    """Every file that the compiled modules are made of; empty outside a checkout."""
    root = PACKAGE.parent / "src"
    if not (root / "tape.pyx").exists():
        return []
    found = [p for p in root.rglob("*") if p.suffix in {".c", ".h", ".pyx"}]
    return found + sorted(PACKAGE.rglob("*.pxd"))


def digest(paths: list[Path]) -> str:
    """blake2b over names and contents, in path order; setup.py computes the same."""
    import hashlib  # here: only a checkout whose sources are younger than its binaries needs it

    total = hashlib.blake2b(digest_size=16)
    for path in sorted(paths, key=lambda p: p.relative_to(PACKAGE.parent).as_posix()):
        total.update(path.relative_to(PACKAGE.parent).as_posix().encode())
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()


def binaries() -> list[Path]:
    """The compiled modules of this interpreter."""
    tag = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
    found = [*PACKAGE.glob("_*.so"), *PACKAGE.glob("_kernels/*.so")]
    found = [p for p in found if tag in p.name or "cpython" not in p.name]
    return [*found, *PACKAGE.glob("_*.pyd"), *PACKAGE.glob("_kernels/*.pyd")]


def check_binaries() -> None:
    """Raise ImportError, naming the command, when compiled modules are missing or stale."""
    built = binaries()
    if not built:
        raise ImportError(
            "minigrad's compiled modules are not built for this Python "
            f"({sys.version.split()[0]}); run `pip install -e .` or `{COMMAND}` in {PACKAGE.parent}"
        )
    paths = sources()
    if not paths or os.environ.get("MINIGRAD_STALE") == "allow":
        return
    oldest = min(p.stat().st_mtime for p in built)
    if max(p.stat().st_mtime for p in paths) <= oldest:
        return
    from ._kernels import dispatch

    if dispatch.build_info()["digest"] != digest(paths):
        raise ImportError(
            f"minigrad's compiled modules are older than the sources in {PACKAGE.parent / 'src'}; "
            f"run `{COMMAND}` there"
        )
