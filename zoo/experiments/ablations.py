"""E8: one switch at a time: ReLU or tanh, local response normalization, batch norm, dropout, crops.

Design: each part trains pairs of nets that differ in one argument and gives back a table and its
verdicts.  ReLU against tanh is done as the paper did it: four layers, pixels that are centered but
not scaled, weights from a narrow normal distribution, and for each the learning rate at which it is
fastest.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import nn

from ..parts import weighted
from ..pictures import COLORS
from .framework import Experiment, Plot, Result, Settings, Table, Verdict, cell, say
from .nets import SmallNet
from .training import Images, Recipe, errors, fit, images, smooth

MARKS = (25.0, 15.0)  # training error in percent
ACTS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.Tanh)
LRS = (0.003, 0.01, 0.03, 0.1)
LIMIT, TAIL = 1000, 20  # steps; batches that the training error is a mean of
PIXELS = 64.0  # deviation of what the nets of that part see, about that of bytes
NARROW = 0.03
RATES = [10.0 ** (k / 4) for k in range(-9, 2)]  # learning rates, from .0056 to 1.8
Part = tuple[Table, list[Verdict]]


def steps_to_marks(data: Images, act: type[nn.Module], lr: float, seed: int) -> dict[float, int]:
    """At which step the training error, over the last batches, fell to each mark."""
    mg.manual_seed(seed)
    net = SmallNet(16, data.channels, len(data.classes), windows=(5,), widths=(32, 32, 64), act=act)
    for layer in weighted(net):
        nn.init.normal_(layer.weight, 0.0, NARROW)
    last: deque[float] = deque(maxlen=TAIL)
    found: dict[float, int] = {}

    def loss_of(scores: Any, labels: Any) -> Any:
        last.append(100 * float((scores.numpy().argmax(axis=1) != labels.numpy()).mean()))
        return F.cross_entropy(scores, labels)

    def stop(step: int, loss: float) -> bool:
        if len(last) == TAIL:
            for mark in MARKS:
                if np.mean(last) <= mark:
                    found.setdefault(mark, step)
        return len(found) == len(MARKS) or bool(step > 250 and np.mean(last) > 75)

    fit(net, data, Recipe(LIMIT, lr=lr, weight_decay=0.0, drops=()), seed, loss_of, stop)
    return found


def relu_or_tanh(data: Images, seeds: list[int]) -> Part:
    """Steps to the marks; the learning rate is chosen on the first seed, for the lower mark."""
    raw = replace(data, train_x=data.train_x * np.float32(PIXELS))
    found: dict[str, list[dict[float, int]]] = {}
    rates = {}
    for act in ACTS:
        name = act.__name__
        tried = {lr: steps_to_marks(raw, act, lr, seeds[0]) for lr in LRS}
        rates[name] = min(tried, key=lambda lr: tried[lr].get(MARKS[-1], LIMIT))
        found[name] = [tried[rates[name]]]
        found[name] += [steps_to_marks(raw, act, rates[name], s) for s in seeds[1:]]
        say(f"{name}: lr {rates[name]}, steps {found[name]}")
    mean = {
        name: [float(np.mean([f.get(mark, LIMIT) for f in runs])) for mark in MARKS]
        for name, runs in found.items()
    }
    rows = [(name, rates[name], *mean[name]) for name in mean]
    ratio = [tanh / relu for relu, tanh in zip(mean["ReLU"], mean["Tanh"], strict=True)]
    table = Table(
        f"steps to a training error of, mean of {len(seeds)} seeds",
        ("activation", "its fastest lr", *(f"{m:.0f} %" for m in MARKS)),
        [*rows, ("ratio", None, *ratio)],
    )
    return table, [Verdict("tanh over ReLU, steps to 15 % training error", ratio[1], ">=", 1.5)]


def averages(
    data: Images, seeds: list[int], options: dict[str, dict[str, Any]], recipe: dict[str, Recipe]
) -> dict[str, Any]:
    """For each option of the net an array (seeds, 3): training error, test error, steps to a loss
    of .5."""
    found = {}
    for name, chosen in options.items():
        rows = []
        for seed in seeds:
            mg.manual_seed(seed)
            net = SmallNet(16, data.channels, len(data.classes), **chosen)
            losses = np.array(smooth(fit(net, data, recipe[name], seed)))
            reached = int((losses > 0.5).sum())  # the smoothed loss falls, but for noise
            rows.append((*errors(net, data), reached))
        found[name] = np.array(rows)
        say(f"{name}: {np.round(found[name].mean(axis=0), 2)}")
    return found


def error_table(title: str, found: dict[str, Any]) -> Table:
    """Means over seeds."""
    rows = [
        (name, *(float(v) for v in a.mean(axis=0)), float((a[:, 1] - a[:, 0]).mean()),
         float(a[:, 1].std()))
        for name, a in found.items()
    ]  # fmt: skip
    header = ("net", "training error %", "test error %", "steps above loss .5", "gap", "deviation")
    return Table(title, header, list(rows))


def normalization(data: Images, seeds: list[int], steps: int) -> Part:
    """No normalization against AlexNet's."""
    recipe = Recipe(steps, lr=0.02)
    options = {"none": {"norm": "none"}, "LRN": {"norm": "lrn"}}
    found = averages(data, seeds, options, dict.fromkeys(options, recipe))
    gain = float(found["none"][:, 1].mean() - found["LRN"][:, 1].mean())
    table = error_table("local response normalization", found)
    return table, [Verdict("LRN: points of test error gained or lost", abs(gain), "<=", 2.0)]


