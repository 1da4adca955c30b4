"""Section 1d of the ledger: Network in network and GoogLeNet, rows N1 to N15 (lines 373-486).

Design: the lecture's example module is 3b with other reductions; it is built here, both ways, and
counted by ``summary``.  Modules are the zoo's own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

from ..googlenet import AuxiliaryHead, Inception, NaiveInception
from ..nin import mlpconv
from ..summary import Row as Layer
from ..summary import Summary, summary
from . import counts
from .counts import layers, rows
from .row import RIGHT, WRONG, Numbers, Row

EXAMPLE = (256, 28, 28)  # what the lecture's module takes
HIDDEN = (5, 4, 3)


def patches(x: Any, k: int) -> Any:
    """Windows k x k around every pixel of x (N, C, H, W), zeros outside: (N, H, W, C k k)."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2,) * 2, (k // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * k * k)


def n1() -> Numbers:
    """A mlpconv layer against a perceptron of three layers on every patch."""
    mg.manual_seed(0)
    layer = nn.Sequential(mlpconv(("conv", "cccp1", "cccp2"), 2, 3, HIDDEN)).double()
    x = mg.randn(2, 2, 6, 7, dtype=np.float64)
    with mg.no_grad():
        ours = layer(x).numpy()
    y = patches(x.numpy(), 3)
    parts: list[Any] = [*layer]
    for part in parts:
        w = part.weight.numpy()
        y = np.maximum(y @ w.reshape(len(w), -1).T + part.bias.numpy(), 0)
    off = np.abs(ours - y.transpose(0, 3, 1, 2)).max()
    return {"maps": [*HIDDEN], "off the perceptron": float(off)}


def n2() -> Numbers:
    """Linear layers of VGG-16 and VGG-19."""
    found: Numbers = {}
    for name in ("vgg16", "vgg19"):
        linear = counts.parameters(rows(name, "Linear"))
        found[f"{name} linear"] = linear
        found[f"{name}, % of all"] = 100 * linear / layers(name).total("parameters")
    return found


def n3() -> Numbers:
    """Test errors on CIFAR-10, with the same convolutions."""
    return {head: error for head, error in counts.NIN_CIFAR10.items()}


def n4() -> Numbers:
    """Parameters of what is behind the convolutions of Network in network."""
    net = counts.net("nin_imagenet")
    maps = rows("nin_imagenet", "ConvReLU")[-1].output[0]
    own = sum(p.size for p in net.avgpool.parameters())
    return {"maps": maps, "parameters of pooling": own,
            "linear layers": len(rows("nin_imagenet", "Linear"))}  # fmt: skip


def module(*, naive: bool) -> Summary:
    """The lecture's module on 28x28x256, layer by layer."""
    with nn.meta():
        net: nn.Module = (
            NaiveInception(256, 128, 192, 96) if naive else Inception(256, 128, 64, 192, 64, 96, 64)
        )
    return summary(net, EXAMPLE)


def branches(found: Summary) -> list[Layer]:
    """The last layer of each branch."""
    behind = [*found.rows[2:], None]
    pairs = zip(found.rows[1:], behind, strict=True)
    return [row for row, after in pairs if after is None or row.name[:7] != after.name[:7]]


def n5() -> Numbers:
    """Branches, and where they reduce."""
    net = counts.net("googlenet").inception3a
    ones = sum(m.kernel_size == (1, 1) for m in net.modules() if isinstance(m, nn.Conv2d))
    return {"branches": len(list(net.children())), "1x1 in a module": ones}


def n6() -> Numbers:
    """Q1."""
    return {"1x1": branches(module(naive=True))[0].output}


def n7() -> Numbers:
    """Q2."""
    return {"maps": [row.output[0] for row in branches(module(naive=True))],
            "pixels": [row.output[1:] for row in branches(module(naive=True))]}  # fmt: skip


def n8() -> Numbers:
    """Q3."""
    maps = sum(row.output[0] for row in branches(module(naive=True)))
    return {"output": (maps, *EXAMPLE[1:]), "values": maps * EXAMPLE[1] * EXAMPLE[2]}


def grown(channels: int, times: int) -> list[int]:
    """Maps before and after each of several naive modules, one on the other."""
    found = [channels]
    for _ in range(times):
        with nn.meta():
            net = NaiveInception(found[-1], 128, 192, 96)
        with mg.no_grad():
            found.append(net(mg.zeros(1, found[-1], 1, 1)).shape[1])
    return found


def n9() -> Numbers:
    """The lecture's module, one on the other."""
    maps = grown(256, 3)
    return {"maps": [*maps], "grows": all(a < b for a, b in pairwise(maps))}


def n10() -> Numbers:
    """Operations of the naive module."""
    found = module(naive=True)
    return {"each": [row.macs for row in found if row.macs], "sum": found.total("macs")}


