"""Putting arrays together, cutting them apart, and moving or copying their elements in a row.

Design: all of these are linear.  ``concat``, ``stack`` and ``pad`` put parts side by side and their
gradients read the parts back; ``repeat`` and the copying modes of ``pad`` read elements more than
once and their gradients add up the copies (``scatter_add``); ``flip`` and ``roll`` undo themselves.
``split`` is no op of its own: it reads the parts with ``getitem``.

Absent on purpose: PyTorch's order of padding widths, which ``functional`` translates.
Next: ``reduce.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.exceptions import AxisError
from numpy.typing import NDArray

from minigrad._kernels import join as kernels
from minigrad._kernels.copying import assign
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.op import Op
from minigrad.ops.geometry import check_bytes
from minigrad.ops.index import filled, getitem, scatter_add
from minigrad.ops.shape import objection

Array = NDArray[Any]
Shape = tuple[int, ...]
PAD_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def same_kind(op: str, xs: Sequence[Array]) -> None:
    """At least one array, all of one dtype."""
    if not xs:
        raise ArgError(f"{op}: no arrays were given; give at least one")
    for i, x in enumerate(xs):
        if x.dtype != xs[0].dtype:
            raise DTypeError(
                f"{op}: array 0 is {xs[0].dtype} but array {i} is {x.dtype}; cast with .astype"
            )


class Concat(Op):
    """z = the arrays x_0, x_1, .. one after the other along an axis they have.

    Shapes    x_i: equal but for the size of axis; z: as x_0, with the sum of the sizes there
    Forward   z[.. o_i + k ..] = x_i[.. k ..],  o_i = sum of the sizes before x_i
    Backward  dL/dx_i = dL/dz[.. o_i : o_(i+1) ..]      because that part of z is x_i
    Keeps     the shapes of all x
    Example
        >>> concat(np.array([1.0]), np.array([2.0, 3.0]))
        array([1., 2., 3.])
    """

    def forward(*xs, axis=0):
        same_kind("concat", xs)
        first = xs[0]
        for i, x in enumerate(xs):
            if x.ndim != first.ndim:
                raise ShapeError(
                    f"concat: array 0 has {first.ndim} axes {first.shape}, array {i} has {x.ndim} "
                    f"{x.shape}; reshape one, or use stack for a new axis"
                )
        if axis == 1 and first.ndim == 4:
            z = kernels.concat_channels(xs)
            if z is not None:
                return z
        try:
            return np.concatenate(xs, axis)
        except (AxisError, TypeError):
            raise objection("concat", first.shape, axis) from None
        except ValueError:
            raise concat_objection(xs, axis) from None

    def grad_xs(gz, i, xs_shape, axis):
        start = sum(shape[axis] for shape in xs_shape[:i])
        part = slice(start, start + xs_shape[i][axis])
        return getitem(gz, index=(slice(None),) * (axis % gz.ndim) + (part,))


def concat_objection(xs: Sequence[Array], axis: int) -> Exception:
    """Say which two arrays do not fit, and where."""
    first = xs[0]
    if first.ndim == 0:
        return ShapeError("concat: arrays without axes cannot be joined; use stack")
    for i, x in enumerate(xs):
        for d, (n, m) in enumerate(zip(first.shape, x.shape, strict=True)):
            if n != m and d != axis % first.ndim:
                return ShapeError(
                    f"concat: along axis {axis} all other sizes must agree, but axis {d} has {n} "
                    f"in array 0 {first.shape} and {m} in array {i} {x.shape}"
                )
    return ShapeError(f"concat: the arrays {[x.shape for x in xs]} do not fit along axis {axis}")


class Stack(Op):
    """z = the arrays x_0, x_1, .. side by side along a new axis.

    Shapes    x_i: all equal; z: x_0's sizes with the number of arrays at place axis
    Forward   z[.. i ..] = x_i
    Backward  dL/dx_i = dL/dz[.. i ..]      because that part of z is x_i
    Keeps     nothing
    Example
        >>> stack(np.array([1.0, 2.0]), np.array([3.0, 4.0]), axis=1)
        array([[1., 3.],
               [2., 4.]])
    """

    def forward(*xs, axis=0):
        same_kind("stack", xs)
        for i, x in enumerate(xs):
            if x.shape != xs[0].shape:
                raise ShapeError(
                    f"stack: all shapes must be equal, but array 0 has {xs[0].shape} and array {i} "
                    f"has {x.shape}; use concat to join along an axis they have"
                )
        try:
            return np.stack(xs, axis)
        except (AxisError, TypeError):
            raise objection("stack", (*xs[0].shape, len(xs)), axis) from None

    def grad_xs(gz, i, axis):
        return getitem(gz, index=(slice(None),) * (axis % gz.ndim) + (i,))


class Pad(Op):
    """z = x with `before` and `after` more places on each axis.

    Shapes    x: (n_0, n_1, ..); z: (before_0 + n_0 + after_0, ..); pad_width: ((before, after), ..)
    Forward   z[before + i] = x[i]; outside `value`, or for mode "edge", "reflect", "symmetric" or
              "wrap" the element of x that np.pad copies there
    Backward  dL/dx = dL/dz[before : before + n] plus, for the copying modes, the gradients of all
              copies of an element      because z is x and copies of x
    Keeps     the shape of x
    Example
        >>> pad(np.array([1.0, 2.0]), pad_width=((1, 2),))
        array([0., 1., 2., 0., 0.])
    """

    def forward(x, *, pad_width, mode="constant", value=0.0):
        check_pad(x.shape, pad_width, mode)
        check_bytes("pad", padded(x.shape, pad_width), x.itemsize)
        if mode != "constant":
            return x[copies(x.shape, pad_width, mode)]
        z = filled(x, padded(x.shape, pad_width), value)
        assign(z[(*inside(x.shape, pad_width), ...)], x)
        return z

    def grad_x(gz, x_shape, pad_width, mode):
        if mode == "constant":
            return getitem(gz, index=inside(x_shape, pad_width))
        return scatter_add(gz, index=copies(x_shape, pad_width, mode), shape=x_shape)


def padded(shape: Shape, pad_width: Any) -> Shape:
    """The shape with its padding."""
    return tuple(b + n + a for n, (b, a) in zip(shape, pad_width, strict=True))


def inside(shape: Shape, pad_width: Any) -> tuple[slice, ...]:
    """The key of x's own place in the padded array."""
    return tuple(slice(b, b + n) for n, (b, _) in zip(shape, pad_width, strict=True))


