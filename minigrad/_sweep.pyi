from collections.abc import Sequence
from typing import Any

def sweep(
    roots: Sequence[Any],
    gradients: Sequence[Any],
    inputs: Sequence[Any] | None = ...,
    retain: bool = ...,
    create_graph: bool = ...,
) -> Any: ...
