"""Section 1c of the ledger: VGG, rows V1 to V26 (lines 136-306).

Design: counts come from the tables of layers; the identities (1x1 windows, small windows, receptive
fields) are computed with layers of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import nn

from .. import history
from ..summary import Field
from ..vgg import blocks
from . import counts
from .counts import convolutions, layers, rows
from .row import CAVEAT, NOTE, RIGHT, WRONG, Numbers, Row

NAMES = {"A": "vgg11", "B": "vgg13", "C": "vgg16c", "D": "vgg16", "E": "vgg19"}
NET, RECIPE = "zoo.vgg.VGG", "vgg16-imagenet"


def v1() -> Numbers:
    """Windows, strides and paddings of VGG-16."""
    convs, pools = counts.modules("vgg16", nn.Conv2d), counts.modules("vgg16", nn.MaxPool2d)
    kinds = {(m.kernel_size, m.stride, m.padding) for m in convs}
    ((window, stride, padding),) = kinds
    ((pool, step),) = {(m.kernel_size, m.stride) for m in pools}
    return {
        "window": window,
        "stride": stride,
        "padding": padding,
        "pool": pool,
        "its stride": step,
    }


def v2() -> Numbers:
    """Convolutions, and as many as 5 go into them."""
    found: Numbers = {net: len(convolutions(name)) for net, name in NAMES.items()}
    return found | {"to AlexNet's": [len(convolutions(NAMES[k])) / 5 for k in "AE"]}


def v3() -> Numbers:
    """Layers of VGG-16."""
    return {"convolutions": len(convolutions("vgg16")), "linear": len(rows("vgg16", "Linear"))}


def v4() -> Numbers:
    """A 1x1 convolution of 8 maps to 4, on 6x5 pixels, against a product with a matrix."""
    mg.manual_seed(0)
    layer: Any = nn.Conv2d(8, 4, 1).double()
    x = mg.randn(2, 8, 6, 5, dtype=np.float64)
    with mg.no_grad():
        product = np.einsum("oc,nchw->nohw", layer.weight.numpy()[:, :, 0, 0], x.numpy())
        off = np.abs(layer(x).numpy() - product - layer.bias.numpy()[:, None, None]).max()
    weights = int(layer.weight.size)
    return {"weights": weights, "with biases": weights + 4, "MACs a pixel": weights,
            "off the product": float(off)}  # fmt: skip


def v5() -> Numbers:
    """Two 1x1 convolutions against one with the product of their matrices; and with a ReLU."""
    mg.manual_seed(0)
    first, second = (nn.Conv2d(c, k, 1, bias=False).double() for c, k in ((8, 6), (6, 4)))
    x = mg.randn(2, 8, 6, 5, dtype=np.float64)
    with mg.no_grad():
        a, b = first.weight.numpy()[:, :, 0, 0], second.weight.numpy()[:, :, 0, 0]
        one = np.einsum("oc,nchw->nohw", b @ a, x.numpy())
        linear, bent = second(first(x)).numpy(), second(F.relu(first(x))).numpy()
    return {"without ReLU, off one layer": float(np.abs(linear - one).max()),
            "with ReLU": float(np.abs(bent - one).max())}  # fmt: skip


def v7() -> Numbers:
    """Net C: its 1x1 windows, and top-1 / top-5 errors of C and D."""
    ones = sum(m.kernel_size == (1, 1) for m in counts.modules("vgg16c", nn.Conv2d))
    return {"1x1 in C": ones} | {net: [*errors] for net, errors in counts.VGG_256.items()}


def seen(stack: nn.Module, size: int) -> tuple[int, int]:
    """Height and width of the pixels with a gradient from the middle of the output."""
    for p in stack.parameters():
        p.requires_grad_(False).copy_(1.0)  # nothing cancels
    x = mg.zeros(1, 1, size, size, requires_grad=True)
    (g,) = mg.grad(stack(x)[0, 0, size // 2, size // 2], x)
    assert g is not None
    i, j = np.nonzero(g.numpy()[0, 0])
    return int(np.ptp(i)) + 1, int(np.ptp(j)) + 1


def v8() -> Numbers:
    """The field of three 3x3 convolutions, by the rule and by the gradient."""
    field = Field(1, 1, 15)
    for _ in range(3):
        field = field.behind(3, 1, 15)
    stack = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))
    return {"by the rule": field.r, "by the gradient": seen(stack, 15)}


def stacks(channels: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Three 3x3 convolutions and one 7x7, each with a ReLU, on the same number of maps."""
    with nn.meta():
        three = [layer for _ in range(3) for layer in (conv(channels, 3), nn.ReLU())]
        return nn.Sequential(*three), nn.Sequential(conv(channels, 7), nn.ReLU())