def trains(data: Images, norm: str, lr: float, seed: int) -> bool:
    """Whether a net of nine convolutions leaves chance: after 300 steps its loss is less than
    four fifths of ln(classes)."""
    mg.manual_seed(seed)
    net = SmallNet(16, data.channels, len(data.classes), windows=(3, 3, 3), norm=norm)
    recipe = Recipe(300, lr=lr, weight_decay=0.0, drops=())
    losses = fit(net, data, recipe, seed, stop=lambda step, loss: loss > 100)
    chance = math.log(len(data.classes))
    return len(losses) == recipe.steps and smooth(losses)[-1] < 0.8 * chance


def highest_rate(data: Images, norm: str, seed: int) -> int:
    """The place in ``RATES`` of the highest that trains, by bisection; -1 if none does."""
    low, high = -1, len(RATES)
    while high - low > 1:
        middle = (low + high) // 2
        if trains(data, norm, RATES[middle], seed):
            low = middle
        else:
            high = middle
    return low


def batch_norm(data: Images, seeds: list[int]) -> Part:
    """How high the learning rate may be."""
    places = {norm: [highest_rate(data, norm, s) for s in seeds] for norm in ("none", "bn")}
    say(f"highest rates {places}")
    rows = [
        (name, *(float(10 ** ((f(places[norm]) - 9) / 4)) for f in (np.mean, min, max)))
        for norm, name in (("none", "without"), ("bn", "with batch norm"))
    ]
    decades = float(np.mean(places["bn"]) - np.mean(places["none"])) / 4
    table = Table(
        "highest learning rate that trains, of 1.8, 1, .56, ...",
        ("net", "mean", "least", "most"), list(rows),
    )  # fmt: skip
    what = "batch norm: highest rate over the highest without"
    return table, [Verdict(what, round(10**decades, 6), ">=", 10.0)]


def dropout(data: Images, seeds: list[int], steps: int) -> Part:
    """Linear layers with and without dropout, on few images."""
    few = replace(data, train_x=data.train_x[:2000], train_y=data.train_y[:2000])
    recipe = Recipe(steps, lr=0.02, weight_decay=0.0, flip=False)
    options = {head: {"head": head, "windows": (3, 3)} for head in ("fc", "fc+dropout")}
    found = averages(few, seeds, options, dict.fromkeys(options, recipe))
    gaps = {n: float((a[:, 1] - a[:, 0]).mean()) for n, a in found.items()}
    slower = float(found["fc+dropout"][:, 2].mean() / found["fc"][:, 2].mean())
    verdicts = [
        Verdict("dropout: gap over gap without", gaps["fc+dropout"] / gaps["fc"], "<", 1.0),
        Verdict("dropout: steps to a loss of .5 over steps without", slower, ">", 1.0),
    ]
    return error_table("dropout", found), verdicts


