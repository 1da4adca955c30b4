"""Matrix products and linear layers, on one matrix multiplication of our own.

Design: everything here comes down to ``product``: two stacks of matrices, multiplied by the kernel
``gemm``.  No BLAS is called, because its threads and ours would fight over the cores; integers,
which never train, go to NumPy.  The gradient of a product is two products, so all of these ops are
closed under differentiation.

``linear_relu`` is a layer with its ReLU, as ``conv_fused.py`` has it for convolutions: the sums
never reach memory without it.  Next: ``einsum.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad._kernels import gemm
from minigrad.errors import DTypeError, ShapeError
from minigrad.op import Op
from minigrad.ops.activations import relu, relu_grad
from minigrad.ops.shape import sum_to

Array = NDArray[Any]
Shape = tuple[int, ...]


def product(x: Array, y: Array) -> Any:
    """x (.., M, K) times y (.., K, N) -> (.., M, N), leading axes broadcast; shapes must fit."""
    if x.dtype.kind != "f":
        return np.matmul(x, y)
    if x.ndim == 2 and y.ndim == 2:
        return gemm.matmul(x, y)
    (m, k), n = x.shape[-2:], y.shape[-1]
    if y.ndim == 2:  # one matrix for all: a single tall product
        tall = x.reshape((math.prod(x.shape[:-1]), k))  # (B M, K)
        return gemm.matmul(tall, y).reshape((*x.shape[:-1], n))
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x3, y3 = stacked(x, batch, (m, k)), stacked(y, batch, (k, n))  # (B, M, K), (B, K, N)
    return gemm.bmm(x3, y3).reshape((*batch, m, n))


def stacked(x: Array, batch: Shape, matrix: tuple[int, int]) -> Array:
    """x (.., *matrix) as (B, *matrix), B the size of batch; one matrix is not copied B times."""
    b = math.prod(batch)
    if math.prod(x.shape[:-2]) == 1:
        return np.broadcast_to(x.reshape(matrix), (b, *matrix))
    return np.broadcast_to(x, (*batch, *matrix)).reshape((b, *matrix))


class Matmul(Op):
    """z = x y, the matrix product, over all leading axes.

    Shapes    x: (.., M, K) or (K,); y: (.., K, N) or (K,); z: (.., M, N), without M where x is 1-D
              and without N where y is; the leading axes broadcast
    Forward   z_mn = sum_k x_mk y_kn
    Backward  dL/dx = dL/dz y^T      because dz_mn/dx_mk = y_kn, summed over n
              dL/dy = x^T dL/dz      because dz_mn/dy_kn = x_mk, summed over m
    Keeps     y (for x), x (for y)
    Example
        >>> matmul(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]))
        array([21., 43.])
    """

    def forward(x, y):
        check_matmul(x, y)
        if x.ndim > 1 and y.ndim > 1:
            return product(x, y)
        x2, y2 = matrix_shapes(x.shape, y.shape)
        z = product(x.reshape(x2), y.reshape(y2))  # (.., M, N)
        rows = z.shape[-2:-1] if x.ndim > 1 else ()
        return z.reshape((*z.shape[:-2], *rows, *(z.shape[-1:] if y.ndim > 1 else ())))

    def grad_x(gz, y, x_shape):
        x2, y2 = matrix_shapes(x_shape, y.shape)
        g = gz.reshape((*np.broadcast_shapes(x2[:-2], y2[:-2]), x2[-2], y2[-1]))  # (.., M, N)
        gx = matmul(g, turned(y.reshape(y2)))  # (.., M, K)
        return sum_to(gx, shape=x2).reshape(x_shape)

    def grad_y(gz, x, y_shape):
        x2, y2 = matrix_shapes(x.shape, y_shape)
        g = gz.reshape((*np.broadcast_shapes(x2[:-2], y2[:-2]), x2[-2], y2[-1]))  # (.., M, N)
        x = x.reshape(x2)
        if len(y2) == 2:  # one matrix for all: sum over the leading axes inside the product
            rows = math.prod(x2[:-1])
            x, g = x.reshape((rows, x2[-1])), g.reshape((rows, y2[-1]))
        gy = matmul(turned(x), g)  # (.., K, N)
        return sum_to(gy, shape=y2).reshape(y_shape)


def matrix_shapes(x_shape: Shape, y_shape: Shape) -> tuple[Shape, Shape]:
    """The shapes of both operands as (stacks of) matrices: a 1-D x is a row, a 1-D y a column."""
    return (
        (1, *x_shape) if len(x_shape) == 1 else x_shape,
        (*y_shape, 1) if len(y_shape) == 1 else y_shape,
    )


def turned(x: Any) -> Any:
    """x with its last two axes exchanged, array or Tensor."""
    n = x.ndim
    return x.transpose((*range(n - 2), n - 1, n - 2))


def check_matmul(x: Array, y: Array) -> None:
    """ShapeError or DTypeError where x and y cannot be multiplied."""
    same_dtype("matmul", x, y)
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError(
            f"matmul: x has shape {x.shape} and y {y.shape}; use * to multiply by a single number"
        )
    k, inner = x.shape[-1], y.shape[-2 if y.ndim > 1 else 0]
    if k != inner:
        raise ShapeError(
            f"matmul: x has {k} columns but y has {inner} rows (x {x.shape}, y {y.shape}); "
            "they must be equal, so transpose or reshape one"
        )
    if x.ndim <= 2 and y.ndim <= 2:
        return
    lead = zip(reversed(x.shape[:-2]), reversed(y.shape[:-2]), strict=False)
    if any(n != m and 1 not in (n, m) for n, m in lead):
        raise ShapeError(
            f"matmul: the leading axes {x.shape[:-2]} of x {x.shape} and {y.shape[:-2]} of y "
            f"{y.shape} do not broadcast; counted from the right, sizes must be equal or 1"
        )


def same_dtype(op: str, x: Array, y: Array) -> None:
    """DTypeError unless both have one dtype."""
    if x.dtype != y.dtype:
        raise DTypeError(f"{op}: x is {x.dtype} but y is {y.dtype}; cast one with .astype")


class Linear(Op):
    """y = x W^T + b, a linear layer.

    Shapes    x: (.., I); w: (O, I); b: (O,) or None; y: (.., O)
    Forward   y_no = sum_i x_ni w_oi + b_o
    Backward  dL/dx_ni = sum_o dL/dy_no w_oi      because dy_no/dx_ni = w_oi
              dL/dw_oi = sum_n dL/dy_no x_ni      because dy_no/dw_oi = x_ni
              dL/db_o = sum_n dL/dy_no            because dy_no/db_o = 1
    Keeps     w (for x), x (for w)
    Example
        >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([5.0]))
        array([[16.]])
    """

    def forward(x, w, b=None):
        return affine(x, w, b, rectify=False)

    def grad_x(gy, w):
        return matmul(gy, w)

    def grad_w(gy, x):
        n = math.prod(x.shape[:-1])
        g, x = gy.reshape((n, gy.shape[-1])), x.reshape((n, x.shape[-1]))  # (N, O), (N, I)
        return matmul(turned(g), x)

    def grad_b(gy):
        return gy.sum(axis=tuple(range(gy.ndim - 1)))


class LinearRelu(Op):
    """y = max(0, x W^T + b), a linear layer and the ReLU behind it in one pass over memory.

    Shapes    as linear: x (.., I); w (O, I); b (O,) or None; y (.., O)
    Forward   y = relu(linear(x, w, b))
    Backward  with gz = dL/dy where y > 0, else 0 (relu'(0) = 0), as for linear:
              dL/dx_ni = sum_o gz_no w_oi      because z = linear(x, w, b) is linear in x
              dL/dw_oi = sum_n gz_no x_ni      because z is linear in w
              dL/db_o = sum_n gz_no            because b is added to every row
    Keeps     x, w, y
    Example
        >>> linear_relu(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [-3.0, 1.0]]))
        array([[11.,  0.]])

    Reference Glorot, Bordes and Bengio, "Deep sparse rectifier neural networks", 2011
    """

    def forward(x, w, b=None):
        return affine(x, w, b, rectify=True)

    def grads(gy, needs, out, x, w):
        gz = relu_grad(gy, out)
        return (
            Linear.grad_x(gz, w) if needs[0] else None,
            Linear.grad_w(gz, x) if needs[1] else None,
            Linear.grad_b(gz) if needs[2] else None,
        )

    def composite(x, w, b=None):
        return relu(linear(x, w, b))


def affine(x: Array, w: Array, b: Array | None, *, rectify: bool) -> Array:
    """x w^T + b over all leading axes, then max(0, .) of it if asked for; operands are checked."""
    check_linear(x, w, b)
    x2 = x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))  # (N, I)
    if x.dtype.kind == "f":
        y = gemm.linear(x2, w, b, relu=rectify)
    else:
        y = np.matmul(x2, w.T) + (0 if b is None else b)
        y = np.maximum(y, 0) if rectify else y
    return y if x.ndim == 2 else y.reshape((*x.shape[:-1], w.shape[0]))


def check_linear(x: Array, w: Array, b: Array | None) -> None:
    """ShapeError or DTypeError where x, w and b do not make a layer."""
    for name, a in (("w", w), ("b", b)):
        if a is not None and a.dtype != x.dtype:
            raise DTypeError(f"linear: x is {x.dtype} but {name} is {a.dtype}; cast with .astype")
    if w.ndim != 2 or x.ndim == 0:
        raise ShapeError(f"linear: expected x (.., I) and w (O, I), got {x.shape} and {w.shape}")
    if x.shape[-1] != w.shape[1]:
        hint = "; w is (out, in), so pass w.T" if x.shape[-1] == w.shape[0] else ""
        raise ShapeError(
            f"linear: x has {x.shape[-1]} features, w expects {w.shape[1]} (x {x.shape}, "
            f"w {w.shape}){hint}"
        )
    if b is not None and b.shape != w.shape[:1]:
        raise ShapeError(f"linear: w {w.shape} needs b of shape ({w.shape[0]},), got {b.shape}")


matmul = Matmul.apply
linear = Linear.apply
linear_relu = LinearRelu.apply
