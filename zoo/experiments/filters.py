"""E5 and E6: small windows against large ones, and what 1x1 convolutions save.

Design: counts and costs are read off real layers and from ``zoo.summary``; receptive fields are
read off gradients (which input pixels an output pixel depends on); then small nets are trained that
differ in their windows only, and the two Inception modules of the lecture are timed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import nn

from .. import child
from ..googlenet import Inception, NaiveInception
from ..summary import summary
from .framework import Experiment, Plot, Result, Settings, Table, Verdict, say
from .nets import SmallNet
from .training import Recipe, errors, fit, images

WIDTHS = (3, 64, 256)


def weights(net: nn.Module) -> int:
    """Parameters without biases."""
    return sum(p.size for name, p in net.named_parameters() if not name.endswith("bias"))


def stack(channels: int, windows: Sequence[int]) -> nn.Sequential:
    """Convolutions of these sizes with equal numbers of maps, without biases."""
    return nn.Sequential(
        *(nn.Conv2d(channels, channels, k, padding=k // 2, bias=False) for k in windows)
    )


def support(windows: Sequence[int], side: int = 15) -> tuple[int, int, int]:
    """(height, width, number) of the input pixels that the middle output pixel depends on.

    Weights are positive, so no path cancels another and every ReLU passes; in float64, which
    Winograd's algorithm does not take, what does not act has a gradient of 0.
    """
    net = stack(1, windows).double()
    for p in net.parameters():
        nn.init.uniform_(p, 0.5, 1.5)
    x = mg.ones(1, 1, side, side, dtype=np.float64, requires_grad=True)
    y = x
    for layer in net:
        y = F.relu(layer(y))
    y[0, 0, side // 2, side // 2].backward()
    assert x.grad is not None
    rows, columns = np.nonzero(x.grad.numpy()[0, 0])
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, len(rows)


def filter_counts() -> list[tuple[int, int, int]]:
    """(C, weights of three 3x3, weights of one 7x7) for C maps everywhere."""
    with nn.meta():
        return [(c, weights(stack(c, (3, 3, 3))), weights(stack(c, (7,)))) for c in WIDTHS]


def small_filters(settings: Settings) -> Result:
    """Fields, counts, and pairs of 3x3 against single 5x5 in training."""
    fields = [(name, *support(w)) for name, w in (("three 3x3", (3, 3, 3)), ("one 7x7", (7,)))]
    counts = filter_counts()
    data = images(settings, 16, settings.pick(5000, 50_000))
    recipe = Recipe(settings.pick(800, 8000), lr=0.02, weight_decay=5e-4)
    found: dict[str, list[tuple[float, float]]] = {}
    for name, windows in (("3x3 and 3x3", (3, 3)), ("5x5", (5,))):
        found[name] = []
        for seed in settings.seeds(settings.pick(4, 5)):
            mg.manual_seed(seed)
            net = SmallNet(16, data.channels, len(data.classes), windows=windows, norm="bn")
            fit(net, data, recipe, seed)
            found[name].append(errors(net, data))
            say(f"{name}, seed {seed}: train {found[name][-1][0]:.1f} %, test "
                f"{found[name][-1][1]:.1f} %")  # fmt: skip
    means = {name: np.mean(v, axis=0) for name, v in found.items()}
    rows = [(n, float(m[0]), float(m[1]), float(np.std(found[n], axis=0)[1]))
            for n, m in means.items()]  # fmt: skip
    tables = [
        Table("pixels that one output pixel sees", ("layers", "height", "width", "all"), fields),
        Table("weights", ("maps C", "three 3x3: 27 C^2", "one 7x7: 49 C^2"), list(counts)),
        Table(
            f"VGG's net B, tiny, on {data.name}, {recipe.steps} steps, mean of "
            f"{len(found['5x5'])} seeds",
            ("each stage", "training error %", "test error %", "deviation"), list(rows),
        ),
    ]  # fmt: skip
    verdicts = [
        *(Verdict(f"field of {n}, pixels", count, "==", 49) for n, *_, count in fields),
        *(Verdict(f"27 C^2 for C = {c}", a, "==", 27 * c * c) for c, a, _ in counts),
        *(Verdict(f"49 C^2 for C = {c}", b, "==", 49 * c * c) for c, _, b in counts),
        Verdict("test error, 5x5 minus pairs of 3x3", rows[1][2] - rows[0][2], ">=", 0.0),
    ]
    return Result(tables, verdicts, [Plot(lambda f: draw_filters(f, found, data.name), (6.8, 2.8))])


def draw_filters(figure: Any, found: dict[str, list[tuple[float, float]]], name: str) -> None:
    """Left: weights against maps; right: errors of every seed."""
    left, right = figure.subplots(1, 2)
    c = np.arange(8, 513)
    left.plot(c, 49 * c**2 / 1e6, label="one 7x7: 49 C²")
    left.plot(c, 27 * c**2 / 1e6, label="three 3x3: 27 C²")
    left.set(xlabel="maps C", ylabel="weights, millions", xlim=(0, 512), ylim=(0, None))
    left.legend()
    for k, (label, pairs) in enumerate(found.items()):
        train, test = np.array(pairs).T
        right.plot(train, test, "os"[k], ms=5, label=label)
    right.set(xlabel=f"training error on {name}, %", ylabel="test error, %")
    right.legend()


def modules() -> dict[str, nn.Module]:
    """The lecture's example on 28x28x256, naive and with reductions."""
    return {
        "naive": NaiveInception(256, 128, 192, 96),
        "with 1x1 reductions": Inception(256, 128, 64, 192, 64, 96, 64),
    }


