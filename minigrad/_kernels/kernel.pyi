from typing import Any

from numpy.typing import NDArray

class Kernel:
    """A compiled twin of an op's forward; None means: not for these operands."""

    name: str
    def __call__(self, x: Any, y: Any = None) -> NDArray[Any] | None: ...