def copies(shape: Shape, pad_width: Any, mode: Any) -> tuple[Array, ...]:
    """The key that reads the padded array from x: one index array an axis."""
    rows = [np.pad(np.arange(n), w, mode) for n, w in zip(shape, pad_width, strict=True)]
    return np.ix_(*rows)


def check_pad(shape: Shape, pad_width: Any, mode: str) -> None:
    """ArgError or ShapeError for widths and modes that pad cannot use."""
    if mode not in PAD_MODES:
        raise ArgError(f"pad: mode {mode!r} is unknown; use one of {', '.join(PAD_MODES)}")
    pairs = isinstance(pad_width, (tuple, list)) and all(
        isinstance(w, (tuple, list)) and len(w) == 2 for w in pad_width
    )
    if not pairs or len(pad_width) != len(shape):
        raise ShapeError(
            f"pad: x of shape {shape} needs pad_width with {len(shape)} (before, after) pairs, "
            f"got {pad_width!r}"
        )
    for b, a in pad_width:
        if isinstance(b, float) or isinstance(a, float) or b < 0 or a < 0:
            raise ArgError(f"pad: widths must be whole and at least 0, got {(b, a)} in {pad_width}")
    if mode != "constant" and 0 in shape:
        raise ShapeError(f"pad: mode {mode!r} has nothing to copy from x of shape {shape}")


