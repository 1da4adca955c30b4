"""Convolutions with a ReLU side by side: the branches of an Inception module, without a copy.

Design: concatenation along the channels writes the pixels of all its operands again.  Branches that
end in a convolution need not be copied: the kernel that stores their sums may as well store them
where they belong.  As one op the result is made once, kept once, and no array that anybody sees is
part of another.  On the way back every branch reads its channels of dL/dz where they lie.

Absent on purpose: branches that end in something else, which ``concat`` joins (``nn.branches``
tells them apart); ``algorithm``.  Next: ``pool.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minigrad._kernels import conv as kernels
from minigrad._kernels.memory import empty_array
from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.activations import relu_grad
from minigrad.ops.conv import checked, conv2d_grad_b, conv2d_grad_w, conv2d_grad_x, output_shape
from minigrad.ops.conv_fused import conv2d_relu
from minigrad.ops.geometry import Array, Shape, check_bytes
from minigrad.ops.join import concat

OP = "conv2d_relu_concat"
NAMES = ("stride", "padding", "dilation", "groups")


def branches(xs: Any, geometries: Any) -> Iterator[tuple[Any, Any, Any, dict[str, Any]]]:
    """x, w, b and the geometry by name of one convolution after another."""
    for i, geometry in enumerate(geometries):
        yield *xs[3 * i : 3 * i + 3], dict(zip(NAMES, geometry, strict=True))


def output(x: Array, w: Array, b: Array | None, how: dict[str, Any]) -> Shape:
    """(N, K, P, Q) of one convolution, once all of it fits together."""
    checked(x, w, b, **how)
    return output_shape(OP, x.shape, w.shape, **how)


def check_sizes(shapes: list[Shape]) -> Shape:
    """(N, sum of K_i, P, Q) of results side by side, or ShapeError."""
    n, _, p, q = shapes[0]
    for i, shape in enumerate(shapes):
        if (shape[0], *shape[2:]) != (n, p, q):
            raise ShapeError(
                f"{OP}: all sizes but the channels must agree, but convolution 0 gives {shapes[0]} "
                f"and convolution {i} gives {shape}; pad one of them"
            )
    joint = n, sum(shape[1] for shape in shapes), p, q
    check_bytes(OP, joint)
    return joint


def check_count(xs: tuple[Any, ...], geometries: Any) -> None:
    """Three inputs and four constants for each convolution, or ArgError."""
    if not geometries or len(xs) != 3 * len(geometries) or any(len(g) != 4 for g in geometries):
        raise ArgError(
            f"{OP}: {len(xs)} inputs and {len(geometries)} geometries; give x, w, b (or None) and "
            "one (stride, padding, dilation, groups) for each convolution, one at least"
        )


class Conv2dReluConcat(Op):
    """z = max(0, x_i * w_i + b_i) for some i, one after the other along the channels.

    Shapes    xs: x_0, w_0, b_0, x_1, .., those of one convolution after another:
              x_i (N, C_i, H_i, W_i); w_i (K_i, C_i/groups_i, R_i, S_i); b_i (K_i,) or None;
              geometries: (stride, padding, dilation, groups) of each, as conv2d's;
              z: (N, sum of K_i, P, Q)
    Forward   z[:, o_i : o_i + K_i] = relu(conv2d(x_i, w_i, b_i)),  o_i = sum of the K before
    Backward  with gz_i = dL/dz[:, o_i : o_i + K_i] where z > 0 there, else 0 (relu'(0) = 0)
              dL/dx_i = conv2d_grad_x(gz_i, w_i)     because that part of z is convolution i, which
              dL/dw_i = conv2d_grad_w(gz_i, x_i)     is linear in x_i and linear in w_i, and
              dL/db_i[k] = sum_npq gz_i[n,k,p,q]     because b_i[k] is added to every pixel of k
    Keeps     all x and w, z
    Example
        >>> x, w = np.array([[[[1.0, -2.0]]]]), np.array([[[[3.0]]]])
        >>> plain = ((1, 1), (0, 0, 0, 0), (1, 1), 1)
        >>> conv2d_relu_concat(x, w, None, x, -w, None, geometries=(plain, plain))
        array([[[[3., 0.]],
        <BLANKLINE>
                [[0., 6.]]]])

    Reference Szegedy et al., "Going deeper with convolutions", 2014, figure 2
    """

    def forward(*xs, geometries):
        check_count(xs, geometries)
        shape = check_sizes([output(*operands) for operands in branches(xs, geometries)])
        z: Array = empty_array(shape, xs[0].dtype, channels_last=True)
        start = 0
        for x, w, b, how in branches(xs, geometries):
            kernels.conv2d(x, w, b, relu=True, out=z[:, start : start + len(w)], **how)
            start += len(w)
        return z

    def grads(gz, needs, out, xs, geometries):
        found, start = [], 0
        for i, (x, w, _, how) in enumerate(branches(xs, geometries)):
            part = (slice(None), slice(start, start + len(w)))
            start += len(w)
            for_x, for_w, for_b = needs[3 * i : 3 * i + 3]
            g = relu_grad(gz[part], out[part]) if for_x or for_w or for_b else None
            found += [
                conv2d_grad_x(g, w, x_shape=x.shape, **how) if for_x else None,
                conv2d_grad_w(g, x, w_shape=w.shape, **how) if for_w else None,
                conv2d_grad_b(g) if for_b else None,
            ]
        return found

    def composite(*xs, geometries):
        return concat(*(conv2d_relu(x, w, b, **how) for x, w, b, how in branches(xs, geometries)),
                      axis=1)  # fmt: skip


conv2d_relu_concat = Conv2dReluConcat.apply
