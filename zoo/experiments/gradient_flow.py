"""E3: how large gradients are at the first layer of deep nets; what batch norm and shortcuts do.

Design: the ratio of the norms of the first and the last convolution's weight gradient, before any
training, for eight kinds of chain and two depths; then figure 7 of He et al. 2015, the deviation
of every layer's response after batch norm, in trained nets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import nn

from ..pictures import COLORS
from .framework import Experiment, Plot, Result, Settings, Table, Verdict, say, within
from .nets import Chain, MiniResNet
from .training import Images, Recipe, fit, images, logits

DEPTHS = (20, 56)
BATCH = 64
xavier, he = nn.init.xavier_normal_, nn.init.kaiming_normal_
narrow = partial(nn.init.normal_, mean=0.0, std=0.01)
KINDS: dict[str, Callable[..., Chain]] = {
    "plain sigmoid, Xavier": partial(Chain, act=F.sigmoid, start=xavier),
    "plain tanh, Xavier": partial(Chain, act=F.tanh, start=xavier),
    "plain ReLU, deviation .01": partial(Chain, act=F.relu, start=narrow),
    "plain ReLU, He": partial(Chain, act=F.relu, start=he),
    "plain ReLU, BN": partial(Chain, act=F.relu, start=he, batch_norm=True),
    "residual ReLU": partial(Chain, act=F.relu, start=he, residual=True),
    "residual ReLU, BN": partial(Chain, act=F.relu, start=he, residual=True, batch_norm=True),
    "residual sigmoid (after the sum)": partial(Chain, act=F.sigmoid, start=xavier, residual=True),
}


def gradient_norms(net: Chain, x: Any, y: Any) -> tuple[float, float]:
    """(first, last): norms of the weight gradients of the first and the last convolution."""
    net.train()
    F.cross_entropy(net(mg.from_numpy(x)), mg.from_numpy(y)).backward()
    convolutions: tuple[Any, ...] = (net.conv1, net.last.conv2)
    first, last = (
        np.linalg.norm(conv.weight.grad.numpy().astype(np.float64).ravel()) for conv in convolutions
    )
    return float(first), float(last)


def at_start(
    data: Images, seeds: list[int], depths: tuple[int, ...] = DEPTHS
) -> dict[tuple[str, int], tuple[float, float]]:
    """(ratio first / last, norm of the first) for each kind and depth: medians over seeds."""
    found = {}
    for kind, build in KINDS.items():
        for depth in depths:
            pairs = []
            for seed in seeds:
                mg.manual_seed(seed)
                chosen = np.random.default_rng(seed).permutation(len(data.train_x))[:BATCH]
                net = build(depth, in_channels=data.channels)
                pairs.append(gradient_norms(net, data.train_x[chosen], data.train_y[chosen]))
            ratios = [first / last if last else 0.0 for first, last in pairs]
            found[kind, depth] = median(ratios), median(first for first, _ in pairs)
    return found


def rounding(data: Images, seed: int) -> float:
    """How far float32 is from float64 in the deepest residual net: relative difference of the
    norms of the first convolution's gradient."""
    mg.manual_seed(seed)
    net = KINDS["residual ReLU, BN"](max(DEPTHS), in_channels=data.channels)
    x, y = data.train_x[:BATCH], data.train_y[:BATCH]
    single, _ = gradient_norms(net, x, y)
    net.zero_grad()
    double, _ = gradient_norms(net.double(), x.astype(np.float64), y)
    return abs(single / double - 1)


def responses(net: MiniResNet, x: Any) -> list[float]:
    """The deviation of each 3x3 layer's output after batch norm, before sum and ReLU (fig. 7)."""
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    layers: list[Any] = [m for m in net.modules() if isinstance(m, kinds)]
    order = sorted(range(len(layers)), key=lambda k: isinstance(layers[k], nn.BatchNorm2d))
    half = len(order) // 2
    out: list[float] = []

    def hook(bn: Any) -> Callable[..., None]:
        def note(module: Any, inputs: Any, c: Any) -> None:
            scale = bn.weight.numpy() / np.sqrt(bn.running_var.numpy() + bn.eps)
            shift = bn.bias.numpy() - bn.running_mean.numpy() * scale
            y = c.numpy() * scale[:, None, None] + shift[:, None, None]
            out.append(float(y.std()))

        return note

    removers = [
        layers[c].register_forward_hook(hook(layers[b]))
        for c, b in zip(order[:half], order[half:], strict=True)
    ]
    logits(net.eval(), x[:500])
    for remove in removers:
        remove()
    return out


