from types import TracebackType
from typing import Any

from numpy.typing import DTypeLike, NDArray

def empty_array(
    shape: int | tuple[int, ...] | list[int],
    dtype: DTypeLike = ...,
    *,
    channels_last: bool = False,
) -> NDArray[Any]: ...
def memory_stats() -> dict[str, int]: ...
def empty_cache() -> None: ...
def refuse_in(count: int) -> None: ...

class pooled_arrays:
    """Context manager: NumPy's arrays of this thread come from the pool."""

    def __enter__(self) -> pooled_arrays: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
