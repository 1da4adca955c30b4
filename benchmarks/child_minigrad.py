"""A minigrad process that ``nets.py`` drives: ``child_minigrad.py NET BATCH train|infer``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from serve import IMAGES, serve

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn, optim

UNTIL_THE_END = ExitStack()  # of the process: the weights that are timed stay fixed


def build(net: str) -> nn.Module:
    """The net itself."""
    if net == "mlp":
        return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return zoo.get_model(net, **({"aux": False} if net == "googlenet" else {}))


def make_step(net: str, batch: int, mode: str) -> Callable[[], object]:
    """One training step, or one forward pass in evaluation mode."""
    model = build(net)
    x = mg.randn(batch, *IMAGES[net])
    t = mg.tensor(np.arange(batch) % 10)
    if mode == "infer":
        model.eval()
        UNTIL_THE_END.enter_context(nn.fixed_weights(model))

        def infer() -> object:
            with mg.no_grad():
                return model(x)

        return infer
    sgd = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def train() -> None:
        sgd.zero_grad()
        F.cross_entropy(model(x), t).backward()
        sgd.step()

    return train


if __name__ == "__main__":
    serve(make_step(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
