from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

def assign(out: NDArray[np.generic], x: ArrayLike | NDArray[Any]) -> None: ...
