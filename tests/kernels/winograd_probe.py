"""Design: what the tests of Winograd's algorithm share, and a program that a child process runs.

The judge is `minigrad.reference.conv` in float64. An error is measured in units of the output's
root mean square (rms), and must pass the gate: rms <= 5e-6, max <= 5e-5. Where the rms of the very
output would depend on luck (a single pixel of one channel may cancel to nothing, and one whose
window is mostly padding sums a few terms of the many that a tile mixes), the unit is what sums of
independent signs over whole windows would have.

`python -m tests.kernels.winograd_probe FILE` computes every case of CASES under the instruction
set that MINIGRAD_ISA names, saves the results in FILE (.npz), and prints one JSON object: digests
of the bits under 1, 2, 3 and 5 threads, twice each. Operands end at a page that nobody may touch
and begin after one, in turn. `test_winograd_isa.py` reads it all.

Where to go next: `test_winograd.py`, the properties.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
from typing import Any

import numpy as np

from minigrad._kernels import conv as kernel
from minigrad._kernels import dispatch, threads
from minigrad.reference import conv as ref
from tests.kernels.probe import THREADS, digest

RMS_GATE, MAX_GATE = 5e-6, 5e-5
PASSES = ("forward", "grad_x", "grad_w")
PLAIN = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}

CASES = {  # x (N, C, H, W), w (K, C/G, R, R), padding, groups
    "64 channels": ((4, 64, 14, 15), (72, 64, 3, 3), (1, 1, 1, 1), 1),
    "16 channels": ((8, 16, 30, 31), (16, 16, 3, 3), (1, 1, 1, 1), 1),
    "three channels": ((6, 3, 33, 35), (17, 3, 3, 3), (1, 2, 0, 1), 1),
    "one channel in": ((5, 1, 28, 29), (33, 1, 5, 5), (2, 2, 2, 2), 1),
    "one channel out": ((4, 64, 20, 21), (1, 64, 3, 3), (1, 1, 1, 1), 1),
    "no padding": ((2, 8, 42, 41), (15, 8, 3, 3), (0, 0, 0, 0), 1),
    "5x5": ((3, 48, 13, 11), (40, 48, 5, 5), (2, 2, 2, 2), 1),
    "5x5 in two groups": ((2, 48, 17, 16), (66, 24, 5, 5), (6, 0, 3, 5), 2),
    "three groups": ((3, 60, 19, 18), (45, 20, 3, 3), (0, 4, 4, 0), 3),
    "many small groups": ((2, 96, 13, 14), (64, 3, 3, 3), (1, 1, 1, 1), 32),
    "tiny maps": ((70, 33, 2, 3), (130, 33, 3, 3), (1, 1, 1, 1), 1),
    "single pixels": ((200, 64, 1, 1), (66, 64, 3, 3), (1, 1, 1, 1), 1),
    "large batch": ((96, 16, 16, 15), (24, 16, 3, 3), (1, 1, 1, 1), 1),
    "hundreds of images": ((226, 3, 32, 31), (5, 3, 3, 3), (1, 1, 1, 1), 1),
    "wide": ((1, 17, 3, 300), (24, 17, 3, 3), (1, 1, 1, 1), 1),
    "tall": ((1, 24, 301, 2), (17, 24, 5, 5), (2, 2, 2, 2), 1),
    "512 channels": ((1, 512, 8, 7), (520, 512, 3, 3), (1, 1, 1, 1), 1),
    "two groups of 256": ((1, 512, 6, 7), (520, 256, 3, 3), (1, 1, 1, 1), 2),
    "nine shares of the sums, or twelve": ((4, 200, 9, 10), (200, 200, 3, 3), (1, 1, 1, 1), 1),
    "many channels in": ((1, 1030, 9, 8), (16, 1030, 3, 3), (1, 1, 1, 1), 1),
    "many channels out": ((1, 16, 9, 8), (1030, 16, 3, 3), (1, 1, 1, 1), 1),
    "lenet 1": ((64, 1, 28, 28), (6, 1, 5, 5), (2, 2, 2, 2), 1),  # from here on: along lines
    "lenet 2": ((64, 6, 14, 14), (16, 6, 5, 5), (0, 0, 0, 0), 1),
    "lines in two groups": ((33, 6, 13, 9), (10, 3, 5, 5), (1, 2, 0, 3), 2),
    "wide lines": ((9, 3, 5, 450), (4, 3, 5, 5), (2, 1, 3, 2), 1),
    "lines far in the padding": ((18, 3, 6, 7), (4, 3, 5, 5), (6, 5, 7, 6), 1),
    "few windows": ((48, 6, 6, 8), (10, 6, 5, 5), (0, 0, 0, 0), 1),
}


def how(name: str) -> dict[str, Any]:
    """The keyword arguments of a case."""
    return {**PLAIN, "padding": CASES[name][2], "groups": CASES[name][3]}


def he(rng: np.random.Generator, w_shape: tuple[int, ...]) -> np.ndarray:
    """Normal weights of variance 2 / fan-in (He et al. 2015)."""
    fan_in = np.prod(w_shape[1:])
    return (rng.standard_normal(w_shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def operands(x_shape, w_shape, kwargs, seed, *, relu=False) -> tuple[np.ndarray, ...]:
    """x (normal, or what a ReLU leaves of it), w (He), b, gy; x, gy in channels-last memory."""
    rng = np.random.default_rng(seed)
    (n, c, h, width), (k, _, r, s) = x_shape, w_shape
    top, bottom, left, right = kwargs["padding"]
    p, q = h + top + bottom - r + 1, width + left + right - s + 1
    x = rng.standard_normal((n, h, width, c), np.float32).transpose(0, 3, 1, 2)
    gy = rng.standard_normal((n, p, q, k), np.float32).transpose(0, 3, 1, 2)
    b = rng.standard_normal(k, np.float32)
    return np.maximum(x, 0) if relu else x, he(rng, w_shape), b, gy


def passes(module, x, w, gy, kwargs, algorithm="winograd") -> tuple[np.ndarray, ...]:
    """y, gx, gw of a module (the kernel or the twin)."""
    kw = {**kwargs, "algorithm": algorithm}
    return (
        module.conv2d(x, w, **kw),
        module.conv2d_grad_x(gy, w, x_shape=x.shape, **kw),
        module.conv2d_grad_w(gy, x, w_shape=w.shape, **kw),
    )


def exact(x, w, gy, kwargs) -> tuple[np.ndarray, ...]:
    """The three passes by the definition, in float64."""
    return passes(ref, *(a.astype(np.float64) for a in (x, w, gy)), kwargs)


def units(x, w, gy) -> list[float]:
    """What errors of the three passes are measured in: the rms of sums of independent signs."""
    pixels, weights = gy[:, 0].size, np.square(w, dtype=np.float64).sum()
    return [
        float(rms(x) * np.sqrt(weights / gy.shape[1])),
        float(rms(gy) * np.sqrt(weights / x.shape[1])),
        float(rms(gy) * rms(x) * np.sqrt(pixels)),
    ]


def rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.square(a, dtype=np.float64).mean())) if a.size else 0.0


def check_gate(got: np.ndarray, want: np.ndarray, unit: float, what: str = "") -> None:
    """got (float32) is want (float64) up to the gate."""
    assert got.dtype == np.float32 and got.shape == want.shape
    error = got - want
    assert rms(error) <= RMS_GATE * unit, (what, rms(error) / unit)
    assert abs(error).max(initial=0) <= MAX_GATE * unit, (what, abs(error).max() / unit)


# -- the program ----------------------------------------------------------------------------------


def fenced(a: np.ndarray, *, at_end: bool) -> np.ndarray:
    """A copy of a, in a's own order, that ends (or begins) at a page nobody may read or write.

    Where the system has no mprotect, just a copy.
    """
    order = np.argsort([-s for s in a.strides], kind="stable")
    inner = np.ascontiguousarray(a.transpose(order))
    page = mmap.PAGESIZE
    inside = -(-max(inner.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, inside + 2 * page)
    start = page + (inside - inner.nbytes if at_end else 0)
    view = np.frombuffer(memory, a.dtype, inner.size, start).reshape(inner.shape)
    view[...] = inner
    protect = getattr(ctypes.CDLL(None), "mprotect", None) if sys.platform != "win32" else None
    if protect is not None:
        base = view.ctypes.data - start
        protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        assert protect(base, page, 0) == 0 and protect(base + page + inside, page, 0) == 0
    return view.transpose(np.argsort(order))


def results(name: str, *, at_end: bool | None = None) -> list[np.ndarray]:
    """y, gx, gw of a case and y with bias and ReLU, by Winograd's algorithm."""
    x_shape, w_shape, _, _ = CASES[name]
    arrays = operands(x_shape, w_shape, how(name), len(name), relu=len(name) % 2 == 1)
    if at_end is not None:
        arrays = tuple(fenced(a, at_end=at_end) for a in arrays)
    x, w, b, gy = arrays
    fused = kernel.conv2d(x, w, b, relu=True, algorithm="winograd", **how(name))
    return [*passes(kernel, x, w, gy, how(name)), fused]


def main() -> None:
    saved: dict[str, np.ndarray] = {}
    report: dict[str, Any] = {"isa": dispatch.isa(), "digests": {name: [] for name in CASES}}
    for count in THREADS:
        threads.set_num_threads(count)
        assert threads.get_num_threads() == count
        for name in CASES:
            for at_end in (True, False):
                outs = results(name, at_end=at_end)
                report["digests"][name].append(digest(outs))
            saved.update({f"{name}/{i}": out for i, out in enumerate(outs)})
    np.savez(sys.argv[1], **saved)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
