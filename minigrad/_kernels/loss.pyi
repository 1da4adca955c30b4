from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def softmax(x: Array) -> Array: ...
def log_softmax(x: Array) -> Array: ...
def log_softmax_grad(g: Array, out: Array) -> Array: ...
def cross_entropy(
    x: Array,
    labels: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[Array, Array]: ...
def cross_entropy_grad(
    g_row: Array,
    probs: Array,
    labels: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array: ...
