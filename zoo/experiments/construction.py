"""E2: a deeper net that is at least as good exists, by construction; training does not find it.

Design: the argument of He et al. 2015, section 1, in numbers.  A plain net is deepened by blocks
that are the identity: their convolutions are Dirac kernels, their batch norm gives back what it
gets (running mean 0, variance 1, gamma = sqrt(1 + eps), beta 0), and the ReLUs change nothing,
since what they see is the output of a ReLU already.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.errors import ArgError

from ..registry import get_model
from .framework import Experiment, Plot, Result, Settings, Table, Verdict
from .nets import MiniResNet
from .training import Recipe, errors, fit, images, logits


def make_identity(block: Any) -> None:
    """Turn a plain block of equal shapes into the identity on values >= 0 (in evaluation)."""
    for conv, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        nn.init.dirac_(conv.weight)
        nn.init.constant_(bn.weight, float(np.sqrt(1 + bn.eps)))
        nn.init.zeros_(bn.bias)
        bn.reset_running_stats()  # mean 0, variance 1


def deepen(shallow: Any, deep: Any) -> Any:
    """Give the deeper plain net the function of the shallower one; returns `deep`.

    Both have conv1, bn1, layer1 to layer3 and linear. Raises ArgError where `deep` is not deeper.
    """
    for name in ("conv1", "bn1", "linear"):
        getattr(deep, name).load_state_dict(getattr(shallow, name).state_dict())
    for name in ("layer1", "layer2", "layer3"):
        blocks, more = list(getattr(shallow, name)), list(getattr(deep, name))
        if len(more) < len(blocks):
            raise ArgError(f"deepen: {name} has {len(more)} blocks, the shallow net {len(blocks)}")
        for mine, theirs in zip(more, blocks, strict=False):
            mine.load_state_dict(theirs.state_dict())
        for extra in more[len(blocks) :]:
            make_identity(extra)
    return deep


def random_statistics(net: nn.Module, seed: int) -> nn.Module:
    """Give every batch norm random statistics and scales, as after some training."""
    rng = np.random.default_rng(seed)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            for tensor, low, high in (
                (m.running_mean, -0.5, 0.5), (m.running_var, 0.5, 2.0),
                (m.weight, 0.5, 1.5), (m.bias, -0.3, 0.3),
            ):  # fmt: skip
                assert tensor is not None
                with mg.no_grad():
                    tensor.copy_(rng.uniform(low, high, tensor.shape).astype(tensor.dtype))
    return net


def difference(a: nn.Module, b: nn.Module, x: Any) -> float:
    """The largest difference of their logits in evaluation, as a part of the largest logit."""
    one, two = (logits(net.eval(), x) for net in (a, b))
    return float(np.abs(one - two).max() / np.abs(one).max())


def exact(seed: int, size: int = 32, depths: tuple[int, ...] = (56, 110)) -> list[tuple[Any, ...]]:
    """plain-20 of the zoo, with random weights and statistics, and deeper nets made of it."""
    mg.manual_seed(seed)
    shallow = random_statistics(get_model("plain20"), seed)
    x = np.random.default_rng(seed).standard_normal((4, 3, size, size)).astype(np.float32)
    return [
        (f"plain-{depth} made of plain-20", difference(shallow, deepen(shallow, net), x))
        for depth, net in ((d, get_model(f"plain{d}")) for d in depths)
    ]


def run(settings: Settings) -> Result:
    """The zoo's nets as they are; then a trained plain-20, and what training makes of plain-56."""
    same = exact(settings.seed)
    data = images(settings, 8, settings.pick(5000, 50_000))
    recipe = Recipe(settings.pick(1000, 10_000))
    rows: list[tuple[Any, ...]] = []
    nets = {}
    for depth in (20, 56):
        mg.manual_seed(settings.seed)
        nets[depth] = MiniResNet(depth, None, data.channels, len(data.classes))
        fit(nets[depth], data, recipe, settings.seed)
        rows.append((f"plain-{depth}, trained", *errors(nets[depth], data)))
    made = deepen(nets[20], MiniResNet(56, None, data.channels, len(data.classes)))
    rows.insert(1, ("plain-56, constructed from it", *errors(made, data)))
    trained = difference(nets[20], made, data.test_x)
    tables = [
        Table("random weights and statistics, 3x32x32", ("net", "relative difference"), same),
        Table(
            f"{data.name}, {recipe.steps:,} steps",
            ("net", "training error %", "test error %"), rows,
        ),
    ]  # fmt: skip
    verdicts = [
        *(Verdict(f"logits of {name}, relative difference", v, "<=", 1e-5) for name, v in same),
        Verdict("logits of the trained plain-20 and of plain-56 made of it", trained, "<=", 1e-5),
        Verdict("training error, constructed minus shallow", rows[1][1] - rows[0][1], "<=", 0.05),
        Verdict("training error, trained minus constructed", rows[2][1] - rows[1][1], ">", 0.0),
    ]
    return Result(tables, verdicts, [Plot(lambda f: draw(f, rows, data.name), (6.4, 2.4))])


def draw(figure: Any, rows: list[tuple[Any, ...]], name: str) -> None:
    """Training and test error of the three nets, as bars."""
    axis = figure.subplots()
    y = np.arange(len(rows))
    for k, (label, shift) in enumerate((("training", -0.2), ("test", 0.2))):
        bars = axis.barh(y + shift, [row[1 + k] for row in rows], 0.38, label=label)
        axis.bar_label(bars, fmt="%.1f", padding=3)
    axis.set_yticks(y, [row[0] for row in rows])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set(xlabel=f"error on {name}, %")
    axis.margins(x=0.12)
    axis.legend()


CONSTRUCTION = Experiment(
    "E2", "construction",
    "a deeper plain net with the function of the shallower one exists; training does not find it",
    "none: an argument, not a measurement",
    "He et al. 2015, section 1",
    "equality is exact in real numbers and holds to rounding here",
    run,
)  # fmt: skip
