"""What the ops on images check before they touch memory: kinds, ranks, sizes of sliding windows.

Design: a bad argument is found here, with the numbers that show why, before anything is allocated.
Wrong kind (a float stride) is ``TypeError``, wrong value (stride 0) ``ArgError``, sizes that do not
fit ``ShapeError``, dtypes ``DTypeError``.  Nothing here computes on pixels and nothing knows a
Tensor.  Where to go next: ``conv.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import ArgError, DTypeError, ShapeError

Array = NDArray[Any]
Pair = tuple[int, int]
Quad = tuple[int, int, int, int]
Shape = tuple[int, ...]

LIMIT = 1 << 62  # bytes and index arithmetic stay below it, so that 64 bits never overflow


def integer(op: str, name: str, value: object, least: int) -> int:
    """value as an int that is at least ``least``; TypeError for bool, float, str; else ArgError."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise TypeError(
                f"{op}: {name} must be an int, got {type(value).__name__} {_short(value)}"
            )
        value = int(value)
    if value < least:
        raise ArgError(f"{op}: {name} must be at least {least}, got {value}")
    return value


def integers(op: str, name: str, value: object, count: int, least: int) -> tuple[int, ...]:
    """value, a sequence of ``count`` ints of at least ``least``, as a tuple."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(
            f"{op}: {name} must be {count} ints, got {type(value).__name__} {_short(value)}"
        )
    if len(value) != count:
        raise ArgError(f"{op}: {name} takes {count} ints, got {len(value)}: {_short(value)}")
    return tuple(integer(op, name, v, least) for v in value)


def pair(op: str, name: str, value: object, least: int) -> Pair:
    """(rows, columns) from an int that serves for both or from a sequence of two."""
    if type(value) is int and value >= least:  # by far the most frequent
        return value, value
    if isinstance(value, (tuple, list)):
        rows, columns = integers(op, name, value, 2, least)
        return rows, columns
    both = integer(op, name, value, least)
    return both, both


def quad(op: str, value: object) -> Quad:
    """(top, bottom, left, right) from an int, (rows, columns) or all four."""
    if isinstance(value, (tuple, list)) and len(value) == 4:
        top, bottom, left, right = integers(op, "padding", value, 4, 0)
        return top, bottom, left, right
    rows, columns = pair(op, "padding", value, 0)
    return rows, rows, columns, columns


def number(op: str, name: str, value: object) -> float:
    """value as a float; TypeError for what is no real number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(
            f"{op}: {name} must be a number, got {type(value).__name__} {_short(value)}"
        )
    return float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def operand(op: str, name: str, a: Any) -> None:
    """a has a shape: it is a Tensor or an array; DTypeError if not."""
    if not hasattr(a, "ndim") or not hasattr(a, "reshape"):
        raise DTypeError(
            f"{op}: {name} must be a Tensor or a NumPy array, got {type(a).__name__} {_short(a)}"
        )


def floats(op: str, name: str, a: Array) -> Array:
    """a itself if it is a float32 or float64 array; DTypeError with the way out if not."""
    if type(a) is np.ndarray and a.dtype.char in "fd":
        return a
    operand(op, name, a)
    if a.dtype.char in "fd":
        return a
    if a.dtype.kind in "iub":
        raise DTypeError(
            f"{op}: {name} is {a.dtype}, expected float32 or float64; for an image file's bytes "
            f"divide by 255: {name}.astype(np.float32) / 255"
        )
    raise DTypeError(
        f"{op}: {name} is {a.dtype}, expected float32 or float64; cast with .astype(np.float32)"
    )


def same_dtype(op: str, name: str, a: Array, **others: Array | None) -> None:
    """Every array that is given is a float array and has the dtype of ``a``."""
    dtype = floats(op, name, a).dtype
    for other, b in others.items():
        if b is not None and getattr(b, "dtype", None) != dtype:
            floats(op, other, b)
            raise DTypeError(
                f"{op}: {name} is {a.dtype} but {other} is {b.dtype}; "
                f"cast with .astype: {other}.astype({name}.dtype)"
            )


def images(op: str, name: str, x: Array) -> None:
    """x is a float array (N, C, H, W), and only N may be 0."""
    floats(op, name, x)
    check_image(op, name, x.shape)


def check_image(op: str, name: str, shape: Shape) -> None:
    """shape is (N, C, H, W), and only N may be 0."""
    if len(shape) != 4:
        hint = {
            2: f"; add batch and channel axes with {name}[None, None]",
            3: f"; add a batch axis with {name}[None]",
        }.get(len(shape), "")
        raise ShapeError(f"{op}: expected 4-D (N,C,H,W), got {len(shape)}-D {shape}{hint}")
    if 0 in shape[1:]:
        raise ShapeError(f"{op}: {name} of shape {shape} has no pixels; only N may be 0")


def output_length(
    op: str,
    axis: str,
    size: int,
    kernel: int,
    stride: int,
    padding: Pair,
    dilation: int,
    *,
    ceil_mode: bool = False,
    hint: str = "",
) -> int:
    """Number of window positions along one axis ("H" or "W").

    floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1; with ceil_mode the division
    rounds up, but a last window that would start behind the image and its first padding is dropped.
    """
    taps = "R" if axis == "H" else "S"
    reach = size + padding[0] + padding[1] - dilation * (kernel - 1) - 1
    if max(abs(reach), stride, size + padding[0] + padding[1], dilation * kernel) >= LIMIT:
        raise ShapeError(
            f"{op}: {axis} + padding - dilation*({taps}-1) - 1 overflows with {axis}={size}, "
            f"padding={padding}, dilation={dilation}, {taps}={kernel}, stride={stride}"
        )
    if reach + (stride - 1 if ceil_mode else 0) < 0:
        if padding[0] == padding[1]:
            formula, numbers = f"{axis} + 2*pad", f"{size} + 2*{padding[0]}"
        else:
            formula, numbers = f"{axis} + pads", f"{size} + {padding[0]} + {padding[1]}"
        raise ShapeError(
            f"{op}: kernel larger than the padded input: {formula} - dilation*({taps}-1) - 1 "
            f"= {reach} < 0 ({numbers} - {dilation}*({kernel}-1) - 1){hint}"
        )
    out = (reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (out - 1) * stride >= size + padding[0]:
        out -= 1
    return out


def check_bytes(op: str, shape: Shape, itemsize: int = 8) -> None:
    """ShapeError if an array of this shape needs more bytes than 62 bits can count."""
    size = itemsize
    for n in shape:
        size *= max(n, 1)
    if size >= LIMIT:
        raise ShapeError(f"{op}: the output's size overflows: shape {shape}, {itemsize} bytes each")