def module_costs() -> list[tuple[str, int, int, int]]:
    """(module, multiply-adds, weights, maps of the output) of both."""
    found = []
    with nn.meta():
        made = modules()
    for name, module in made.items():
        total = summary(module, (256, 28, 28))
        maps = module(mg.zeros(1, 256, 28, 28)).shape[1]
        found.append((name, total.total("macs"), weights(module), int(maps)))
    return found


def block_weights() -> dict[str, int]:
    """Weights of the ResNet blocks that section 4.1 of the paper compares."""
    with nn.meta():
        return {
            "1x1, 3x3, 1x1 on 256 maps (64 inside)": weights(
                nn.Sequential(
                    nn.Conv2d(256, 64, 1, bias=False), nn.Conv2d(64, 64, 3, bias=False),
                    nn.Conv2d(64, 256, 1, bias=False),
                )
            ),
            "3x3, 3x3 on 64 maps": weights(stack(64, (3, 3))),
            "3x3, 3x3 on 256 maps": weights(stack(256, (3, 3))),
        }  # fmt: skip


def timed(module: nn.Module, x: Any, repeats: int) -> float:
    """Milliseconds of one forward pass: the least of several."""
    times = []
    with mg.no_grad():
        module(x)
        for _ in range(repeats):
            began = time.perf_counter()
            module(x)
            times.append(time.perf_counter() - began)
    return 1e3 * min(times)


def time_modules(repeats: int) -> list[float]:
    """Milliseconds of a batch of 8 in either module; in a child, which has its own algorithm."""
    mg.manual_seed(0)
    x = mg.randn(8, 256, 28, 28)
    return [timed(module.eval(), x, repeats) for module in modules().values()]


def bottleneck(settings: Settings) -> Result:
    """Costs and times of both modules, weights of ResNet's blocks."""
    costs, blocks, times = module_costs(), block_weights(), {}
    for algorithm in ("direct", "auto"):
        chosen = {"MINIGRAD_CONV": algorithm}
        arguments = (f"{__name__}:time_modules", settings.pick(15, 100))
        times[algorithm] = child.call(*arguments, environment=chosen).result
    rows = [
        (*c, *(part for ms in pair for part in (ms, c[1] * 8 / ms / 1e6)))
        for c, pair in zip(costs, zip(*times.values(), strict=True), strict=True)
    ]
    tables = [
        Table(
            "Inception module on 28x28x256, time of a batch of 8",
            ("module", "multiply-adds", "weights", "maps out", "direct, ms", "GMAC/s",
             "default, ms", "GMAC/s"), list(rows),
        ),
        Table("residual blocks", ("block", "weights"), list(blocks.items())),
    ]  # fmt: skip
    exact = {
        "naive: multiply-adds": (costs[0][1], 854_196_224),
        "with reductions: multiply-adds": (costs[1][1], 271_351_808),
        "naive: weights": (costs[0][2], 1_089_536),
        "with reductions: weights": (costs[1][2], 346_112),
        "naive: maps": (costs[0][3], 672),
        "with reductions: maps": (costs[1][3], 480),
    }
    sizes = (69_632, 73_728, 1_179_648)
    direct, default = (naive / reduced for naive, reduced in times.values())
    verdicts = [
        *(Verdict(what, value, "==", wanted) for what, (value, wanted) in exact.items()),
        *(Verdict(w, v, "==", s) for (w, v), s in zip(blocks.items(), sizes, strict=True)),
        Verdict("times faster with reductions, direct convolution", direct, ">=", FASTER),
        Verdict("times faster with reductions, default", default, ">=", FASTER_BY_DEFAULT),
    ]
    return Result(tables, verdicts, [Plot(lambda f: draw_costs(f, rows), (6.2, 2.6))])


FASTER, FASTER_BY_DEFAULT = 2.0, 1.5


def draw_costs(figure: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Weights, multiply-adds and times of both modules, as parts of the naive one's."""
    axis = figure.subplots()
    labels = ("weights", "multiply-adds", "time, direct", "time, default")
    y = np.arange(len(labels))
    for k, row in enumerate(rows):
        values = [row[i] / rows[0][i] for i in (2, 1, 4, 6)]
        texts = [f"{row[2]:,}", f"{row[1] / 1e6:,.1f} M", f"{row[4]:.1f} ms", f"{row[6]:.1f} ms"]
        bars = axis.barh(y + 0.38 * k - 0.19, values, 0.36, label=row[0])
        axis.bar_label(bars, texts, padding=3)
    axis.set_yticks(y, labels)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set(xlabel="relative to the naive module (times: a batch of 8)", xlim=(0, 1.25))
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


SMALL_FILTERS = Experiment(
    "E5", "small-filters",
    "three 3x3 convolutions see 7x7 pixels with 27/49 of the weights, and small windows are not "
    "worse",
    "net B with each pair of 3x3 replaced by one 5x5: 7 points more top-1 error",
    "Simonyan and Zisserman 2014, section 2.3 and 4",
    "small nets on small images, with batch norm: the difference is below a point; the criterion "
    "is that 5x5 is not better",
    small_filters,
)  # fmt: skip
BOTTLENECK = Experiment(
    "E6", "bottleneck",
    "1x1 reductions make the Inception module of the lecture 3.148 times cheaper (it prints 358M "
    "multiply-adds for the second; its own rows add up to 271M)",
    "854M and 358M multiply-adds in the lecture; 69,632 against 1,179,648 weights in ResNet",
    "CS231n's slides; Szegedy et al. 2014, figure 2; He et al. 2015, figure 5",
    "time saved is less than work saved: 1x1 convolutions do fewer multiply-adds per value moved, "
    "and Winograd's algorithm speeds up the naive module's 3x3 and 5x5",
    bottleneck,
)  # fmt: skip
