"""Sums of products, said by naming the axes.

Design: a subscript string such as "bij,bjk->bik" names every axis; axes with one name run together,
and names missing on the right are summed.  Two operands at a time are turned into one stack of
matrix products (``contract``): axes in both and in the result number the matrices, axes in both and
not in the result are summed inside.  The gradient of an operand is an einsum of the incoming
gradient with the other operands, so any order of derivative follows.

Absent on purpose: a search for the best order of many operands; they are taken from left to right.
Next: ``conv.py``.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.geometry import check_bytes
from minigrad.ops.index import scatter_add
from minigrad.ops.linear import matmul, product, same_dtype
from minigrad.ops.shape import broadcast_to, sum_to

Array = NDArray[Any]
Shape = tuple[int, ...]


class Einsum(Op):
    """z = sum over the axes not named on the right of the product of all x.

    Shapes    x_i: one axis for each letter of its subscripts ("..." for the axes in front, which
              broadcast); z: the sizes of the letters after "->"
    Forward   z_out = sum over the other letters of x_0[letters] x_1[letters] ..
    Backward  dL/dx_i[letters] = sum over the letters not in x_i of dL/dz_out times the other x
              because z is linear in each x
    Keeps     all x
    Example
        >>> einsum(np.array([1.0, 2.0]), np.array([3.0, 4.0]), subscripts="i,j->ij")
        array([[3., 4.],
               [6., 8.]])
    """

    def forward(*xs, subscripts):
        terms, out, _ = parse(subscripts, [x.shape for x in xs])
        for x in xs[1:]:
            same_dtype("einsum", xs[0], x)
        return evaluate(xs, terms, out)

    def grad_xs(gz, i, xs, xs_shape, subscripts):
        terms, out, sizes = parse(subscripts, xs_shape)
        mine = "".join(dict.fromkeys(terms[i]))  # "iij" -> "ij"
        others = [j for j in range(len(xs)) if j != i]
        known = out + "".join(terms[j] for j in others)
        seen = "".join(a for a in mine if a in known)
        spec = ",".join([out, *(terms[j] for j in others)]) + "->" + seen
        g = einsum(gz, *(xs[j] for j in others), subscripts=spec)  # letters of seen
        have = dict(zip(seen, g.shape, strict=True))
        g = g.reshape(tuple(have.get(a, 1) for a in mine))
        g = broadcast_to(g, shape=tuple(sizes[a] for a in mine))  # summed alone: equal shares
        own = dict(zip(terms[i], xs_shape[i], strict=True))
        g = sum_to(g, shape=tuple(own[a] for a in mine))
        if mine == terms[i]:
            return g
        return scatter_add(g, index=diagonal(terms[i], mine, own), shape=xs_shape[i])


def parse(subscripts: str, shapes: Sequence[Shape]) -> tuple[list[str], str, dict[str, int]]:
    """(letters of each operand, letters of the result, size of each letter), "..." written out."""
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts must be a string, got {subscripts!r}")
    text = subscripts.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ArgError(
            f"einsum: {subscripts!r} has {len(terms)} operands but {len(shapes)} arrays were given"
        )
    spare = [a for a in string.ascii_letters if a not in text]
    dots = [len(s) - len(t) + 3 if "..." in t else 0 for t, s in zip(terms, shapes, strict=True)]
    front = "".join(spare[: max(dots)]) if max(dots) > 0 else ""
    if not arrow:
        letters = "".join(terms).replace(".", "")
        out = "..." * ("..." in left) + "".join(
            sorted(a for a in set(letters) if letters.count(a) == 1)
        )
    terms = [t.replace("...", front[len(front) - d :]) for t, d in zip(terms, dots, strict=True)]
    out = out.replace("...", front)
    sizes = letter_sizes(subscripts, terms, shapes)
    strangers = [a for a in out if a not in sizes]
    if strangers or len(set(out)) != len(out):
        raise ArgError(
            f"einsum: the result of {subscripts!r} must name each axis once, from the operands' "
            f"axes {''.join(sizes)!r}"
        )
    return terms, out, sizes


def letter_sizes(subscripts: str, terms: list[str], shapes: Sequence[Shape]) -> dict[str, int]:
    """The size of each letter; size 1 gives way to another, as in broadcasting."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if not all(a in string.ascii_letters for a in term):
            raise ArgError(f"einsum: {subscripts!r} may hold letters, ',', '->' and '...' only")
        if len(term) != len(shape):
            raise ShapeError(
                f"einsum: {term!r} of {subscripts!r} names {len(term)} axes, the array has "
                f"{len(shape)} {tuple(shape)}"
            )
        for a, n in zip(term, shape, strict=True):
            twice = term.count(a) > 1 and shape[term.index(a)] != n
            if twice or (n != 1 and sizes.get(a, 1) not in (1, n)):
                raise ShapeError(
                    f"einsum: axis {a!r} of {subscripts!r} has size {sizes.get(a, n)} in one place "
                    f"and {n} in another (shapes {[tuple(s) for s in shapes]})"
                )
            sizes[a] = n if n != 1 else sizes.get(a, 1)
    return sizes


