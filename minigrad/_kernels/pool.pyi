from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
Quad = tuple[int, int, int, int]
Shape = tuple[int, ...]

def max_pool2d(
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    output: Pair,
    relu: bool = False,
    places: bool = True,
) -> tuple[Array, Array | None]: ...
def max_pool2d_grad(
    gy: Array,
    argmax: Array,
    *,
    x_shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
) -> Array: ...
def max_pool2d_gather(
    v: Array, argmax: Array, *, kernel: Pair, stride: Pair, padding: Quad, dilation: Pair
) -> Array: ...
def avg_pool2d(
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    output: Pair,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array: ...
def avg_pool2d_grad(
    gy: Array,
    *,
    x_shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    output: Pair,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array: ...
def tanh_avg_pool2d(
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    output: Pair,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> tuple[Array, Array]: ...
def tanh_avg_pool2d_grad(
    gy: Array,
    z: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array: ...
def adaptive_avg_pool2d(x: Array, *, output: Pair) -> Array: ...
def adaptive_avg_pool2d_grad(gy: Array, *, x_shape: Shape) -> Array: ...
def global_avg_pool2d(x: Array) -> Array: ...
def global_avg_pool2d_grad(gy: Array, *, x_shape: Shape) -> Array: ...
