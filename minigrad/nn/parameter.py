"""Parameter: a Tensor that a Module counts among its own.

Design: the class is a mark, nothing more; arithmetic on it gives plain Tensors. Integers cannot
be trained.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.errors import DTypeError
from minigrad.tensor import Tensor


class Parameter(Tensor):
    """A leaf Tensor that needs a gradient, made from a Tensor or an array (whose memory it
    shares) or a list.

    Lists and Python numbers become float32. Raises DTypeError where the values are not
    floating-point.
    """

    __slots__ = ()

    def __init__(self, data: Any, *, requires_grad: bool = True) -> None:
        array = data.data if isinstance(data, Tensor) else data
        if not isinstance(array, np.ndarray):
            array = np.asarray(array, dtype=np.float32)
        if array.dtype.kind != "f":
            raise DTypeError(
                f"Parameter: {array.dtype} cannot be trained; use float32 or float64 (.astype)"
            )
        super().__init__(array)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
