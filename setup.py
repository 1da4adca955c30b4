"""Build the compiled half of minigrad.

Design: pyproject.toml holds what is data; this file holds what needs code.
  * ``src/tape.pyx`` and ``src/kernels/*.pyx`` become one extension module each.
  * Every ``src/simd/*.c`` is compiled once per instruction set and dtype; the objects are linked
    into ``minigrad._kernels.dispatch``, which chooses a table of function pointers at import.
  * OpenMP is used when a probe compiles, links and runs; otherwise the build is serial.

A rebuild after an edit takes seconds: ``python setup.py build_ext --inplace``.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
SIMD = Path("src/simd")
BUILD_INFO = Path("build/generated/build_info.h")
MSVC = sys.platform == "win32"
CROSS = os.environ.get("_PYTHON_HOST_PLATFORM")  # linux-aarch64: set by who builds for elsewhere
MACHINE = (CROSS.rpartition("-")[2] if CROSS else platform.machine()).lower()

# Instruction sets from the newest to the baseline, with the compiler flags that switch them on.
if MSVC:
    ISAS = {"scalar": []}
elif MACHINE in ("x86_64", "amd64"):
    ISAS = {
        "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
        "avx2": ["-mavx2", "-mfma"],
        "sse2": [],
    }
elif MACHINE in ("aarch64", "arm64"):
    ISAS = {"neon": []}
else:
    ISAS = {"scalar": []}

DTYPES = {"f32": [], "f64": [("REAL64", "1")]}

# -O2: the micro-kernels are unrolled by hand.  Never -ffast-math: it changes the whole process.
# -fno-semantic-interposition and hidden visibility keep calls inside one object direct.
CFLAGS = (
    ["/O2"]
    if MSVC
    else [
        "-O2",
        "-Wall",
        "-Wextra",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-ffp-contract=fast",
        "-fvisibility=hidden",
        "-g0",
    ]
)
# What Cython generates is not ours to tidy: its own warnings are switched off there.
CYTHON_CFLAGS = ["/O2"] if MSVC else ["-O2", "-w", "-g0"]

OPENMP_PROBE = """
#include <omp.h>
int main(void) {
    int sum = 0;
    #pragma omp parallel for reduction(+:sum)
    for (int i = 0; i < 100; i++) sum += i;
    return !(sum == 4950 && omp_get_max_threads() >= 1);
}
"""


def openmp_candidates():
    """Compiler and linker flags to try, in order."""
    if MSVC:
        return [(["/openmp"], [])]
    if sys.platform != "darwin":
        return [(["-fopenmp"], ["-fopenmp"])]
    tries = []
    for prefix in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp", sys.prefix):
        if (Path(prefix) / "include" / "omp.h").exists():
            tries.append(
                (
                    ["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"],
                    [f"-L{prefix}/lib", "-lomp", f"-Wl,-rpath,{prefix}/lib"],
                )
            )
    return tries


def find_openmp(compiler):
    """Return (compile flags, link flags), or None: compiles, links and runs a small program.

    What is built for elsewhere does not run here: then it is enough that it links.
    """
    if os.environ.get("MINIGRAD_NO_OPENMP"):
        return None
    for cflags, lflags in openmp_candidates():
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text(OPENMP_PROBE)
            try:
                objects = compiler.compile([str(source)], output_dir=folder, extra_postargs=cflags)
                program = str(Path(folder) / "probe")
                compiler.link_executable(objects, program, extra_postargs=lflags)
                if not CROSS:
                    subprocess.run([program], check=True, timeout=60)
            except Exception as error:  # any failure of the probe means: build without OpenMP
                print(f"OpenMP probe failed with {cflags}: {error}")
            else:
                return cflags, lflags
    return None


def sources_digest():
    """blake2b over every source of the compiled modules, in path order."""
    digest = hashlib.blake2b(digest_size=16)
    paths = [p for p in (ROOT / "src").rglob("*") if p.suffix in {".c", ".h", ".pyx"}]
    paths += (ROOT / "minigrad").rglob("*.pxd")
    for path in sorted(paths, key=lambda p: p.relative_to(ROOT).as_posix()):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def extensions():
    """One extension per .pyx file; every one sees numpy's headers and src/simd."""
    import numpy

    pyx = {f"minigrad._{path.stem}": path.as_posix() for path in sorted(Path("src").glob("*.pyx"))}
    for path in sorted(Path("src/kernels").glob("*.pyx")):
        pyx[f"minigrad._kernels.{path.stem}"] = path.as_posix()
    return [
        Extension(
            name,
            [source],
            include_dirs=[numpy.get_include(), str(SIMD), "build/generated"],
            define_macros=[
                ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),  # NEP 49's field, on Python 3.10 too
            ],
            depends=sorted(str(p) for p in SIMD.glob("*.h")),
        )
        for name, source in pyx.items()
    ]


