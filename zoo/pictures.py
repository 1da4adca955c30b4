"""Pictures of nets: kernels of the first layer, feature maps, receptive fields; and how figures are
styled and written.

Design: matplotlib is asked for when something is drawn (extra ``plot``); what is drawn is computed
by functions that return arrays, which the tests read.  A figure is written whole or not at all.
"""

from __future__ import annotations

import importlib.util
import io as streams
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
from minigrad import io, nn
from minigrad.errors import ArgError

Array = NDArray[Any]
HOW_TO_PLOT = 'needs matplotlib: pip install -e ".[plot]"'
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "savefig.dpi": 160,
}


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def save_figure(path: Path, draw: Callable[[Any], None], size: tuple[float, float]) -> None:
    """Draw on an empty figure of `size` inches and write it as PNG or SVG, by the name's ending.

    Raises ImportError without matplotlib, OSError.
    """
    if not can_plot():
        raise ImportError(f"{path}: drawing {HOW_TO_PLOT}")
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    style: Any = STYLE | {"axes.prop_cycle": cycler(color=COLORS)}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = streams.BytesIO()
        figure.savefig(buffer, format="svg" if path.suffix == ".svg" else "png")
    io.atomic_write(path, [buffer.getvalue()])


def first_kernels(net: nn.Module) -> Array:
    """The first convolution's weights (K, C, R, S), each filter scaled to [0, 1] around 0.5.

    Raises ArgError for a net without a convolution.
    """
    layer = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
    if layer is None:
        raise ArgError(f"{type(net).__name__}: no convolution, so there are no kernels to draw")
    w: Array = layer.weight.numpy()
    largest = np.abs(w).max(axis=(1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * w / np.where(largest > 0, largest, 1)


def tiles(images: Array, columns: int, *, gap: int = 1, fill: float = 1.0) -> Array:
    """(N, h, w[, 3]) side by side in rows of `columns`, `gap` pixels of `fill` between them."""
    n, h, w = images.shape[:3]
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, *images.shape[3:]), fill)
    for k, image in enumerate(images):
        top, left = gap + k // columns * (h + gap), gap + k % columns * (w + gap)
        sheet[top : top + h, left : left + w] = image
    return sheet


def draw_kernels(figure: Any, net: nn.Module, title: str) -> None:
    """Filters as pictures: in color where the image has three channels."""
    w = first_kernels(net)
    k, c, r, s = w.shape
    colored = c == 3
    images = w.transpose(0, 2, 3, 1) if colored else w[:, 0]
    columns = int(np.ceil(np.sqrt(k * 1.6)))
    axis = figure.subplots()
    color: dict[str, Any] = {} if colored else {"cmap": "gray", "vmin": 0, "vmax": 1}
    axis.imshow(tiles(images, columns), interpolation="nearest", **color)
    axis.set_axis_off()
    axis.set_title(f"{title}: {k} filters of {r}x{s}x{c}, gray is 0", fontsize=9)


def feature_maps(net: nn.Module, x: Array) -> dict[str, Array]:
    """What convolutions and poolings give for one image (C, H, W), after batch norm and ReLU where
    these have a layer of their own: by name, each (K, P, Q)."""
    found: dict[str, Array] = {}
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.ReLU)
    removers = []

    def hook(name: str, module: nn.Module) -> Callable[..., None]:
        def note(module: Any, inputs: Any, out: Any) -> None:
            if out.ndim != 4:
                return
            follows = isinstance(module, nn.BatchNorm2d | nn.ReLU) and bool(found)
            found[next(reversed(found)) if follows else name] = out.numpy()[0].copy()

        return note

    for name, module in net.named_modules():
        if isinstance(module, kinds):
            removers.append(module.register_forward_hook(hook(name, module)))
    try:
        with mg.no_grad():
            net.eval()(mg.from_numpy(x[None].astype(np.float32)))
    finally:
        for remove in removers:
            remove()
    return found


def spread(names: Sequence[str], count: int) -> list[str]:
    """So many of the names, the first and the last among them, evenly."""
    places = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [names[k] for k in places]


MAPS, LAYERS = 8, 6  # drawn of a layer; layers drawn


