Pair = tuple[int, int]
Quad = tuple[int, int, int, int]
Shape = tuple[int, ...]

wish: str

def plan(
    x_shape: Shape,
    w_shape: Shape,
    *,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    groups: int,
    real64: bool = False,
    algorithm: str | None = None,
) -> dict[str, tuple[str, str, float | None, float | None]]: ...
