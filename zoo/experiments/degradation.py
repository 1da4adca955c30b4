"""E1: plain nets get worse with depth, on the training set too; residual nets hardly do.

Design: He et al. 2015, figures 1 and 6, at a scale of minutes: the same 6n + 2 layers, option A,
batch norm and He's start, widths 8, 16, 32 on images of 8x8 pixels, lr .05, divided by ten at two
thirds.  ``--full`` is the paper's own run.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

import minigrad as mg

from ..pictures import COLORS
from .framework import Experiment, Plot, Result, Settings, Table, Verdict, say
from .nets import PAPER, WIDTHS, MiniResNet
from .training import Images, Recipe, errors, fit, images, smooth

DEPTHS = (20, 32, 44, 56)
GAP, SHARE, LEAD = 0.4, 0.6, 0.4  # the criteria
Key = tuple[str, int]


def train_one(key: Key, data: Images, recipe: Recipe, seed: int, widths: Any) -> dict[str, Any]:
    """One net: its smoothed losses, and training and test error in percent."""
    kind, depth = key
    mg.manual_seed(seed)
    net = MiniResNet(
        depth, "A" if kind == "residual" else None, data.channels, len(data.classes), widths
    )
    losses = smooth(fit(net, data, recipe, seed))
    train, test = errors(net, data)
    say(
        f"{kind}-{depth} seed {seed}: loss {losses[-1]:.3f}, train {train:.1f} %, test {test:.1f} %"
    )
    return {"losses": losses, "train": train, "test": test}


def run(settings: Settings) -> Result:
    """Four depths, plain and residual, two seeds."""
    data = images(settings, *settings.pick((8, 5000), (32, None)))
    recipe = settings.pick(
        Recipe(1000), Recipe(64_000, lr=0.1, batch_size=128, drops=(0.5, 0.75), crop=4)
    )
    widths = settings.pick(WIDTHS, PAPER)
    runs: dict[Key, list[dict[str, Any]]] = {
        (kind, depth): [
            train_one((kind, depth), data, recipe, seed, widths) for seed in settings.seeds(2)
        ]
        for kind in ("plain", "residual")
        for depth in DEPTHS
    }
    rows = [
        (f"{kind}-{depth}", mean(r["losses"][-1] for r in found),
         mean(r["train"] for r in found), mean(r["test"] for r in found))
        for (kind, depth), found in runs.items()
    ]  # fmt: skip
    loss = {key: row[1] for key, row in zip(runs, rows, strict=True)}
    wrong = {key: row[2] for key, row in zip(runs, rows, strict=True)}
    gap = loss["plain", 56] - loss["plain", 20]
    table = Table(
        f"{data.name}, {recipe.steps:,} steps, mean of 2 seeds",
        ("net", "training loss", "training error %", "test error %"), list(rows),
    )  # fmt: skip
    verdicts = [
        Verdict("plain-56 minus plain-20, final training loss", gap, ">=", GAP),
        Verdict("plain-56 minus plain-20, points of training error: it is not overfitting",
                wrong["plain", 56] - wrong["plain", 20], ">", 0.0),
        Verdict(f"residual-56 minus residual-20, loss: at most {SHARE:g} of the plain nets' gap",
                loss["residual", 56] - loss["residual", 20], "<=", SHARE * gap),
        Verdict("plain-56 minus residual-56, loss", loss["plain", 56] - loss["residual", 56], ">=",
                LEAD),
    ]  # fmt: skip
    return Result([table], verdicts, [Plot(lambda f: draw(f, runs, data.name), (8.4, 3.4))])


def draw(figure: Any, runs: dict[Key, list[dict[str, Any]]], name: str) -> None:
    """Training loss against steps, plain on the left, residual on the right."""
    axes = figure.subplots(1, 2, sharey=True)
    for axis, kind in zip(axes, ("plain", "residual"), strict=True):
        for color, depth in zip(COLORS, DEPTHS, strict=False):
            for k, found in enumerate(runs[kind, depth]):
                label = f"{kind}-{depth}" if k == 0 else None
                axis.plot(found["losses"], color=color, alpha=1 if k == 0 else 0.45, label=label)
        axis.set(xlabel="step", title=f"{kind} nets (pale: the second seed)", ylim=(0, None))
        axis.legend(loc="upper right")
    axes[0].set_ylabel(f"training loss, {name}")


DEGRADATION = Experiment(
    "E1", "degradation",
    "a deeper plain net has a higher training error; with shortcuts depth costs little",
    "CIFAR-10 train/test error %: plain-20 1.2/9.6, plain-56 5.2/14.2; ResNet-20 0.7/8.2, "
    "ResNet-56 0.2/8.3; the paper's test errors: ResNet-20 8.75, ResNet-56 6.97",
    "He et al. 2015, figures 1 and 6, table 6; plain nets: an independent run of the schedule",
    "at this budget plain-56 is still far from trained, which exaggerates the paper, where it ends "
    "near 5 % training error; that ResNet-56 beats ResNet-20 takes tens of thousands of steps and "
    "is not claimed",
    run,
)  # fmt: skip
