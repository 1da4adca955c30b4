"""Section 1b of the ledger: AlexNet, rows A1 to A27 (lines 36-130).

Design: counts come from the table of layers of ``alexnet`` (one column, the lecture's), of
``alexnet_grouped`` (two GPUs, the paper's) and of ``caffenet``.
"""

from __future__ import annotations

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import nn

from ..views import every_crop
from . import counts
from .counts import convolutions, layers, rows, weighted
from .row import CAVEAT, RIGHT, WRONG, Numbers, Row

RECIPE = "alexnet-imagenet"
ONE, TWO = "alexnet", "alexnet_grouped"
ORDER = {"Conv2d": "conv", "LocalResponseNorm": "norm", "MaxPool2d": "pool", "Linear": "fc"}


def a1() -> Numbers:
    """Layers with weights."""
    return {"convolutions": len(convolutions(ONE)), "linear": len(rows(ONE, "Linear"))}


def a2() -> Numbers:
    """What each layer with weights puts out."""
    nodes = [counts.values(row) for row in weighted(ONE)]
    return {"nodes": [*nodes], "sum": sum(nodes)}


def a3() -> Numbers:
    """Parameters of the convolutions."""
    return {
        "two GPUs": counts.parameters(convolutions(TWO)),
        "one column": counts.parameters(convolutions(ONE)),
    }


def a4() -> Numbers:
    """Parameters of the linear layers."""
    found = [row.parameters for row in rows(TWO, "Linear")]
    return {"each": [*found], "sum": sum(found), "all of the net": layers(TWO).total("parameters")}


def a5() -> Numbers:
    """Linear layers against convolutions."""
    found: Numbers = {}
    for what, name in (("two GPUs", TWO), ("one column", ONE)):
        linear, conv = rows(name, "Linear"), convolutions(name)
        share = counts.macs(linear) / layers(name).total("macs")
        ratio = counts.parameters(linear) / counts.parameters(conv)
        found |= {f"{what}: ratio": ratio, f"{what}: % of MACs": 100 * share}
    return found


def a6() -> Numbers:
    """Weights (K, C / groups, R, S) of the convolutions of two GPUs."""
    convs = [(name, m) for name, m in counts.net(TWO).named_modules() if isinstance(m, nn.Conv2d)]
    return {f"conv{k}": m.weight.shape for k, (_, m) in enumerate(convs, 1)}


def order(name: str) -> str:
    """The layers of a net in the order of running."""
    return " ".join(ORDER[row.kind] for row in rows(name, *ORDER))


def a7() -> Numbers:
    """The order in the paper, and in CaffeNet."""
    return {"paper": order(ONE), "CaffeNet": order("caffenet")}


def a8() -> Numbers:
    """Whether 11x11 windows, 4 apart, fill the image."""
    return {"image": layers(ONE).rows[0].output, "steps at 227": (227 - 11) / 4,
            "steps at 224": (224 - 11) / 4}  # fmt: skip


def output(kind: str, k: int) -> Numbers:
    """Shape and values of the k-th layer of a kind (from 1) of one column."""
    row = rows(ONE, kind)[k - 1]
    return {"output": row.output, "values": counts.values(row), "parameters": row.parameters}


def a9() -> Numbers:
    """CONV1."""
    return {"output": convolutions(ONE)[0].output}


def a10() -> Numbers:
    """Parameters of CONV1, and without sharing of weights."""
    row = convolutions(ONE)[0]
    alone = counts.values(row) * (11 * 11 * 3 + 1)
    return {"weights": row.weights, "with biases": row.parameters, "without sharing": alone}


def a11() -> Numbers:
    """POOL1."""
    return output("MaxPool2d", 1)


def a12() -> Numbers:
    """NORM1, which in the paper is before POOL1; CaffeNet has it behind, as the lecture."""
    row = rows("caffenet", "LocalResponseNorm")[0]
    return {"output": row.output, "parameters": row.parameters}


