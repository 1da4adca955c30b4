from typing import Any

import numpy as np
from numpy.typing import NDArray

def drop(
    x: NDArray[Any], bits: NDArray[np.uint8], *, scale: float, channels_last: bool
) -> NDArray[Any]: ...
def pack_mask(
    words: NDArray[np.uint32], *, limit: int, images: tuple[int, ...] | None = None
) -> NDArray[np.uint8]: ...