def diagonal(term: str, mine: str, sizes: dict[str, int]) -> tuple[Array, ...]:
    """The key of the entries whose repeated letters agree: x[key] has the axes of `mine`."""
    grid = np.ix_(*(np.arange(sizes[a]) for a in mine))
    return tuple(grid[mine.index(a)] for a in term)


def evaluate(xs: Sequence[Array], terms: list[str], out: str) -> Array:
    """The einsum of arrays: pairs from left to right, each one a matrix product."""
    x, have = xs[0], terms[0]
    if len(xs) == 1 or len(set(have)) != len(have):
        keep = out if len(xs) == 1 else "".join(dict.fromkeys(have))
        x, have = np.einsum(f"{have}->{keep}", x), keep
    for i in range(1, len(xs)):
        y, term = xs[i], "".join(dict.fromkeys(terms[i]))
        if term != terms[i]:
            y = np.einsum(f"{terms[i]}->{term}", y)
        later = out + "".join(terms[i + 1 :])
        want = "".join(a for a in dict.fromkeys(have + term) if a in later)
        if i == len(xs) - 1:
            want = out
        x, have = contract(x, have, y, term, want), want
    return x


def contract(x: Array, xa: str, y: Array, ya: str, want: str) -> Any:
    """sum x[xa] y[ya] over the letters not wanted, as a stack of matrix products."""
    nx, ny = dict(zip(xa, x.shape, strict=True)), dict(zip(ya, y.shape, strict=True))
    x, xa = without(x, xa, [a for a in xa if nx[a] == 1 != ny.get(a, 1)])  # broadcasts
    y, ya = without(y, ya, [a for a in ya if ny[a] == 1 != nx.get(a, 1)])
    x, xa = without(x, xa, [a for a in xa if a not in ya + want])
    y, ya = without(y, ya, [a for a in ya if a not in xa + want])
    sizes = dict(zip(xa + ya, x.shape + y.shape, strict=True))
    batch = [a for a in xa if a in ya and a in want]
    inner = [a for a in xa if a in ya and a not in want]
    rows, cols = [a for a in xa if a not in ya], [a for a in ya if a not in xa]
    x3 = grouped(x, xa, (batch, rows, inner))  # (B, M, K)
    y3 = grouped(y, ya, (batch, inner, cols))  # (B, K, N)
    have = [*batch, *rows, *cols]
    z = product(x3, y3).reshape([sizes[a] for a in have])
    return z.transpose([have.index(a) for a in want])


def without(x: Array, letters: str, gone: list[str]) -> tuple[Array, str]:
    """x summed over the axes with the letters of `gone`, and the letters left."""
    if not gone:
        return x, letters
    kept = "".join(a for a in letters if a not in gone)
    return np.asarray(x.sum(axis=tuple(letters.index(a) for a in gone))), kept


def grouped(x: Array, letters: str, groups: tuple[list[str], ...]) -> Any:
    """x with one axis for each group of letters."""
    order = [letters.index(a) for group in groups for a in group]
    sizes = [math.prod(x.shape[letters.index(a)] for a in group) for group in groups]
    return x.transpose(order).reshape(sizes)


