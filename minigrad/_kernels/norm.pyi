from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool,
) -> tuple[Array, Array, Array]: ...
def batch_norm_grad(
    gy: Array,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool,
    needs_residual: bool,
) -> tuple[Array, Array, Array, Array | None]: ...
def batch_norm_inference(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool,
) -> Array: ...
def batch_norm_inference_grad(
    gy: Array,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool,
    needs_residual: bool,
) -> tuple[Array, Array, Array, Array | None]: ...
def local_response_norm(x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array: ...
def local_response_norm_grad(
    gy: Array, x: Array, *, size: int, alpha: float, beta: float, k: float
) -> Array: ...