def trained_responses(data: Images, steps: int, seed: int) -> dict[str, list[float]]:
    """Figure 7 for plain and residual nets of two depths."""
    found = {}
    for kind, shortcut in (("plain", None), ("residual", "A")):
        for depth in DEPTHS:
            mg.manual_seed(seed)
            option: Any = shortcut
            net = MiniResNet(depth, option, data.channels, len(data.classes))
            fit(net, data, Recipe(steps), seed)
            found[f"{kind}-{depth}"] = responses(net, data.train_x)
            say(f"{kind}-{depth}: mean deviation {np.mean(found[f'{kind}-{depth}']):.3f}")
    return found


def run(settings: Settings) -> Result:
    """Gradients before training, deviations of responses after it."""
    data = images(settings, 8, 5000)
    start = at_start(data, settings.seeds(settings.pick(3, 10)))
    after = trained_responses(data, settings.pick(1000, 10_000), settings.seed)
    rows: list[tuple[Any, ...]] = [
        (kind, *(start[kind, d][0] for d in DEPTHS), *(start[kind, d][1] for d in DEPTHS))
        for kind in KINDS
    ]
    means = {name: float(np.mean(values)) for name, values in after.items()}
    tables = [
        Table(
            "before training: gradient of the first convolution over the last, and the first alone",
            ("net", "ratio, 20", "ratio, 56", "first, 20", "first, 56"), list(rows),
        ),
        Table(
            "after training: deviation of the responses after batch norm, mean over layers",
            ("net", "deviation"), list(means.items()),
        ),
    ]  # fmt: skip
    verdicts = [
        Verdict("residual ReLU with BN, depth 56: float32 against float64",
                rounding(data, settings.seed), "<=", 1e-2),
        Verdict("plain sigmoid, depth 56: ratio", rows[0][2], "<", 1e-10),
        *within("residual ReLU with BN, depth 56: ratio", rows[6][2], 1.0, 30.0),
        Verdict("plain ReLU with BN, depth 56: ratio (gradients explode)", rows[4][2], ">", 100.0),
        Verdict(
            "responses: residual-20 over plain-20", means["residual-20"] / means["plain-20"],
            "<", 1.0,
        ),
        Verdict(
            "responses: residual-56 over residual-20",
            means["residual-56"] / means["residual-20"], "<", 1.0,
        ),
    ]  # fmt: skip
    plots = [
        Plot(lambda f: draw_start(f, rows), (7.2, 3.4)),
        Plot(lambda f: draw_responses(f, after), (7.2, 3.0), "responses"),
    ]
    return Result(tables, verdicts, plots)


def draw_start(figure: Any, rows: list[tuple[Any, ...]]) -> None:
    """The ratios on a logarithmic axis; what has underflowed stands at the edge."""
    axis = figure.subplots()
    floor = 1e-20
    for k, depth in enumerate(DEPTHS):
        values = [max(row[1 + k], floor) for row in rows]
        places = np.arange(len(rows)) + 0.24 * k - 0.12
        axis.plot(values, places, "o", ms=6, color=COLORS[k], label=f"depth {depth}")
        for place, row, value in zip(places, rows, values, strict=True):
            if row[1 + k] < floor:
                axis.annotate("0 in float32", (value, place), (8, 0), textcoords="offset points",
                              va="center", fontsize=7, color=COLORS[k])  # fmt: skip
    axis.axvline(1.0, color="0.5", lw=0.8)
    axis.set(xscale="log", xlabel="norm of dW, first convolution over last, before training")
    axis.set_yticks(range(len(rows)), [row[0] for row in rows])
    axis.invert_yaxis()
    axis.legend(loc="upper center")


def draw_responses(figure: Any, after: dict[str, list[float]]) -> None:
    """Deviation against layer, as in the paper's figure 7."""
    axis = figure.subplots()
    for k, (name, values) in enumerate(after.items()):
        style = "--" if name.startswith("plain") else "-"
        axis.plot(range(1, len(values) + 1), values, style, color=COLORS[k % 2], label=name)
    axis.set(xlabel="layer", ylabel="standard deviation of the response", yscale="log")
    axis.legend(ncols=2)


GRADIENT_FLOW = Experiment(
    "E3", "gradient-flow",
    "with batch norm the gradients of deep plain nets do not vanish: they explode towards the "
    "input; shortcuts keep them even",
    "the paper: plain nets with batch norm have healthy gradients, degradation is 'unlikely to be "
    "caused by vanishing gradients'; responses of residual nets are smaller, the more the deeper",
    "He et al. 2015, section 4.1 and figure 7; Glorot and Bengio 2010 for saturating activations",
    "ratios are those of narrow nets before training; training starts to even them out at once",
    run,
)  # fmt: skip
