"""E12: features that were learned on some classes serve others, with few examples of each.

Design: VGG's use (appendix B) in small: a net is trained on half of the classes and frozen; a
linear classifier learns the other half from k images a class, from raw pixels and from what two
layers of the net make of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import nn, optim

from .framework import Experiment, Plot, Result, Settings, Table, Verdict, say
from .nets import SmallNet
from .training import Array, Images, Recipe, error, fit, images, logits

SHOTS = (1, 3, 10, 30)


def only(data: Images, classes: list[int]) -> Images:
    """The images of some classes, labels 0, 1, ... in the order of `classes`."""
    number = {c: k for k, c in enumerate(classes)}
    parts = []
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        chosen = np.isin(y, classes)
        parts.append((x[chosen], np.array([number[int(c)] for c in y[chosen]])))
    (x, y), (tx, ty) = parts
    names = tuple(data.classes[c] for c in classes)
    return replace(data, train_x=x, train_y=y, test_x=tx, test_y=ty, classes=names)


def linear_probe(x: Array, y: Array, test_x: Array, test_y: Array, classes: int) -> float:
    """Test error in percent of a linear classifier (N, D) -> classes; Adam, 200 full steps."""
    mean, std = x.mean(axis=0), x.std() + 1e-6
    layer = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    adam = optim.AdamW(layer.parameters(), lr=0.01, weight_decay=0.01)
    batch, labels = mg.from_numpy(((x - mean) / std).astype(np.float32)), mg.from_numpy(y)
    for _ in range(200):
        loss = F.cross_entropy(layer(batch), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return error(logits(layer, ((test_x - mean) / std).astype(np.float32)), test_y)


def representations(net: SmallNet, x: Array) -> dict[str, Array]:
    """The images themselves, and what the net makes of them: each (N, D)."""
    body = nn.Sequential(*list(net.classifier)[:-1])
    return {
        "pixels": x.reshape(len(x), -1),
        "last pooling": logits(lambda t: F.flatten(net.features(t), 1), x),
        "hidden layer": logits(lambda t: body(net.features(t)), x),
    }


def few(y: Array, shots: int, rng: np.random.Generator) -> Array:
    """Indices of `shots` random samples of every class."""
    return np.concatenate(
        [rng.choice(np.flatnonzero(y == c), shots, replace=False) for c in np.unique(y)]
    )


def probe_errors(
    net: SmallNet, new: Images, draws: int, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Test errors in percent for each representation and number of shots, means over draws."""
    train, test = (representations(net, x) for x in (new.train_x, new.test_x))
    found: dict[str, list[float]] = {name: [] for name in train}
    for shots in SHOTS:
        chosen = [few(new.train_y, shots, rng) for _ in range(draws)]
        for name in train:
            wrong = [
                linear_probe(
                    train[name][k], new.train_y[k], test[name], new.test_y, len(new.classes)
                )
                for k in chosen
            ]
            found[name].append(float(np.mean(wrong)))
    return found


def run(settings: Settings) -> Result:
    """Each half of the classes once as what is known and once as what is new."""
    data = images(settings, 32, settings.pick(5000, 50_000))
    rng = np.random.default_rng(settings.seed)
    half = len(data.classes) // 2
    halves = [list(range(half)), list(range(half, 2 * half))]
    tables, results = [], []
    for old, fresh in (halves, halves[::-1]):
        known, new = only(data, old), only(data, fresh)
        mg.manual_seed(settings.seed)
        net = SmallNet(
            32, data.channels, half, head="fc+dropout", norm="bn", hidden=512, widths=(32, 64, 64)
        )
        recipe = Recipe(settings.pick(600, 6000), lr=0.02, crop=2, weight_decay=5e-4)
        fit(net, known, recipe, settings.seed)
        trained = error(logits(net.eval(), known.test_x), known.test_y)
        results.append(probe_errors(net, new, settings.pick(8, 50), rng))
        say(f"{', '.join(new.classes)}: {results[-1]}")
        title = (
            f"{data.name}: trained on {', '.join(known.classes)} (test error {trained:.1f} %); "
            f"test error % on {', '.join(new.classes)}"
        )
        rows: list[tuple[Any, ...]] = [(name, *found) for name, found in results[-1].items()]
        header = ("linear classifier on", *(f"{shots} a class" for shots in SHOTS))
        tables.append(Table(title, header, rows))
    at_ten = SHOTS.index(10)
    mean = {name: float(np.mean([found[name][at_ten] for found in results])) for name in results[0]}
    verdict = Verdict(
        "error at 10 images a class, last pooling minus pixels, mean of both halves",
        mean["last pooling"] - mean["pixels"], "<", 0.0,
    )  # fmt: skip
    return Result(tables, [verdict], [Plot(lambda f: draw(f, results, data.classes), (7.6, 3.2))])


def draw(figure: Any, results: list[dict[str, list[float]]], classes: tuple[str, ...]) -> None:
    """Error against the number of examples, for either half as the new one."""
    axes = figure.subplots(1, 2, sharey=True)
    half = len(classes) // 2
    parts = (classes[half : 2 * half], classes[:half])
    for axis, found, names in zip(axes, results, parts, strict=True):
        for (name, values), style in zip(found.items(), ("s--", "o-", "^:"), strict=True):
            axis.plot(SHOTS, values, style, label=f"on {name}")
        axis.set(xscale="log", xlabel="training images a class", ylim=(0, None))
        axis.set_title(f"new: {', '.join(names)}", fontsize=8)
        axis.set_xticks(SHOTS, [str(s) for s in SHOTS])
        axis.minorticks_off()
    axes[0].set_ylabel("test error on new classes, %")
    axes[1].legend(title="linear classifier", loc="upper right")


TRANSFER = Experiment(
    "E12", "transfer",
    "features learned on some classes classify others from few examples better than pixels do",
    "VGG's features with a linear classifier: VOC-2007 89.7 mAP, Caltech-101 92.7 %",
    "Simonyan and Zisserman 2014, appendix B",
    "VGG's features know 1000 classes and these five: the hidden layer of so small a net, which "
    "is the lecture's 'FC7', keeps too little to beat pixels; what the last pool keeps wins",
    run,
)  # fmt: skip
