"""E9: the mean of several nets' softmax outputs against each net alone.

Design: K nets that differ in their seed only.  The loss of the mean is at most the mean loss, by
Jensen's inequality, whatever the nets are: that is checked exactly.  That the error falls as well
is a statement about nets, checked on the mean of several trials.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg

from ..ensemble import combine
from ..views import softmax
from .framework import Experiment, Plot, Result, Settings, Table, Verdict, say
from .nets import SmallNet
from .training import Array, Images, Recipe, error, fit, images, logits

NETS = 5


def members(data: Images, recipe: Recipe, seeds: list[int]) -> Array:
    """Chances of every net for the test images: (nets, N, classes)."""
    found = []
    for seed in seeds:
        mg.manual_seed(seed)
        net = SmallNet(16, data.channels, len(data.classes))
        fit(net, data, recipe, seed)
        found.append(softmax(mg.from_numpy(logits(net.eval(), data.test_x))))
    return np.stack(found)


def by_size(chances: Array, labels: Array) -> list[float]:
    """Errors in percent of the means of 1, 2, ... nets; of 1, the mean of their errors."""
    alone = float(np.mean([error(c, labels) for c in chances]))
    more = range(2, len(chances) + 1)
    return [alone, *(error(chances[:k].mean(axis=0), labels) for k in more)]


def run(settings: Settings) -> Result:
    """Three trials of five nets."""
    data = images(settings, 16, settings.pick(5000, 50_000))
    recipe = Recipe(settings.pick(400, 4000), lr=0.02)
    labels, trials, curves = data.test_y, settings.pick(3, 10), []
    rows: list[tuple[Any, ...]] = []
    for t in range(trials):
        chances = members(data, recipe, settings.seeds(NETS * trials)[t * NETS : (t + 1) * NETS])
        curves.append(by_size(chances, labels))
        found = combine(list(chances), labels)
        alone, mean = found.mean, found.together
        rows.append((t + 1, alone.loss, mean.loss, 100 * alone.error, 100 * mean.error))
        say(f"trial {t + 1}: {rows[-1][3]:.2f} % alone, {rows[-1][4]:.2f} % together")
    table = Table(
        f"{data.name}, {NETS} nets a trial, {recipe.steps} steps each",
        ("trial", "mean loss", "loss of the mean", "mean error %", "error of the mean %"), rows,
    )  # fmt: skip
    gain = float(np.mean([row[3] - row[4] for row in rows]))
    verdicts = [
        *(
            Verdict(f"trial {row[0]}: loss of the mean minus mean loss", row[2] - row[1], "<=", 0.0)
            for row in rows
        ),
        Verdict(f"points of error gained, mean of {trials} trials", gain, ">", 0.0),
    ]
    return Result([table], verdicts, [Plot(lambda f: draw(f, curves, data.name), (4.8, 3.0))])


def draw(figure: Any, curves: list[list[float]], name: str) -> None:
    """Error against the number of nets, each trial and their mean."""
    axis = figure.subplots()
    x = range(1, NETS + 1)
    for k, curve in enumerate(curves):
        axis.plot(x, curve, color="0.7", lw=1, label=None if k else "one trial")
    axis.plot(x, np.mean(curves, axis=0), "o-", label=f"mean of {len(curves)} trials")
    axis.set(xlabel="nets in the ensemble", ylabel=f"test error on {name}, %", xticks=list(x))
    axis.legend()


ENSEMBLES = Experiment(
    "E9", "ensembles",
    "the mean of several nets is better than the nets",
    "top-5 error %: AlexNet 18.2 to 16.4 (5 nets), VGG 7.1 to 6.8 (2), GoogLeNet 10.07 to 8.09 (7)",
    "Krizhevsky et al. 2012, table 2; Simonyan and Zisserman 2014, table 6; Szegedy et al. 2014, "
    "table 3",
    "the lecture's '2 to 3 % lower' is of nets whose error is near 18 %; the gain is smaller where "
    "the error is",
    run,
)  # fmt: skip