def strongest(maps: Array, count: int = MAPS) -> Array:
    """The maps with the greatest mean, the greatest first, each scaled to [0, 1]: (count, P, Q)."""
    order = np.argsort(-maps.mean(axis=(1, 2)), kind="stable")[:count]
    low, high = (f(maps[order], axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    scaled: Array = (maps[order] - low) / np.where(high > low, high - low, 1)
    return scaled


def draw_feature_maps(figure: Any, found: dict[str, Array], picture: Array, title: str) -> None:
    """The image, and a row of maps for each of some layers."""
    names = spread(list(found), LAYERS)
    grid = figure.add_gridspec(len(names), MAPS + 2)
    image = figure.add_subplot(grid[:, :2])
    gray = picture.ndim == 2
    image.imshow(np.clip(picture, 0, 1), **({"cmap": "gray"} if gray else {}))
    image.set_axis_off()
    image.set_title(title, fontsize=8)
    for row, name in enumerate(names):
        for k, one in enumerate(strongest(found[name])):
            axis = figure.add_subplot(grid[row, 2 + k])
            axis.imshow(one, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
            axis.set_axis_off()
            if k == 0:
                size = "x".join(map(str, found[name].shape))
                axis.set_title(f"{name}, {size}", fontsize=7, loc="left")


def middle_gradient(net: nn.Module, image: tuple[int, int, int], layer: str) -> Array:
    """How strongly each pixel acts on the middle of a layer's output: (H, W), the largest 1.

    The gradient of the sum over maps there, its absolute value summed over channels, for an image
    of noise. Raises ArgError for an unknown layer.
    """
    modules = dict(net.named_modules())
    if layer not in modules:
        raise ArgError(f"--layer {layer}: unknown; layers are {', '.join(filter(None, modules))}")
    out: list[Any] = []
    remove = modules[layer].register_forward_hook(lambda m, i, y: out.append(y))
    x = mg.from_numpy(np.random.default_rng(0).standard_normal((1, *image)).astype(np.float32))
    x.requires_grad_()
    try:
        net.eval()(x)
    finally:
        remove()
    y = out[0]
    if y.ndim != 4:
        raise ArgError(f"--layer {layer}: its output is {y.shape}, which has no middle pixel")
    (g,) = mg.grad(y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum(), x)
    assert g is not None
    strength = np.abs(g.numpy()[0]).sum(axis=0)
    return strength / (strength.max() or 1)


def draw_fields(figure: Any, rows: Sequence[Any], gradient: Array, layer: str, title: str) -> None:
    """Left: the field of every layer; right: what the middle of one layer really depends on."""
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    side = gradient.shape[0]
    windows = [r for r in rows if r.kind not in ("", "Linear", "AdaptiveAvgPool2d") and r.field > 1]
    x = range(1, len(windows) + 1)
    left.step(x, [r.field for r in windows], where="mid", lw=1, color=COLORS[0])
    for kind, color in (("Conv2d", COLORS[0]), ("Pool2d", COLORS[4])):
        own = [(k, r.field) for k, r in zip(x, windows, strict=True) if kind in r.kind
               or (kind == "Conv2d" and "Pool" not in r.kind)]  # fmt: skip
        label = "convolution" if kind == "Conv2d" else "pooling"
        left.plot(*zip(*own, strict=True), "o", ms=4, color=color, label=label) if own else None
    left.axhline(side, color="0.5", lw=0.8, ls="--")
    left.annotate(f"the image, {side} pixels", (1, side), (0, 3), textcoords="offset points",
                  fontsize=7, color="0.35")  # fmt: skip
    left.set(xlabel="layer", ylabel="receptive field, pixels", title=title, ylim=(0, None))
    left.legend(loc="lower right")
    with np.errstate(divide="ignore"):
        shown = np.log10(gradient)
    image = right.imshow(np.maximum(shown, -4), cmap="viridis", vmin=-4, vmax=0)
    figure.colorbar(image, ax=right, label="log10 of |gradient|, largest 1", shrink=0.8)
    inside = np.nonzero(gradient)
    high, wide = (int(np.ptp(v)) + 1 for v in inside)
    right.set_title(f"middle of {layer}: {high}x{wide} pixels act", fontsize=8)
    right.grid(visible=False)