class Tensordot(Op):
    """z = x and y summed over pairs of axes.

    Shapes    x: (A.., S..); y: (S.., B..); z: (A.., B..); axes: how many of x's last and y's first
              axes to sum over, or (axes of x, axes of y)
    Forward   z_ab = sum_s x_as y_sb
    Backward  dL/dx_as = sum_b dL/dz_ab y_sb      because dz_ab/dx_as = y_sb
              dL/dy_sb = sum_a dL/dz_ab x_as      because dz_ab/dy_sb = x_as
    Keeps     y (for x), x (for y)
    Example
        >>> tensordot(np.ones((2, 3, 4)), np.ones((3, 4, 5)), axes=2).shape
        (2, 5)
    """

    def forward(x, y, *, axes=2):
        same_dtype("tensordot", x, y)
        xa, ya, out = tensordot_letters(x.shape, y.shape, axes)
        return contract(x, xa, y, ya, out)

    def grad_x(gz, y, x_shape, axes):
        xa, ya, out = tensordot_letters(x_shape, y.shape, axes)
        return einsum(gz, y, subscripts=f"{out},{ya}->{xa}")

    def grad_y(gz, x, y_shape, axes):
        xa, ya, out = tensordot_letters(x.shape, y_shape, axes)
        return einsum(x, gz, subscripts=f"{xa},{out}->{ya}")


def tensordot_letters(x_shape: Shape, y_shape: Shape, axes: Any) -> tuple[str, str, str]:
    """The einsum letters of x, y and z; ShapeError where the axes do not pair up."""
    nx, ny = len(x_shape), len(y_shape)
    if isinstance(axes, int):
        pairs = [(nx - axes + s, s) for s in range(axes)]
    else:
        xs, ys = ([a] if isinstance(a, int) else list(a) for a in axes)
        if len(xs) != len(ys):
            raise ArgError(f"tensordot: axes {axes!r} names {len(xs)} axes of x, {len(ys)} of y")
        pairs = list(zip(xs, ys, strict=True))
    if not all(-nx <= a < nx and -ny <= b < ny for a, b in pairs) or axes == -1:
        raise ArgError(f"tensordot: axes {axes!r} do not exist in x {x_shape} and y {y_shape}")
    letters = string.ascii_letters
    xa, ya = list(letters[:nx]), list(letters[nx : nx + ny])
    for a, b in pairs:
        if x_shape[a] != y_shape[b]:
            raise ShapeError(
                f"tensordot: axis {a} of x {x_shape} has {x_shape[a]}, axis {b} of y {y_shape} has "
                f"{y_shape[b]}; they must be equal to be summed over"
            )
        ya[b] = xa[a]
    free = [a for a in xa if a not in ya] + [b for b in ya if b not in xa]
    return "".join(xa), "".join(ya), "".join(free)


class Outer(Op):
    """z = the product of each number of x with each of y.

    Shapes    x: (M,); y: (N,); z: (M, N); other shapes are read in row-major order
    Forward   z_mn = x_m y_n
    Backward  dL/dx_m = sum_n dL/dz_mn y_n      because dz_mn/dx_m = y_n
              dL/dy_n = sum_m dL/dz_mn x_m      because dz_mn/dy_n = x_m
    Keeps     y (for x), x (for y)
    Example
        >>> outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
        array([[3., 4.],
               [6., 8.]])
    """

    def forward(x, y):
        same_dtype("outer", x, y)
        check_bytes("outer", (x.size, y.size), x.itemsize)
        return x.reshape((x.size, 1)) * y.reshape((1, y.size))

    def grad_x(gz, y, x_shape):
        return matmul(gz, y.reshape((y.size,))).reshape(x_shape)

    def grad_y(gz, x, y_shape):
        return matmul(x.reshape((x.size,)), gz).reshape(y_shape)


einsum = Einsum.apply
tensordot = Tensordot.apply
outer = Outer.apply