def augmentation(data: Images, seeds: list[int], steps: int) -> Part:
    """Crops and flips against none, on few images."""
    few = replace(data, train_x=data.train_x[:2000], train_y=data.train_y[:2000])
    plain = Recipe(steps, lr=0.02, weight_decay=0.0, flip=False)
    recipes = {"as they are": plain, "crop and flip": replace(plain, flip=True, crop=2)}
    found = averages(few, seeds, {name: {"windows": (3, 3)} for name in recipes}, recipes)
    gaps = {n: float((a[:, 1] - a[:, 0]).mean()) for n, a in found.items()}
    verdict = Verdict(
        "crop and flip: gap over gap without", gaps["crop and flip"] / gaps["as they are"], "<", 1.0
    )
    return error_table("augmentation", found), [verdict]


def run(settings: Settings) -> Result:
    """All five parts."""
    data = images(settings, 16, settings.pick(5000, 50_000))
    seeds, steps = settings.seeds(settings.pick(3, 5)), settings.pick(500, 4000)
    parts = [
        relu_or_tanh(data, seeds),
        normalization(data, seeds, steps + steps // 2),
        batch_norm(data, seeds[:2]),
        dropout(data, seeds, steps),
        augmentation(data, seeds, steps),
    ]
    tables = [table for table, _ in parts]
    verdicts = [v for _, found in parts for v in found]
    return Result(tables, verdicts, [Plot(lambda f: draw(f, tables), (8.6, 2.6))])


def draw(figure: Any, tables: list[Table]) -> None:
    """One small bar chart for each switch."""
    axes = figure.subplots(1, 5)
    gap = "test minus training\nerror, points"
    panels = (
        (0, 3, "steps to 15 %\ntraining error"), (1, 2, "test error, %\n"),
        (2, 1, "highest rate that\ntrains"), (3, 4, gap), (4, 4, gap),
    )  # fmt: skip
    for axis, (k, column, label) in zip(axes, panels, strict=True):
        rows = tables[k].rows[:2]
        values = [row[column] for row in rows]
        bars = axis.bar(range(2), values, 0.6, color=COLORS[:2])
        axis.bar_label(bars, [cell(float(f"{v:.3g}")) for v in values], padding=2, fontsize=8)
        names = [str(row[0]) for row in rows]
        axis.set_xticks(range(2), [NAMES.get(n, n) for n in names], fontsize=8)
        axis.set_title(label, fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.grid(axis="x", visible=False)
        axis.margins(y=0.12)
    axes[2].set(
        yscale="log", ylim=(0.01, 3), yticks=[0.01, 0.1, 1], yticklabels=["0.01", "0.1", "1"]
    )


NAMES = {
    "Tanh": "tanh", "with batch norm": "batch\nnorm", "fc": "linear\nlayers",
    "fc+dropout": "with\ndropout", "as they are": "as they\nare", "crop and flip": "crop\nand flip",
}  # fmt: skip
ABLATIONS = Experiment(
    "E8", "ablations",
    "ReLU trains faster than tanh; LRN changes little; batch norm allows learning rates ten times "
    "higher; dropout, crops and flips shrink the gap",
    "ReLU: 6 times fewer iterations to 25 % training error; LRN: 13 to 11 % on CIFAR-10, but VGG "
    "A-LRN 29.7 against A 29.6; dropout: twice the iterations",
    "Krizhevsky et al. 2012, figure 1, sections 3.3 and 4.2; Simonyan and Zisserman 2014, table 3; "
    "Ioffe and Szegedy 2015",
    "how much faster ReLU is depends on scale and start: with Glorot's and He's starts and scaled "
    "images, as one does now, tanh is as fast; the paper's mark of 25 % is reached in three epochs "
    "here, where the ratio is smaller (it is in the table), so 15 % is judged, and what does not "
    "get there counts 1,000 steps; with batch norm the highest rates leave chance but do not train "
    "well; LRN's criterion is that little changes, no gain is claimed",
    run,
)  # fmt: skip
