from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
Quad = tuple[int, int, int, int]
Shape = tuple[int, ...]

def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    groups: int,
    relu: bool = False,
    algorithm: str | None = None,
    scale: Array | None = None,
    residual: Array | None = None,
    out: Array | None = None,
) -> Array: ...
def conv2d_grad_x(
    gy: Array,
    w: Array,
    *,
    x_shape: Shape,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    groups: int,
    algorithm: str | None = None,
) -> Array: ...
def conv2d_grad_w(
    gy: Array,
    x: Array,
    *,
    w_shape: Shape,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    groups: int,
    algorithm: str | None = None,
) -> Array: ...
def bias_grad(gy: Array) -> Array: ...
