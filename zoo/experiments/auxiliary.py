"""E16: GoogLeNet's auxiliary heads: how their losses weigh, where their gradients go, and that they
are gone in evaluation.

Design: exact, on the zoo's own net with small images; one forward pass is played backward for each
loss alone and for the weighted sum, with the same dropout.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F

from ..googlenet import AUX_WEIGHT, Outputs, googlenet_loss
from ..registry import get_model
from .framework import Experiment, Plot, Result, Settings, Table, Verdict

SIDE, CLASSES = 64, 10
# the first convolution of each module, from the stem to the end
PLACES = ("conv1", "inception3a", "inception4a", "inception4b", "inception4d", "inception4e",
          "inception5b")  # fmt: skip


def gradients(seed: int) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """For each loss (main, aux1, aux2, total) the gradients of some weights, None where the loss
    does not depend on them; and the values of the losses."""
    mg.manual_seed(seed)
    net = get_model("googlenet", CLASSES)
    x, y = mg.randn(4, 3, SIDE, SIDE), mg.randint(0, CLASSES, (4,))
    output = net(x)
    assert isinstance(output, Outputs)
    losses = {
        name: F.cross_entropy(logits, y)
        for name, logits in zip(("main", "aux1", "aux2"), output, strict=True)
    }
    losses["total"] = googlenet_loss(output, y)
    named = dict(net.named_parameters())
    chosen = {
        place: next(p for n, p in named.items() if n.startswith(place) and n.endswith("weight"))
        for place in PLACES
    } | {head: named[f"{head}.fc2.weight"] for head in ("aux1", "aux2")}
    found = {}
    for name, loss in losses.items():
        got = mg.grad(loss, list(chosen.values()), retain_graph=True, allow_unused=True)
        found[name] = {
            place: None if g is None else g.numpy().astype(np.float64)
            for place, g in zip(chosen, got, strict=True)
        }
    return found, {name: loss.item() for name, loss in losses.items()}


def norm(g: Any) -> float | None:
    """Of a gradient; None where there is none."""
    return None if g is None else float(np.linalg.norm(g.ravel()))


def weighted_error(found: dict[str, dict[str, Any]], place: str) -> float:
    """How far the gradient of the total is from main + .3 aux1 + .3 aux2, relative."""
    parts = [found["main"][place], found["aux1"][place], found["aux2"][place]]
    factors = (1.0, AUX_WEIGHT, AUX_WEIGHT)
    wanted = sum(f * g for f, g in zip(factors, parts, strict=True) if g is not None)
    whole = found["total"][place]
    return float(np.linalg.norm((whole - wanted).ravel()) / np.linalg.norm(whole.ravel()))


def evaluation_difference(seed: int) -> float:
    """The largest difference of logits of a net with heads and of one without, in evaluation."""
    mg.manual_seed(seed)
    with_heads = get_model("googlenet", CLASSES).eval()
    without = get_model("googlenet", CLASSES, aux=False).eval()
    without.load_state_dict(with_heads.state_dict(), strict=False)
    x = mg.randn(2, 3, SIDE, SIDE)
    with mg.no_grad():
        one, two = with_heads(x), without(x)
    return float(np.abs(one.numpy() - two.numpy()).max())


def run(settings: Settings) -> Result:
    """Loss, gradients at seven places, evaluation."""
    found, values = gradients(settings.seed)
    wanted = values["main"] + 0.3 * values["aux1"] + 0.3 * values["aux2"]
    rows = [
        (place, *(norm(found[loss][place]) for loss in ("main", "aux1", "aux2", "total")))
        for place in (*PLACES, "aux1", "aux2")
    ]
    behind = {"aux1": ("inception4b", "inception4d", "inception4e", "inception5b"),
              "aux2": ("inception4e", "inception5b")}  # fmt: skip
    verdicts = [
        Verdict("total minus (L + .3 L1 + .3 L2)", abs(values["total"] - wanted), "<=", 1e-5),
        *(
            Verdict(f"{place}: gradient of the total from main + .3 aux1 + .3 aux2",
                    weighted_error(found, place), "<=", 1e-5)
            for place in ("conv1", "inception3a", "inception4a", "aux1", "aux2")
        ),
        *(
            Verdict(f"{head}: places behind it that its loss reaches",
                    sum(found[head][place] is not None for place in places), "==", 0)
            for head, places in behind.items()
        ),
        Verdict("aux1: norm of its gradient at 4a", norm(found["aux1"]["inception4a"]) or 0.0,
                ">", 0.0),
        Verdict("evaluation: difference of logits with and without heads",
                evaluation_difference(settings.seed), "==", 0.0),
    ]  # fmt: skip
    table = Table(
        f"norms of gradients, random weights, images of {SIDE}x{SIDE}",
        ("weights of", "L", "L1", "L2", "L + .3 L1 + .3 L2"), list(rows),
    )  # fmt: skip
    return Result([table], verdicts, [Plot(lambda f: draw(f, rows), (6.4, 2.9))])


def draw(figure: Any, rows: list[tuple[Any, ...]]) -> None:
    """What each loss contributes to the gradient along the net."""
    axis = figure.subplots()
    x = np.arange(len(PLACES))
    for k, (label, factor) in enumerate((("main", 1.0), (".3 aux1", 0.3), (".3 aux2", 0.3))):
        heights = [factor * (row[1 + k] or 0.0) for row in rows[: len(PLACES)]]
        axis.bar(x + 0.27 * (k - 1), heights, 0.25, label=label)
    axis.set_xticks(x, [p.replace("inception", "") for p in PLACES])
    axis.grid(axis="x", visible=False)
    axis.set(xlabel="first convolution of", ylabel="norm of the gradient", yscale="log")
    axis.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, 1.14))


AUXILIARY = Experiment(
    "E16", "auxiliary-heads",
    "the loss in training is L + 0.3 L1 + 0.3 L2; aux1 reaches what lies before 4a only; in "
    "evaluation the heads are gone",
    "weights of 0.3, removed at inference",
    "Szegedy et al. 2014, section 5",
    "exact; that the heads help is not shown (later work found little: Szegedy et al. 2015)",
    run,
)  # fmt: skip