class BuildExt(build_ext):
    """build_ext that compiles the SIMD sources per instruction set and dtype."""

    user_options: ClassVar = [
        *build_ext.user_options,
        ("only=", None, "build just these modules (a,b,c); import then says: stale"),
    ]

    def initialize_options(self):
        super().initialize_options()
        self.only = None

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        from Cython.Build import cythonize

        openmp = find_openmp(self.compiler)
        print("OpenMP:", openmp or "not found, building without")
        self.write_build_info(openmp)
        if self.only:
            wanted = set(self.only.split(","))
            self.extensions = [e for e in self.extensions if e.name.split(".")[-1] in wanted]
        self.forget_translations()
        translated = cythonize(
            self.extensions, build_dir="build/cython", include_path=["."], quiet=True
        )
        for extension, c in zip(self.extensions, translated, strict=True):
            extension.sources = c.sources  # setuptools keeps notes of its own on `extension`
            extension.extra_compile_args = list(CYTHON_CFLAGS)
            if openmp:
                extension.extra_compile_args += openmp[0]
                extension.extra_link_args += openmp[1]
                extension.define_macros.append(("MINIGRAD_OPENMP", "1"))
            if extension.name == "minigrad._kernels.dispatch":
                extension.extra_objects = self.compile_simd()
                # again when any object, or the digest of any source, is newer than the module
                extension.depends += [*extension.extra_objects, str(BUILD_INFO)]
        super().build_extensions()

    def forget_translations(self):
        """Drop C files older than their own .pxd: Cython looks for that beside the .pyx."""
        for extension in self.extensions:
            declarations = Path(*extension.name.split(".")).with_suffix(".pxd")
            made = Path("build/cython", extension.sources[0]).with_suffix(".c")
            both = declarations.exists() and made.exists()
            if both and declarations.stat().st_mtime > made.stat().st_mtime:
                made.unlink()

    def write_build_info(self, openmp):
        """A header that the dispatch module shows to the user."""
        command = " ".join(getattr(self.compiler, "compiler_so", None) or ["cl"])
        lines = [
            f'#define BUILD_COMPILER "{command.split()[0]}"',
            f'#define BUILD_FLAGS "{" ".join(CFLAGS)}"',
            f'#define BUILD_OPENMP "{" ".join(openmp[0]) if openmp else ""}"',
            f'#define BUILD_DIGEST "{"partial" if self.only else sources_digest()}"',
            "#define BUILD_TABLES(X) " + " ".join(f"X({isa})" for isa in ISAS),
        ]
        BUILD_INFO.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(lines) + "\n"
        if not BUILD_INFO.exists() or BUILD_INFO.read_text() != text:
            BUILD_INFO.write_text(text)

    def compile_simd(self):
        """Compile src/simd/*.c for every (instruction set, dtype); return the object files."""
        jobs = [(Path("src/simd/choose.c"), "any", [], [])]
        for isa, flags in ISAS.items():
            for dtype, macros in DTYPES.items():
                for source in sorted(SIMD.glob("*.c")):
                    if source.stem != "choose":
                        jobs.append((source, f"{isa}_{dtype}", flags, macros))
        headers = max(p.stat().st_mtime for p in SIMD.glob("*.h"))

        def compile_one(job):
            source, variant, flags, macros = job
            folder = Path(self.build_temp) / "simd" / variant
            target = folder / source.with_suffix(self.compiler.obj_extension).name
            newest = max(source.stat().st_mtime, headers, Path("setup.py").stat().st_mtime)
            if target.exists() and target.stat().st_mtime > newest:
                return str(target)
            made = self.compiler.compile(
                [str(source)],
                output_dir=str(folder),
                macros=macros,
                include_dirs=[str(SIMD), "build/generated"],
                extra_postargs=CFLAGS + flags,
            )[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(made, target)
            return str(target)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(compile_one, jobs))


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