def conv(channels: int, kernel: int) -> nn.Conv2d:
    """A convolution without biases that keeps maps and pixels."""
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)


def weights(stack: nn.Module) -> int:
    """How many."""
    return sum(p.size for p in stack.parameters())


def v9() -> Numbers:
    """ReLUs."""
    three, one = (sum(isinstance(m, nn.ReLU) for m in s.modules()) for s in stacks(64))
    return {"three 3x3": three, "one 7x7": one}


def v10() -> Numbers:
    """Weights of three 3x3 and of one 7x7, on 3, 64 and 256 maps."""
    found: Numbers = {}
    for channels in (3, 64, 256):
        found[f"{channels} maps"] = [weights(stack) for stack in stacks(channels)]
    three, one = map(weights, stacks(64))
    return found | {"7x7 has more by %": 100 * (one / three - 1)}


def v11() -> Numbers:
    """Three maps."""
    three, one = map(weights, stacks(3))
    return {"three 3x3": three, "one 7x7": one}


def v12() -> Numbers:
    """Fields of two 3x3 windows, the first of them with stride 1 or 2."""
    return {f"stride {s}": Field(1, 1, 15).behind(3, s, 15).behind(3, 1, 15).r for s in (1, 2)}


def v13() -> Numbers:
    """Convolutions between poolings: VGG-16, VGG-19 and AlexNet."""
    found: Numbers = {}
    for name in ("vgg16", "vgg19"):
        found[name] = "-".join(str(len(block)) for block in blocks(counts.net(name))[:-1])
    pools, convs = [], 0
    for row in rows("alexnet", "Conv2d", "MaxPool2d"):
        convs += row.kind == "Conv2d"
        if row.kind == "MaxPool2d":
            pools.append(f"conv{convs}")
    return found | {"AlexNet pools after": [*pools]}


def v14() -> Numbers:
    """Rows, and the sums of their columns."""
    found = layers("vgg16")
    return {"rows": len(found.rows), "values": found.total("values"),
            "weights": found.total("weights")}  # fmt: skip


def v15() -> Numbers:
    """CONV3-64."""
    return {"values": [row.values for row in convolutions("vgg16")[:2]]}


def v16() -> Numbers:
    """All values, the image among them, for one image."""
    count = layers("vgg16").total("values")
    return {"values": count, "MB": 4 * count / 1e6, "MiB": 4 * count / 2**20,
            "with gradients, MB": 8 * count / 1e6}  # fmt: skip


def v17() -> Numbers:
    """All parameters."""
    found = layers("vgg16")
    return {"with biases": found.total("parameters"), "without": found.total("weights")}


def v18() -> Numbers:
    """The first two convolutions."""
    found = sum(row.values for row in convolutions("vgg16")[:2])
    return {"values": found, "% of all": 100 * found / layers("vgg16").total("values")}


def v19() -> Numbers:
    """FC6, and all linear layers."""
    linear, count = rows("vgg16", "Linear"), layers("vgg16").total("parameters")
    return {"FC6": linear[0].parameters, "FC6, % of all": 100 * linear[0].parameters / count,
            "linear, % of all": 100 * counts.parameters(linear) / count}  # fmt: skip


def v20() -> Numbers:
    """FC8."""
    return {"weights": rows("vgg16", "Linear")[-1].weights}


def v21() -> Numbers:
    """Errors in percent."""
    second = history.second(2014)
    assert second is not None
    return {"classification": second.error, "localization": history.LOCALIZATION["VGG 2014"]}


def v22() -> Numbers:
    """What the recipes of VGG-16 and AlexNet have in common, and what not."""
    fields = ("lr", "momentum", "weight_decay", "factor", "reductions", "batch_size")
    ours, theirs = (counts.recipe(name, *fields) for name in (RECIPE, "alexnet-imagenet"))
    same = [field for field in fields if ours[field] == theirs[field]]
    return {"the same": same, "batch_size": [theirs["batch_size"], ours["batch_size"]]} | (
        counts.recipe(RECIPE, "scales")
    )


def v23() -> Numbers:
    """Local response normalizations."""
    nets = {**NAMES, "A-LRN": "vgg11_lrn"}
    return {net: len(rows(name, "LocalResponseNorm")) for net, name in nets.items()}


def v24() -> Numbers:
    """Top-1 / top-5 errors, and values without the image."""
    found: Numbers = {f"error {net}": [*errors] for net, errors in counts.VGG_JITTER.items()}
    for net in "ED":
        rest = layers(NAMES[net])
        found[f"values {net}"] = rest.total("values") - rest.rows[0].values
    return found


