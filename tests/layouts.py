"""Design: one array in many memory layouts, and the assertions about memory that every kernel owes.

`lay(a, name)` returns an array of the same shape in another layout. All keep the values but
"broadcast", which repeats the first entry of the first axis with stride 0. Gaps and margins are
filled with NaN, so a kernel that reads beyond its operand poisons its result; "offset" and
"channels_last" have such margins around memory that a kernel may use as it lies.
"""

from __future__ import annotations

import tempfile

import numpy as np

LAYOUTS = (
    "C", "F", "reversed", "strided", "broadcast", "offset", "channels_last", "readonly", "memmap",
    "misaligned", "sliced",
)  # fmt: skip
NAN_MARGINS = ("strided", "sliced", "offset", "channels_last")  # for floating point only


def _in_nan(a: np.ndarray, step: int, margin: int) -> np.ndarray:
    """a as a view into a larger NaN-filled buffer: every step-th element, margins around."""
    big = np.full([n * step + 2 * margin for n in a.shape], np.nan, a.dtype)
    view = big[tuple(slice(margin, margin + n * step, step) for n in a.shape)]
    view[...] = a
    return view


def _guarded(a: np.ndarray) -> np.ndarray:
    """a, C-contiguous, between two margins of NaN, three elements off any vector's alignment."""
    flat = np.full(a.size + 6 + 64, np.nan, a.dtype)
    view = flat[3 : 3 + a.size].reshape(a.shape)
    view[...] = a
    return view


def _channels_last(a: np.ndarray) -> np.ndarray:
    if a.ndim < 2:
        return _guarded(a)
    return np.moveaxis(_guarded(np.moveaxis(a, 1, -1)), -1, 1)


def _misaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _memmap(a: np.ndarray) -> np.ndarray:
    if a.size == 0:  # an empty file cannot be mapped
        return lay(a, "readonly")
    with tempfile.TemporaryFile() as file:
        file.write(np.ascontiguousarray(a).tobytes())
        file.flush()
        return np.memmap(file, a.dtype, "r", shape=a.shape)


def lay(a: np.ndarray, layout: str) -> np.ndarray:
    """a in the named layout (see LAYOUTS)."""
    if layout == "C":
        return np.array(a, order="C")
    if layout == "F":
        return np.array(a, order="F")
    if layout == "reversed":
        flip = tuple(slice(None, None, -1) for _ in a.shape)
        return np.ascontiguousarray(a[flip])[flip]
    if layout == "strided":
        return _in_nan(a, 2, 0)
    if layout == "sliced":
        return _in_nan(a, 1, 3)
    if layout == "broadcast":
        return np.broadcast_to(np.array(a[:1]), a.shape) if a.shape and a.shape[0] else a
    if layout == "readonly":
        b = np.array(a, order="C")
        b.flags.writeable = False
        return b
    made = {"memmap": _memmap, "misaligned": _misaligned, "channels_last": _channels_last}
    return {**made, "offset": _guarded}[layout](a)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bitwise: same shape, dtype and bytes; any NaN equals itself, and -0 differs from 0."""
    same_kind = a.shape == b.shape and a.dtype == b.dtype
    return same_kind and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def is_channels_last(a: np.ndarray) -> bool:
    """(N,C,H,W) whose buffer is contiguous (N,H,W,C)."""
    return a.transpose(0, 2, 3, 1).flags.c_contiguous


def check_memory(outputs: tuple, inputs: tuple) -> None:
    """No output shares memory with an input or another output; outputs are writeable and own."""
    arrays = [o for o in outputs if o is not None]
    for i, out in enumerate(arrays):
        assert out.flags.writeable and out.flags.aligned
        for other in (*arrays[:i], *[x for x in inputs if x is not None]):
            assert not np.shares_memory(out, other)


def u(dtype) -> float:
    """Unit roundoff: 2^-24 or 2^-53."""
    return float(np.finfo(dtype).eps) / 2