def a13() -> Numbers:
    """CONV2 and POOL2."""
    return {"CONV2": output("Conv2d", 2)["output"], "POOL2": output("MaxPool2d", 2)["output"]}


def a14() -> Numbers:
    """NORM2, as in CaffeNet."""
    row = rows("caffenet", "LocalResponseNorm")[1]
    return {"output": row.output, "parameters": row.parameters}


def a15() -> Numbers:
    """CONV3 and CONV4."""
    return {"CONV3": output("Conv2d", 3)["output"], "CONV4": output("Conv2d", 4)["output"]}


def a16() -> Numbers:
    """CONV5."""
    return {"CONV5": output("Conv2d", 5)["output"]}


def a17() -> Numbers:
    """POOL3, and what FC6 takes."""
    inputs = counts.modules(ONE, nn.Linear)[0].in_features
    return {"POOL3": output("MaxPool2d", 3)["output"], "inputs of FC6": inputs}


def a18() -> Numbers:
    """FC6, FC7 and FC8."""
    return {"outputs": [row.output[0] for row in rows(ONE, "Linear")]}


def a20() -> Numbers:
    """Derivatives of ReLU and tanh at 5: one of them is saturated there."""
    found: Numbers = {"ReLUs": len(counts.modules(ONE, nn.ReLU))}
    for name, act in (("relu", F.relu), ("tanh", F.tanh)):
        x = mg.tensor([5.0], dtype=np.float64, requires_grad=True)
        (g,) = mg.grad(act(x).sum(), x)
        assert g is not None
        found[f"{name}'(5)"] = g.item()
    return found


def a21() -> Numbers:
    """Top-1 and top-5 error of VGG's net A, without and with local response normalization."""
    norms = len(rows(ONE, "LocalResponseNorm"))
    return {"norms in AlexNet": norms} | {k: [*v] for k, v in counts.VGG_A.items()}


def a22() -> Numbers:
    """The recipe of the paper."""
    return counts.recipe(RECIPE, "batch_size", "momentum", "weight_decay")


def rates() -> list[float]:
    """Learning rates of the recipe, one after the other."""
    r = counts.recipe(RECIPE, "lr", "factor", "reductions")
    return [r["lr"] * r["factor"] ** k for k in range(r["reductions"] + 1)]


def a23() -> Numbers:
    """Learning rates."""
    return {"learning rates": rates()}


def a24() -> Numbers:
    """Crops of 224 in 256 pixels, and their mirror images; `all` views of ``zoo eval``."""
    return {"paper": (256 - 224) ** 2 * 2, "distinct": len(every_crop(256, (256, 256), 224))}


def a25() -> Numbers:
    """Layers with dropout behind them."""
    children = [(name, m) for name, m in counts.net(ONE).classifier.named_children()]
    linear, found = 5, []
    for _, module in children:
        linear += isinstance(module, nn.Linear)
        if isinstance(module, nn.Dropout):
            found.append(f"FC{linear}: {module.p}")
    return {"dropout": [*found]}


def a26() -> Numbers:
    """Top-5 error of one net and of several, and the gain in points."""
    one, five, seven = counts.ALEXNET_TOP5.values()
    return dict(counts.ALEXNET_TOP5) | {"gain of 5": one - five, "gain of 7": one - seven}


