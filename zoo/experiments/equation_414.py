"""E4: the lecture's equation 4.14, x_L = x_l + sum of F(x_i), and its gradient, checked in float64.

Design: the gradient of the sum is computed by the engine on the real units of
``zoo.resnet_preact``; then the same identity is shown to be false where a ReLU follows the sum
(the units of 2015, which the lecture draws) and where the shortcut is scaled.  The inner sum starts
at i = l; the lecture prints i = 1 in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from ..resnet_cifar import Block
from ..resnet_preact import PreActBlock
from .construction import random_statistics
from .framework import Experiment, Plot, Result, Settings, Table, Verdict

CHANNELS, SIDE, UNITS = 6, 7, 8
Branch = Callable[[Any, Tensor], Tensor]


def pre_activation(unit: PreActBlock, x: Tensor) -> Tensor:
    """F of a unit of 2016: BN, ReLU, convolution, twice."""
    return unit.conv2(unit.bn2(unit.conv1(unit.bn1(x, relu=True)), relu=True))


def post_activation(unit: Block, x: Tensor) -> Tensor:
    """F of a unit of 2015: convolution, BN, ReLU, convolution, BN."""
    return unit.bn2(unit.conv2(unit.bn1(unit.conv1(x), relu=True)))


def units(kind: str, seed: int, count: int = UNITS) -> list[Any]:
    """So many units of equal shapes in float64, in evaluation, with random statistics."""
    mg.manual_seed(seed)
    made: list[Any] = [
        PreActBlock(CHANNELS, CHANNELS, 1, "A", bottleneck=False)
        if kind == "pre"
        else Block(CHANNELS, CHANNELS, 1, "A")
        for _ in range(count)
    ]
    return [random_statistics(u, seed + k).double().eval() for k, u in enumerate(made)]


def scaled(factor: float) -> Callable[[Any, Tensor], Tensor]:
    """A unit whose shortcut is multiplied: factor x + F(x)."""
    return lambda unit, x: x * factor + pre_activation(unit, x)


def identity_error(
    chain: Sequence[Any],
    step: Callable[[Any, Tensor], Tensor],
    branch: Branch,
    seed: int,
    factor: float = 1.0,
    *,
    weigh: bool = False,
) -> tuple[float, float, float]:
    """(error of the forward sum, error of the gradient, |v + J^T v| / |v|), relative.

    The claim: x_L = factor^(L-l) x_l + sum of w_i F(x_i), and for any v the same of gradients,
    with w_i = factor^(L-1-i) if `weigh`, else 1 and factor 1 on the shortcut as well.
    """
    rng = np.random.default_rng(seed)
    first = mg.tensor(rng.standard_normal((2, CHANNELS, SIDE, SIDE)), requires_grad=True)
    v = rng.standard_normal(first.shape)
    x, total = first, first * 0.0
    for k, unit in enumerate(chain):
        w = factor ** (len(chain) - 1 - k) if weigh else 1.0
        total = total + branch(unit, x) * w
        x = step(unit, x)
    carried = factor ** len(chain) if weigh else 1.0
    forward = (first * carried + total - x).numpy()
    of_x: Any = mg.grad(x, first, mg.tensor(v), retain_graph=True)[0]
    of_total: Any = mg.grad(total, first, mg.tensor(v))[0]
    left, right = of_x.numpy(), carried * v + of_total.numpy()
    return (
        float(np.abs(forward).max() / np.abs(x.numpy()).max()),
        float(np.abs(left - right).max() / np.abs(left).max()),
        float(np.linalg.norm(right) / np.linalg.norm(v)),
    )


def cases(seed: int) -> list[tuple[str, float, float]]:
    """(unit, forward error, gradient error) of the four cases."""
    pre, post = units("pre", seed), units("post", seed)
    plain = identity_error(pre, lambda u, x: u(x), pre_activation, seed)
    half = identity_error(pre, scaled(0.5), pre_activation, seed, 0.5, weigh=True)
    unweighed = identity_error(pre, scaled(0.5), pre_activation, seed)
    after = identity_error(post, lambda u, x: u(x), post_activation, seed)
    return [
        ("pre-activation, identity shortcut", *plain[:2]),
        ("shortcut .5 x, with the factors .5^(L-l)", *half[:2]),
        ("shortcut .5 x, as if it were the identity", *unweighed[:2]),
        ("ReLU after the sum (2015, the lecture's drawing)", *after[:2]),
    ]


def bounded(seed: int, draws: int) -> Any:
    """|v + J^T v| / |v| over random v and all starting units l: never near 0."""
    chain = units("pre", seed)
    return np.array(
        [
            identity_error(chain[k % UNITS :], lambda u, x: u(x), pre_activation, seed + 1 + k)[2]
            for k in range(draws)
        ]
    )


def run(settings: Settings) -> Result:
    """The identity, three cases, and how far the sum stays from -1."""
    rows = cases(settings.seed)
    ratios = bounded(settings.seed, settings.pick(64, 1024))
    tables = [
        Table(
            f"{UNITS} units of {CHANNELS} maps, float64, relative errors",
            ("unit", "x_L - x_l - sum F", "gradient"), list(rows),
        ),
        Table(
            f"|v + sum of J^T v| / |v|, {len(ratios)} random v, l = 1 to {UNITS}",
            ("least", "median", "largest"),
            [(float(ratios.min()), float(np.median(ratios)), float(ratios.max()))],
        ),
    ]  # fmt: skip
    verdicts = [
        *(Verdict(f"{name}: forward", f, "<=", 1e-10) for name, f, _ in rows[:2]),
        *(Verdict(f"{name}: gradient", g, "<=", 1e-10) for name, _, g in rows[:2]),
        *(Verdict(f"{name}: gradient, false", g, ">=", 1e-3) for name, _, g in rows[2:]),
        Verdict("|v + sum of J^T v| / |v|, least", float(ratios.min()), ">=", 0.1),
    ]
    return Result(tables, verdicts, [Plot(lambda f: draw(f, ratios), (5.6, 2.8))])


def draw(figure: Any, ratios: Any) -> None:
    """The distribution of the ratios."""
    axis = figure.subplots()
    axis.hist(ratios, bins=[0.02 * k for k in range(round(50 * ratios.max()) + 2)])
    axis.axvline(1.0, color="0.4", lw=0.8)
    axis.set(xlim=(0, None), xlabel="‖v + Σ Jᵀv‖ / ‖v‖  (0: the gradient is lost)",
             ylabel="number of random v")  # fmt: skip


EQUATION_414 = Experiment(
    "E4", "equation-4.14",
    "through identity shortcuts the gradient of x_L reaches x_l unchanged, plus that of the sum",
    "ResNet-110 test error %, not re-read: identity 6.61, shortcut scaled by .5 12.35, 1x1 "
    "convolution 12.22, exclusive gating 8.70, dropout above 20",
    "He et al. 2016, equations 4 and 5, table 1",
    "it holds for pre-activation units only, not for the unit that the lecture draws",
    run,
)  # fmt: skip
