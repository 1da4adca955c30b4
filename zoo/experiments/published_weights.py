"""E15: weights that others have published, in our nets, without PyTorch.

Design: the user gives the file (``--weights``) and images (``--data``); without a file the
experiment is skipped and says so.  On the original CIFAR-10 the published error must come out; on
any other data set with ten classes the accuracy is shown and judged against chance only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.data import ArrayDataset
from minigrad.data.transforms import Normalize

from ..datasets import get_dataset
from ..registry import get_model
from ..weights import load_weights
from .framework import Experiment, Plot, Result, Settings, Table, Verdict
from .training import error, logits

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PARAMETERS, PUBLISHED, TOLERANCE = 269_722, 8.27, 0.3
WHY = "no file of weights: pass --weights resnet20-12fca82f.th (akamaster/pytorch_resnet_cifar10)"


def run(settings: Settings) -> Result:
    """Load, count, and classify the test images."""
    if settings.weights is None:
        return Result(skipped=WHY)
    net = get_model("resnet20")
    keys = load_weights(net, settings.weights)
    count = sum(p.size for p in net.parameters())
    verdicts = [
        Verdict("parameters", count, "==", PARAMETERS),
        Verdict("keys missing", len(keys.missing_keys), "==", 0),
        Verdict("keys unexpected", len(keys.unexpected_keys), "==", 0),
    ]
    _, test, info = get_dataset(settings.data, size=32)
    if info.channels != 3 or len(info.classes) != 10:
        note = f"{settings.data}: not CIFAR-10's kind of images, so nothing is classified"
        return Result([], verdicts, [], [note])
    whole = test if isinstance(test, ArrayDataset) else test.load()
    x, y = whole.arrays
    scores = logits(net.eval(), Normalize(MEAN, STD)(x))
    wrong = error(scores, y)
    table = Table(
        f"published ResNet-20 on the {len(y):,} test images of {info.name}",
        ("class", "images", "error %"),
        [
            (name, int((y == k).sum()), error(scores[y == k], y[y == k]))
            for k, name in enumerate(info.classes)
        ]
        + [("all", len(y), wrong)],
    )
    if info.name == "cifar10":
        verdicts.append(Verdict("distance from the published error", abs(wrong - PUBLISHED), "<=",
                                TOLERANCE))  # fmt: skip
    else:
        verdicts.append(
            Verdict("error on images that are not the original files", wrong, "<", 50.0)
        )
    return Result([table], verdicts, [Plot(lambda f: draw(f, scores, y, info.classes), (4.8, 4.2))])


def draw(figure: Any, scores: Any, labels: Any, classes: tuple[str, ...]) -> None:
    """The confusion matrix in percent of each class."""
    k = len(classes)
    counts = np.zeros((k, k))
    np.add.at(counts, (labels, scores.argmax(axis=1)), 1)
    share = 100 * counts / counts.sum(axis=1, keepdims=True)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for row in range(k):
        for column in range(k):
            if share[row, column] >= 0.5:
                color = "white" if share[row, column] > 55 else "black"
                axis.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center",
                          fontsize=7, color=color)  # fmt: skip
    axis.set_xticks(range(k), classes, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(k), classes)
    axis.grid(visible=False)
    axis.set(xlabel="answer", ylabel="class", title="percent of each class")


PUBLISHED_WEIGHTS = Experiment(
    "E15", "published-weights",
    "published weights load by name and classify as published",
    "ResNet-20 on CIFAR-10: 8.27 % error (91.73 % accuracy)",
    "akamaster/pytorch_resnet_cifar10",
    "JPEG copies of CIFAR-10 lose detail: about 80 % accuracy there, not comparable",
    run,
)  # fmt: skip