def v25() -> Numbers:
    """Top-1 / top-5 errors of one net and of two."""
    return {net: [*errors] for net, errors in counts.VGG_NETS.items()}


def v26() -> Numbers:
    """What FC7 puts out."""
    return {"features": rows("vgg16", "Linear")[1].output[0]}


ROWS = (
    Row("V1", "137", "small 3x3 windows, and deeper", RIGHT,
        "all convolutions 3x3 at stride 1 with padding 1, all poolings 2x2", NET, v1),
    Row("V2", "138", "8 to 16 convolutions, 2 to 3 times AlexNet's", CAVEAT, "1.6 to 3.2 times",
        "zoo.vgg.TABLES", v2),
    Row("V3", "139, 144", "VGG-16: 13 convolutions and 3 linear layers", RIGHT, "", NET, v3),
    Row("V4", "146-150", "1x1 bottleneck: four windows 8x1x1 make 4 maps of 8", RIGHT,
        "32 weights, or 36 with biases; a product with a matrix at every pixel",
        "zoo.lecture.vgg.v4", v4),
    Row("V5", "151", "a ReLU behind it adds discriminative power", RIGHT,
        "without one, two 1x1 convolutions are a single one", "zoo.lecture.vgg.v5", v5),
    Row("V6", "152", "1x1 windows come from Network in network", RIGHT, "Lin et al. 2014",
        "zoo.nin.mlpconv"),
    Row("V7", "153", "VGG tried 1x1 windows and did not choose them", CAVEAT,
        "net C has three of them and D is better; two C were in the seven nets of the challenge",
        "zoo.vgg.TABLES", v7),
    Row("V8", "170-180", "three 3x3 at stride 1 see 7x7", RIGHT, "", "zoo.summary.Field", v8),
    Row("V9", "182", "deeper, so more nonlinearity", RIGHT, "", "zoo.lecture.vgg.stacks", v9),
    Row("V10", "184", "3 (3 x 3 C^2) against 7 x 7 C^2 weights", RIGHT, "27 C^2 against 49 C^2",
        "zoo.lecture.vgg.stacks", v10),
    Row("V11", "174, 186", "the example with C = 3, by hand: 213", WRONG,
        "27 x 9 = 243 against 49 x 9 = 441", "zoo.lecture.vgg.stacks", v11),
    Row("V12", "190", "a note: stride = 2", NOTE,
        "with stride s fields grow faster: r += (k - 1) j, then j *= s", "zoo.summary.Field", v12),
    Row("V13", "192-371", "drawings of AlexNet, VGG-16 and VGG-19 as stacks of boxes", WRONG,
        "VGG-16 has three convolutions with 256 maps, not two; AlexNet pools after convolutions 1, "
        "2 and 5, not 2, 3 and 5", "zoo.vgg.blocks", v13),
    Row("V14", "258-292", "memory and parameters, layer by layer", RIGHT, "every row agrees",
        "zoo.summary.summary", v14),
    Row("V15", "260-264", "CONV3-64: 3.2M values", RIGHT, "", "zoo.summary.summary", v15),
    Row("V16", "295", "24M values x 4 bytes = 96 MB an image, twice that with backward", WRONG,
        "the lecture's own rows add to 15.2M values: 61 MB; twice that with gradients is right",
        "zoo.summary.summary", v16),
    Row("V17", "295", "138M parameters", RIGHT, "", "zoo.summary.summary", v17),
    Row("V18", "295", "most memory is in the early convolutions", RIGHT, "",
        "zoo.summary.summary", v18),
    Row("V19", "295", "most parameters are in the late linear layers", RIGHT, "",
        "zoo.summary.summary", v19),
    Row("V20", "297", "FC 4096 x 1000 = 4,096,000", RIGHT, "", "zoo.summary.summary", v20),
    Row("V21", "301", "2014: second in classification, first in localization", RIGHT,
        "with seven nets", "zoo.history.LOCALIZATION", v21),
    Row("V22", "302", "trained as AlexNet was", RIGHT, "but with batches of 256, and images of "
        "different scales", f"python -m zoo train --recipe {RECIPE}", v22),
    Row("V23", "303", "no local response normalization", RIGHT, "except in A-LRN",
        "zoo.vgg.TABLES", v23),
    Row("V24", "304", "VGG-19 is slightly better and takes more memory", RIGHT, "", NET, v24),
    Row("V25", "305", "ensembles are best", RIGHT, "", "zoo.history.ILSVRC", v25),
    Row("V26", "306", "features of FC7 carry over to other tasks", RIGHT,
        "any layer's output is there to take", "zoo.localize.output_of", v26),
)  # fmt: skip