def n11() -> Numbers:
    """Maps that the 3x3, the 5x5 and the branch of pooling get."""
    ones = [row for row in module(naive=False) if row.kind == "Conv2d" and row.field == 1]
    pooled = branches(module(naive=False))[-1]
    return {"from": EXAMPLE[0], "to": [ones[1].output[0], ones[2].output[0], pooled.output[0]]}


def n12() -> Numbers:
    """Operations, maps and weights with reductions."""
    naive, reduced = module(naive=True), module(naive=False)
    maps = sum(row.output[0] for row in branches(reduced))
    return {
        "each": [row.macs for row in reduced if row.macs],
        "sum": reduced.total("macs"),
        "naive / reduced": naive.total("macs") / reduced.total("macs"),
        "output": (maps, *EXAMPLE[1:]),
        "weights": [naive.total("weights"), reduced.total("weights")],
    }


def n13() -> Numbers:
    """Modules of GoogLeNet."""
    found = [n for n, m in counts.net("googlenet").named_modules() if isinstance(m, Inception)]
    return {"modules": len(found), "names": [name.removeprefix("inception") for name in found]}


def longest(module: nn.Module) -> int:
    """Layers with weights on the longest way through a child of GoogLeNet."""
    if isinstance(module, Inception):
        return max(longest(branch) for branch in module.children())
    return sum(isinstance(m, nn.Conv2d | nn.Linear) for m in module.modules())


def n14() -> Numbers:
    """Layers on the main path, with and without parameters."""
    main = [m for m in counts.net("googlenet").children() if not isinstance(m, AuxiliaryHead)]
    deep = sum(map(longest, main))
    pools = sum(isinstance(m, nn.MaxPool2d | nn.AdaptiveAvgPool2d) for m in main)
    return {"with parameters": deep, "poolings": pools, "together": deep + pools}


def n15() -> Numbers:
    """Linear layers that run in evaluation, and those of the auxiliary heads."""
    heads = counts.modules("googlenet", AuxiliaryHead)
    each = [sum(isinstance(m, nn.Linear) for m in head.modules()) for head in heads]
    return {"main path": len(rows("googlenet", "Linear")), "auxiliary heads": [*each]}


ROWS = (
    Row("N1", "374-383", "mlpconv slides a small multilayer perceptron instead of a filter", RIGHT,
        "a k x k convolution and 1x1 convolutions", "zoo.nin.mlpconv", n1),
    Row("N2", "390-391", "VGG's linear layers have 122M parameters, 85 % of it", WRONG,
        "123.6M: 89.4 % of VGG-16 or 86.1 % of VGG-19; 122M would be 85 % of VGG-19",
        "zoo.summary.summary", n2),
    Row("N3", "391", "linear layers cause overfitting", RIGHT,
        "dropout or global average pooling (GAP) gains more than a point", "zoo.nin.NiN", n3),
    Row("N4", "392-400", "GAP: as many maps as classes, the mean is the output, no parameters",
        RIGHT, "", "zoo.nin.NiN", n4),
    Row("N5", "406, 417", "inception: four branches instead of mlpconv, reduced by 1x1", RIGHT, "",
        "zoo.googlenet.Inception", n5),
    Row("N6", "421", "Q1: 1x1 with 128 maps on 28x28x256? 28x28x128", RIGHT, "",
        "zoo.googlenet.NaiveInception", n6),
    Row("N7", "424", "Q2: outputs of all branches? 28x28 with 128, 192, 96, 256 maps", RIGHT, "",
        "zoo.googlenet.NaiveInception", n7),
    Row("N8", "426", "Q3: side by side? 28x28x672", RIGHT, "", "zoo.googlenet.NaiveInception", n8),
    Row("N9", "429", "depth can only grow, since pooling keeps it", RIGHT, "",
        "zoo.googlenet.NaiveInception", n9),
    Row("N10", "432-435", "operations: 25.7M + 346.8M + 481.7M = 854M", RIGHT, "",
        "zoo.googlenet.NaiveInception", n10),
    Row("N11", "440", "1x1 convolutions project to fewer maps", RIGHT, "",
        "zoo.googlenet.Inception", n11),
    Row("N12", "462-479", "with reductions 358M operations", WRONG,
        "the six numbers printed add to 271.4M; 358M counts the row of the 3x3 twice",
        "zoo.googlenet.Inception", n12),
    Row("N13", "484", "GoogLeNet has 9 modules", RIGHT, "", "zoo.googlenet.GoogLeNet", n13),
    Row("N14", "485", "22 layers with parameters and 5 without: 27", RIGHT,
        "the nine poolings inside of modules are not counted", "zoo.googlenet.GoogLeNet", n14),
    Row("N15", "486", "only one linear layer", RIGHT,
        "on the main path; an auxiliary head has two more, in training only",
        "zoo.googlenet.GoogLeNet", n15),
)  # fmt: skip