def a27() -> Numbers:
    """Maps of each convolution on each of two GPUs."""
    return {"maps a GPU": [row.output[0] // 2 for row in convolutions(TWO)]}


NET, TRAIN = "zoo.alexnet.AlexNet", f"python -m zoo train --recipe {RECIPE}"
ROWS = (
    Row("A1", "40", "5 convolutions and 3 linear layers", RIGHT, "", NET, a1),
    Row("A2", "41", "nodes: 290400, 186624, 64896, 43264, 4096, 4096, 1000", WRONG,
        "a second 64,896 (CONV4) is missing: 7 numbers for 8 layers", NET, a2),
    Row("A3", "42", "2 million parameters in convolutions", RIGHT,
        "with the two GPUs of the paper; biases included", NET, a3),
    Row("A4", "42", "65 million parameters in linear layers", WRONG, "58.6 million", NET, a4),
    Row("A5", "43", "linear layers have 30 times as many parameters as convolutions", CAVEAT,
        "25 times (two GPUs) or 16 times (one column); but less than a tenth of the MACs", NET, a5),
    Row("A6", "48", "drawing: two GPUs, each with half of the maps", RIGHT,
        "convolutions 2, 4 and 5 see only their half; 3 and the linear layers see all", NET, a6),
    Row("A7", "54-79", "order: CONV1 POOL1 NORM1 CONV2 POOL2 NORM2 ...", CAVEAT,
        "that is CaffeNet; in the paper normalization is before pooling", NET, a7),
    Row("A8", "85", "the image is 227x227x3", RIGHT,
        "the paper says 224, where windows of 11, 4 apart, do not fit", NET, a8),
    Row("A9", "87", "Q: what does CONV1 put out?", RIGHT, "(227 - 11) / 4 + 1 = 55", NET, a9),
    Row("A10", "87, 107", "Q: how many parameters has CONV1? 35K", RIGHT, "11 x 11 x 3 x 96, and "
        "96 biases; sharing of weights saves a factor of 3,000", NET, a10),
    Row("A11", "89", "POOL1, 3x3 at stride 2: 27x27x96; Q: parameters? 0", RIGHT, "", NET, a11),
    Row("A12", "91", "NORM1: 27x27x96", RIGHT, "the shape stays; no parameters", NET, a12),
    Row("A13", "93", "CONV2, 256 of 5x5, pad 2: 27x27x256; POOL2: 13x13x256", RIGHT, "", NET, a13),
    Row("A14", "95", "NORM2: 13x13x256", RIGHT, "", NET, a14),
    Row("A15", "97", "CONV3 and CONV4, 384 of 3x3, pad 1: 13x13x384", RIGHT, "", NET, a15),
    Row("A16", "99", "CONV5, 256 of 3x3, pad 1: 13x13x256", RIGHT, "", NET, a16),
    Row("A17", "101", "POOL3, 3x3 at stride 2: 6x6x256", RIGHT, "", NET, a17),
    Row("A18", "103-105", "FC6 4096, FC7 4096, FC8 1000", RIGHT, "", NET, a18),
    Row("A19", "114-115", "what made it possible: much data, and GPUs", RIGHT,
        "1.2 million images; 5 to 6 days on two GTX 580"),
    Row("A20", "117", "ReLU was used for the first time", WRONG,
        "the paper credits Nair and Hinton (2010) and Jarrett et al. (2009); AlexNet showed it at "
        "scale: 25 % training error on CIFAR-10 six times sooner than with tanh", NET, a20),
    Row("A21", "118", "local response normalization, no longer used", RIGHT,
        "VGG saw no gain from it", NET, a21),
    Row("A22", "119", "batches of 128, SGD with momentum", RIGHT,
        "momentum 0.9, weight decay 5e-4; BVLC's replica has batches of 256", TRAIN, a22),
    Row("A23", "120", "learning rate from 1e-2 to 1e-3", CAVEAT,
        "divided by 10 three times, so to 1e-5", TRAIN, a23),
    Row("A24", "122", "crops and mirror images: 2,048 times the data", RIGHT,
        "(256 - 224)^2 x 2; crops that differ are 33^2 x 2 = 2,178", "zoo.views.every_crop", a24),
    Row("A25", "123", "dropout", RIGHT, "p = 0.5 behind FC6 and FC7", NET, a25),
    Row("A26", "124-126", "an ensemble has an error that is 2 to 3 % lower", CAVEAT,
        "in points of the top-5 error: 1.8 with 5 nets, 2.9 with 7 of which 2 saw more data",
        "zoo.history.ILSVRC", a26),
    Row("A27", "130", "two GTX 580 with 3 GB, half of the maps on each", RIGHT,
        "1.7 (top-1) and 1.2 (top-5) points better than half of the net on one GPU", NET, a27),
)  # fmt: skip
