"""Counting in nets of the zoo: what several rows of the ledger need.

Design: nets are built inside ``nn.meta``, so that counting VGG-16 or ResNet-1202 takes no memory to
speak of; a table of layers is made once.  ``published`` are numbers from papers that no computation
gives: errors of trained nets.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from minigrad import nn

from ..recipes import get_recipe
from ..registry import get_model
from ..summary import Row, Summary, summary

# top-1 / top-5 error in percent, of the papers' tables
ALEXNET_TOP5 = {"1 net": 18.2, "5 nets": 16.4, "7 nets, 2 of them pre-trained": 15.3}
VGG_256 = {"C": (28.1, 9.4), "D": (27.0, 8.8)}  # table 3, trained and tested at 256 pixels
VGG_A = {"A": (29.6, 10.4), "A-LRN": (29.7, 10.5)}
VGG_JITTER = {"D": (25.6, 8.1), "E": (25.5, 8.0)}  # table 3, trained on scales from 256 to 512
VGG_NETS = {"E": (24.4, 7.1), "D and E": (23.7, 6.8)}  # tables 5 and 6
NIN_CIFAR10 = {"FC": 17.56, "FC and dropout": 15.99, "GAP": 16.46}  # test error, same convolutions
CIFAR_TEST = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43, 1202: 7.93}  # He et al., table 6
# train / test error in percent of an independent run of the whole schedule, CIFAR-10
FULL_RUN = {"plain20": (1.23, 9.63), "plain56": (5.24, 14.22),
            "resnet20": (0.73, 8.24), "resnet56": (0.18, 8.30)}  # fmt: skip
IMAGENET_10_CROP = {50: 22.85, 101: 21.75, 152: 21.43}  # top-1 error, He et al., table 3


@cache
def layers(name: str, variant: str | None = None) -> Summary:
    """The table of a net at its own size of image."""
    return summary(name, variant=variant)


@cache
def net(name: str) -> Any:
    """A net without memory for its numbers."""
    with nn.meta():
        return get_model(name).eval()


def rows(name: str, *kinds: str) -> list[Row]:
    """The layers of some kinds ("Conv2d", "Linear", ...), in order."""
    return [row for row in layers(name) if row.kind in kinds]


def convolutions(name: str) -> list[Row]:
    """Its convolutions, those with a ReLU inside too."""
    return rows(name, "Conv2d", "ConvReLU")


def weighted(name: str) -> list[Row]:
    """Its convolutions and linear layers."""
    return rows(name, "Conv2d", "ConvReLU", "Linear")


def parameters(found: list[Row]) -> int:
    """The sum, with biases."""
    return sum(row.parameters for row in found)


def macs(found: list[Row]) -> int:
    """The sum."""
    return sum(row.macs for row in found)


def values(row: Row) -> int:
    """How many numbers a layer puts out, in place or not."""
    return math.prod(row.output)


def recipe(name: str, *fields: str) -> dict[str, Any]:
    """Some choices of a recipe, by the names of ``zoo.config.TrainConfig``."""
    return {field: get_recipe(name).values[field] for field in fields}


def modules(name: str, kind: type | tuple[type, ...]) -> list[Any]:
    """The modules of a kind in a net."""
    return [module for module in net(name).modules() if isinstance(module, kind)]
