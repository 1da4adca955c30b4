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
    "axes.axisbelow": True,
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
        kind = "svg" if path.suffix == ".svg" else "png"
        smallest: Any = {"pil_kwargs": {"optimize": True}} if kind == "png" else {}
        figure.savefig(buffer, format=kind, **smallest)
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


PAPER = (0.86, 0.91, 0.97)  # between filters: a color that no gray filter has


def tiles(images: Array, columns: int) -> Array:
    """Images (N, h, w, 3) side by side in rows of `columns`, a pixel between them: (H, W, 3)."""
    n, h, w, _ = images.shape
    rows = -(-n // columns)
    sheet = np.tile(np.array(PAPER), (rows * (h + 1) + 1, columns * (w + 1) + 1, 1))
    for k, image in enumerate(images):
        top, left = 1 + k // columns * (h + 1), 1 + k % columns * (w + 1)
        sheet[top : top + h, left : left + w] = image
    return sheet


def draw_kernels(figure: Any, net: nn.Module, title: str) -> None:
    """Filters as pictures: in color where the image has three channels, else of the first."""
    w = first_kernels(net)
    k, c, r, s = w.shape
    images = (w if c == 3 else w[:, :1].repeat(3, axis=1)).transpose(0, 2, 3, 1)
    columns = min((n for n in range(1, k + 1) if k % n == 0), key=lambda n: abs(n - 1.26 * k**0.5))
    axis = figure.subplots()
    axis.imshow(tiles(images, columns), interpolation="nearest")
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
    figure.suptitle(f"{title}; each map from its least value (black) to its largest", fontsize=9)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    grid = figure.add_gridspec(len(names), MAPS + 2)
    image = figure.add_subplot(grid[:, :2])
    gray = picture.ndim == 2
    image.imshow(np.clip(picture, 0, 1), **({"cmap": "gray"} if gray else {}))
    image.set_axis_off()
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
    of noise. The net becomes float64, which Winograd's algorithm does not take: what lies outside
    of the field is exactly 0. Raises ArgError for an unknown layer.
    """
    modules = dict(net.named_modules())
    if layer not in modules:
        raise ArgError(f"--layer {layer}: unknown; layers are {', '.join(filter(None, modules))}")
    out: list[Any] = []
    remove = modules[layer].register_forward_hook(lambda m, i, y: out.append(y))
    x = mg.from_numpy(np.random.default_rng(0).standard_normal((1, *image)))
    x.requires_grad_()
    try:
        net.double().eval()(x)
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
    fields = {r.name: (k, r.field) for k, r in enumerate(windows(rows), 1)}
    pools = {r.name for r in windows(rows) if "Pool" in r.kind}
    x, y = zip(*fields.values(), strict=True)
    left.step(x, np.maximum.accumulate(y), where="mid", lw=1, color="0.6", label="widest so far")
    for label, color, own in (
        ("convolution", COLORS[0], [f for n, f in fields.items() if n not in pools]),
        ("pooling", COLORS[4], [f for n, f in fields.items() if n in pools]),
    ):
        if own:
            left.plot([k for k, _ in own], [f for _, f in own], "o", ms=4, color=color, label=label)
    left.axhline(side, color="0.5", lw=0.8, ls="--")
    left.annotate(f"the image, {side} pixels", (1, side), (0, 3), textcoords="offset points",
                  fontsize=7, color="0.35")  # fmt: skip
    left.set(xlabel="layer", ylabel="receptive field, pixels", title=title, ylim=(0, None))
    left.xaxis.get_major_locator().set_params(integer=True)
    left.legend(loc="lower right")
    with np.errstate(divide="ignore"):
        shown = np.ma.masked_invalid(np.log10(gradient))  # no gradient: white
    image = right.imshow(shown, cmap="viridis", vmin=-4, vmax=0, interpolation="nearest")
    label = "|gradient|, relative to the largest"
    bar = figure.colorbar(image, ax=right, label=label, shrink=0.8, extend="min")
    bar.set_ticks(range(-4, 1), labels=[f"10$^{{{k}}}$" for k in range(-4, 0)] + ["1"])
    high, wide = (int(np.ptp(v)) + 1 for v in np.nonzero(gradient))
    field = fields[layer][1] if layer in fields else None
    right.set_title(
        f"middle of {layer}\n{high}x{wide} pixels act" + (f", field {field}" if field else ""),
        fontsize=8,
    )
    right.set(xlabel="pixel", ylabel="pixel")
    right.grid(visible=False)


def windows(rows: Sequence[Any]) -> list[Any]:
    """The rows of a summary that are convolutions or poolings with a window."""
    return [
        r for r in rows if ("Conv" in r.kind or "Pool" in r.kind) and not r.kind.startswith("Adapt")
    ]
