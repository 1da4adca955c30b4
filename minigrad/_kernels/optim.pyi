from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Arrays = Sequence[NDArray[Any]]

def sgd(
    params: Arrays,
    grads: Arrays,
    buffers: Arrays | None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None: ...
def adam(
    params: Arrays,
    grads: Arrays,
    m: Arrays,
    v: Arrays,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    step: int,
) -> None: ...
def rmsprop(
    params: Arrays,
    grads: Arrays,
    squares: Arrays,
    *,
    lr: float,
    alpha: float,
    eps: float,
    momenta: Arrays | None = None,
    means: Arrays | None = None,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None: ...
