"""Design: a copy of the tree in a temporary folder, where faults are planted one at a time.

Two copies: `clean`, built once from what lies in the tree, and `bench`, which is brought back to it
(files whose time or size differ are copied again) before the next fault. So a fault costs what it
changes: a Cython module, or the objects of one C file for the best instruction set of this machine.
Objects of other instruction sets stay as they are; they are linked, but not used.

Nothing is ever changed in the tree itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.sabotage.fault import ROOT, Fault

COPIED = ("build", "minigrad", "src", "tests", "zoo", "setup.py", "pyproject.toml", "README.md",
          "LICENSE", "MANIFEST.in")  # fmt: skip
SKIPPED = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis", "lib.*")
TIMEOUT = 600


def includes(path: Path) -> set[str]:
    """Names of the headers that a C file or header, or the declarations in a .pyx, ask for."""
    pattern = r'#include "([^"]+)"|cdef extern from "([^"]+)"'
    return {a or b for a, b in re.findall(pattern, path.read_text())}


def users_of(header: str) -> list[Path]:
    """The C files and headers of src/simd that include a header, directly or not."""
    files = [p for p in (ROOT / "src/simd").iterdir() if p.suffix in (".c", ".h")]
    found, todo = [], [header]
    while todo:
        name = todo.pop()
        new = [p for p in files if name in includes(p) and p not in found]
        found += new
        todo += [p.name for p in new if p.suffix == ".h"]
    return found


def parts_to_build(file: str) -> tuple[list[str], list[str]]:
    """(modules, object files) that a source is part of; nothing for Python."""
    path = Path(file)
    if path.suffix == ".pyx":
        return (["_" + path.stem] if path.parent.name == "src" else [path.stem]), []
    if path.parent.name != "simd":
        return [], []
    users = [ROOT / file] if path.suffix == ".c" else users_of(path.name)
    headers = {p.name for p in users if p.suffix == ".h"} | {path.name}
    objects = sorted(p.stem for p in users if p.suffix == ".c" and p.stem != "choose")
    inline = [p.stem for p in sorted((ROOT / "src/kernels").glob("*.pyx"))
              if path.name in ("pool.h", "heap.h") and headers & includes(p)]  # fmt: skip
    return (["dispatch"] if objects else []) + inline, objects


def stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


class Workshop:
    """Two copies of the tree under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.clean, self.bench = folder / "clean", folder / "bench"
        self.planted = ""
        self.environment = {
            **os.environ,
            "MINIGRAD_STALE": "allow",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": "",
        }
        self.clean.mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.clean / name, ignore=SKIPPED, symlinks=True)
            elif source.exists():
                shutil.copy2(source, self.clean / name)
        self.build(self.clean, [])
        shutil.copytree(self.clean, self.bench, symlinks=True)
        where = self.python(self.bench, "-c", "import minigrad; print(minigrad.__file__)").stdout
        if not where.strip().startswith(str(self.bench)):
            raise RuntimeError(f"the copy imports {where.strip()}, not itself")
        show = "from minigrad._kernels import dispatch; print(dispatch.isa())"
        self.isa = self.python(self.bench, "-c", show).stdout.strip()

    def python(
        self, folder: Path, *command: str, profile: str = "sabotage"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=folder, capture_output=True, text=True,
            env={**self.environment, "HYPOTHESIS_PROFILE": profile}, timeout=TIMEOUT, check=False,
        )  # fmt: skip

    def build(self, folder: Path, modules: list[str]) -> None:
        only = ["--only", ",".join(modules)] if modules else []
        done = self.python(folder, "setup.py", "-q", "build_ext", "--inplace", *only)
        if done.returncode:
            raise RuntimeError("does not build:\n" + done.stderr[-2000:])

    def restore(self) -> None:
        """Make bench what clean is. The planted file may have kept its time and size."""
        if self.planted:
            shutil.copy2(self.clean / self.planted, self.bench / self.planted)
        for folder, _, names in os.walk(self.bench):
            for name in names:
                here = Path(folder) / name
                there = self.clean / here.relative_to(self.bench)
                if not there.exists():
                    here.unlink()
                elif stamp(here) != stamp(there):
                    shutil.copy2(there, here)
        for folder, _, names in os.walk(self.clean):
            for name in names:
                there = Path(folder) / name
                here = self.bench / there.relative_to(self.clean)
                if not here.exists():
                    here.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(there, here)

    def plant(self, fault: Fault) -> None:
        """Plant a fault in a restored bench and build what it is part of."""
        self.restore()
        before = (self.bench / fault.file).stat()
        fault.plant(self.bench)
        self.planted = fault.file
        modules, objects = parts_to_build(fault.file)
        if objects or fault.file.endswith(".h"):  # other objects must not look out of date
            os.utime(self.bench / fault.file, ns=(before.st_atime_ns, before.st_mtime_ns))
        for name in objects:
            for made in self.bench.glob(f"build/temp*/simd/{self.isa}_*/{name}.*"):
                made.unlink()
        for name in modules if fault.file.endswith(".h") else []:
            for made in [*self.bench.glob(f"build/temp*/**/{name}.o"),
                         *self.bench.glob(f"build/lib*/**/{name}.*.so"),
                         *self.bench.glob(f"minigrad/**/{name}.*.so")]:  # fmt: skip
                made.unlink()
        if modules:
            self.build(self.bench, modules)

    def noticed(self, tests: tuple[str, ...], profile: str = "sabotage") -> str | None:
        """The first complaint of the tests, or None if they pass."""
        command = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests)
        try:
            done = self.python(self.bench, *command, profile=profile)
        except subprocess.TimeoutExpired:
            return f"no answer in {TIMEOUT} s"
        if done.returncode == 0:
            return None
        if done.returncode > 1:
            raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-1500:]}")
        lines = [n for n in done.stdout.splitlines() if n.startswith(("FAILED", "ERROR"))]
        return lines[0][:110] if lines else f"ended by signal {-done.returncode}"
