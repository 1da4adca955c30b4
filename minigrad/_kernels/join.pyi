from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

def concat_channels(xs: tuple[Array, ...]) -> Array | None: ...