class Repeat(Op):
    """z = x with each element repeated, side by side, along an axis.

    Shapes    x: any; z: as x with size n times repeats along axis; repeats: int, or n ints
              (axis None: x in row-major order, z 1-D)
    Forward   z[.. k ..] = x[.. i ..] for the repeats_i places k that belong to i
    Backward  dL/dx_i = sum of dL/dz_k over its places k      because each is a copy of x_i
    Keeps     the shape of x
    Example
        >>> repeat(np.array([1.0, 2.0]), repeats=2)
        array([1., 1., 2., 2.])
    """

    def forward(x, *, repeats, axis=None):
        if np.asarray(repeats).dtype.kind not in "iu":
            raise TypeError(f"repeat: repeats must be an int or a list of ints, got {repeats!r}")
        try:
            return np.repeat(x, repeats, axis)
        except AxisError:
            raise objection("repeat", x.shape, axis) from None
        except ValueError as why:
            raise ArgError(
                f"repeat: repeats {repeats!r} does not fit axis {axis} of x {x.shape}; give one "
                f"count of at least 0, or one for each element ({why})"
            ) from None

    def grad_x(gz, x_shape, repeats, axis):
        flat = x_shape if axis is not None else (int(np.prod(x_shape)),)
        d = axis % len(flat) if axis is not None else 0
        source = np.repeat(np.arange(flat[d]), repeats)  # (size of z along axis,)
        gx = scatter_add(gz, index=(slice(None),) * d + (source,), shape=flat)
        return gx.reshape(x_shape)


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Cut x along an axis into `sections` equal parts, or before each index of a sequence.

    Returns a list of views, as np.split does: x (6, 4) with sections=3 gives three (2, 4), with
    sections=(1, 4) gives (1, 4), (3, 4), (2, 4).  The parts are ``getitem``s, so the gradient of
    x is made of theirs.  Raises ShapeError when the size cannot be cut evenly, ArgError for a bad
    axis or fewer than one section.

    >>> split(np.arange(6.0), 3)
    [array([0., 1.]), array([2., 3.]), array([4., 5.])]
    """
    if not -x.ndim <= axis < x.ndim:
        raise objection("split", x.shape, axis)
    n, d = x.shape[axis], axis % x.ndim
    if isinstance(sections, (str, float)):
        raise TypeError(f"split: sections must be an int or a list of ints, got {sections!r}")
    if isinstance(sections, (int, np.integer)):
        if sections < 1:
            raise ArgError(f"split: sections must be at least 1, got {sections}")
        if n % sections:
            raise ShapeError(
                f"split: axis {axis} of x {x.shape} has size {n}, not divisible into {sections} "
                "equal parts; give the indices to cut at instead"
            )
        cuts = [n // sections * i for i in range(1, sections)]
    else:
        cuts = [int(c) for c in sections]
    edges = zip([0, *cuts], [*cuts, n], strict=True)
    return [getitem(x, index=(slice(None),) * d + (slice(a, b),)) for a, b in edges]


class Flip(Op):
    """z = x in reverse order along the axes named (all by default).

    Shapes    x: any; z: as x
    Forward   z[.. i ..] = x[.. n - 1 - i ..]
    Backward  dL/dx = dL/dz, flipped again      because flipping twice does nothing
    Keeps     nothing
    Example
        >>> flip(np.array([1.0, 2.0, 3.0]))
        array([3., 2., 1.])
    """

    def forward(x, *, axis=None):
        try:
            return np.flip(x, axis)
        except (ValueError, TypeError):
            raise objection("flip", x.shape, axis) from None

    def grad_x(gz, axis):
        return flip(gz, axis=axis)


class Roll(Op):
    """z = x moved by `shift` places along an axis; what leaves at one end enters at the other.

    Shapes    x: any; z: as x; shift: int or tuple; axis: int, tuple, or None (row-major order)
    Forward   z[.. i ..] = x[.. (i - shift) mod n ..]
    Backward  dL/dx = dL/dz moved by -shift      because that undoes the move
    Keeps     nothing
    Example
        >>> roll(np.array([1.0, 2.0, 3.0]), shift=1)
        array([3., 1., 2.])
    """

    def forward(x, *, shift, axis=None):
        if np.asarray(shift).dtype.kind not in "iu":
            raise TypeError(f"roll: shift must be an int or a tuple of ints, got {shift!r}")
        try:
            return np.roll(x, shift, axis)
        except AxisError:
            raise objection("roll", x.shape, axis) from None

    def grad_x(gz, shift, axis):
        back = tuple(-s for s in shift) if isinstance(shift, tuple) else -shift
        return roll(gz, shift=back, axis=axis)


concat = Concat.apply
stack = Stack.apply
pad = Pad.apply
repeat = Repeat.apply
flip = Flip.apply
roll = Roll.apply
