"""Section 1e of the ledger: ResNet and the comparison, rows R1 to R25 and C1 (lines 490-599).

Design: counts come from the nets; what the lecture derives (construction, equation 4.14, gradients)
is computed by the functions of the experiments E2 to E4; errors of nets that take weeks to train
are quoted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

from .. import history
from ..experiments.construction import exact
from ..experiments.equation_414 import bounded, cases
from ..experiments.gradient_flow import KINDS, gradient_norms
from ..resnet import TABLE
from ..resnet_cifar import Block
from . import counts
from .counts import CIFAR_TEST, FULL_RUN, IMAGENET_10_CROP, layers
from .row import CAVEAT, RIGHT, WRONG, Numbers, Row

RECIPE = "resnet50-imagenet"
# top-1 accuracy of torchvision's published weights, one crop, in percent
ACCURACY = {"alexnet": 56.52, "vgg16": 71.59, "vgg19": 72.38, "googlenet": 69.78,
            "resnet18": 69.76, "resnet50": 76.13, "resnet152": 78.31}  # fmt: skip


def r1() -> Numbers:
    """Training and test error of plain nets after the whole schedule."""
    return {name: [*FULL_RUN[name]] for name in ("plain20", "plain56")}


def r2() -> Numbers:
    """Parameters of a plain and a residual net of 56 layers: the same functions can be had."""
    return {name: layers(name).total("parameters") for name in ("plain56", "resnet56")} | {
        name + ", training error": FULL_RUN[name][0] for name in ("plain56", "resnet56")
    }


def r3() -> Numbers:
    """plain-56 made of plain-20 by blocks that are the identity, against plain-20."""
    ((name, off),) = exact(0, 8, (56,))
    return {f"{name}, relative difference": off}


def r4() -> Numbers:
    """The net of 1,202 layers."""
    net = counts.net("resnet1202")
    weighted = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules())
    return {"layers": weighted, "parameters": sum(p.size for p in net.parameters())}


def with_zero_weights(*, residual: bool) -> Numbers:
    """What a block of zero weights gives, and relu(x), for one x."""
    with nn.meta():  # zeros, and batch norm of scale 1
        block = Block(4, 4, 1, "A" if residual else None).eval()
    mg.manual_seed(0)
    x = mg.randn(2, 4, 5, 5)
    with mg.no_grad():
        y = block(x).numpy()
    wanted = np.maximum(x.numpy(), 0) if residual else np.zeros(x.shape)
    return {"off " + ("relu(x)" if residual else "0"): float(np.abs(y - wanted).max())}


def r5() -> Numbers:
    """A plain block."""
    return with_zero_weights(residual=False)


def r6() -> Numbers:
    """A residual block."""
    return with_zero_weights(residual=True)


def r7() -> Numbers:
    """Norm of the gradient of the first convolution over that of the last, before training."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 1, 8, 8)).astype(np.float32)
    y = rng.integers(0, 10, 64)
    found: Numbers = {}
    for kind in ("plain sigmoid, Xavier", "plain ReLU, BN", "residual ReLU, BN"):
        mg.manual_seed(0)
        first, last = gradient_norms(KINDS[kind](56), x, y)
        found[f"{kind}, 56 layers"] = first / last
    return found


def r8() -> Numbers:
    """|v + J v| / |v| for 32 random v, J the Jacobian of the sum of F, transposed."""
    ratios = bounded(0, 32)
    return {"least": float(ratios.min()), "median": float(np.median(ratios))}


def r9() -> Numbers:
    """How far the gradient is from the equation, in float64."""
    found = {name: gradient for name, _, gradient in cases(0)}
    pre, _, _, post = found.values()
    return {"pre-activation": pre, "ReLU after the sum": post}


def r10() -> Numbers:
    """Windows of the blocks."""
    found: Numbers = {}
    for name in ("resnet34", "resnet20", "resnet50"):
        block = counts.net(name).layer1[0]
        convs = [m for n, m in block.named_children() if isinstance(m, nn.Conv2d)]
        found[name] = " ".join("x".join(map(str, m.kernel_size)) for m in convs)
    return found


def stages(name: str) -> dict[str, list[Any]]:
    """The 3x3 convolutions at stride 1 of each stage of a net, as rows of its table."""
    found: dict[str, list[Any]] = {}
    steps = {n: m.stride for n, m in counts.net(name).named_modules() if isinstance(m, nn.Conv2d)}
    for row in counts.convolutions(name):
        stage = row.name.partition(".")[0]
        if stage.startswith("layer") and steps[row.name] == (1, 1):
            found.setdefault(stage, []).append(row)
    return found


def r11() -> Numbers:
    """Maps, pixels and MACs of the stages of ResNet-34."""
    rows = [found[-1] for found in stages("resnet34").values()]
    (each,) = {row.macs for found in stages("resnet34").values() for row in found}
    return {"outputs": [row.output for row in rows], "MACs of each convolution": each}


def r12() -> Numbers:
    """ResNet-34: windows, layers that VGG does not have, and that VGG has."""
    convs = counts.modules("resnet34", nn.Conv2d)
    return {
        "3x3": sum(m.kernel_size == (3, 3) for m in convs),
        "batch norms": len(counts.modules("resnet34", nn.BatchNorm2d)),
        "dropouts": len(counts.modules("resnet34", nn.Dropout)),
        "linear": len(counts.modules("resnet34", nn.Linear)),
    }


def r13() -> Numbers:
    """Convolutions and batch norms."""
    found: Numbers = {}
    for name in ("resnet34", "resnet152", "resnet20"):
        kinds = (nn.Conv2d, nn.BatchNorm2d)
        found[name] = [len(counts.modules(name, kind)) for kind in kinds]
    return found


def r14() -> Numbers:
    """Deviation of the weights of a 3x3 convolution of 64 maps, by the rule and as drawn."""
    mg.manual_seed(0)
    block = nn.Conv2d(64, 64, 3, bias=False)
    nn.init.kaiming_normal_(block.weight)
    return {"rule": float(np.sqrt(2 / (64 * 9))), "drawn": float(block.weight.numpy().std())}


def r15() -> Numbers:
    """The recipe for ImageNet."""
    return counts.recipe(RECIPE, "momentum", "lr", "schedule", "factor", "batch_size")


def r16() -> Numbers:
    """Weight decay, on ImageNet and on CIFAR-10."""
    return {
        name: counts.recipe(name, "weight_decay")["weight_decay"]
        for name in (RECIPE, "resnet20-cifar10")
    }


def r17() -> Numbers:
    """Dropouts in all of them."""
    names = [f"resnet{depth}" for depth in (*TABLE, 20, 110)]
    return {"dropouts": sum(len(counts.modules(name, nn.Dropout)) for name in names)}


def r18() -> Numbers:
    """Test errors on CIFAR-10, in percent."""
    return {f"resnet{depth}": CIFAR_TEST[depth] for depth in (110, 1202)}


def r19() -> Numbers:
    """Training errors on CIFAR-10, and top-1 errors on ImageNet with ten crops."""
    train: Numbers = {f"{name}, training": FULL_RUN[name][0] for name in ("resnet20", "resnet56")}
    return train | {f"resnet{depth}": error for depth, error in IMAGENET_10_CROP.items()}


def r21() -> Numbers:
    """Layers with weights on the main path: those of shortcuts do not count."""
    named = counts.net("resnet152").named_modules()
    main = [m for n, m in named if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in n]
    return {"layers": len(main), "blocks": [*TABLE[152][1]]}


def r22() -> Numbers:
    """Mean average precision against the second, 53.6."""
    first = history.DETECTION["ResNet 2015"]
    return {"first": first, "second": 53.6, "better by points": first - 53.6,
            "better by %": 100 * (first / 53.6 - 1)}  # fmt: skip


def r23() -> Numbers:
    """Error of localization against the second, 12.3, and against the winner of 2014."""
    first, before = history.LOCALIZATION["ResNet 2015"], history.LOCALIZATION["VGG 2014"]
    return {"first": first, "less than 12.3 by %": 100 * (1 - first / 12.3),
            "less than VGG's of 2014 by %": 100 * (1 - first / before)}  # fmt: skip


def r24() -> Numbers:
    """COCO, precision over IoU .5 to .95 of one detector with VGG-16 and with ResNet-101."""
    return {"VGG-16": 21.2, "ResNet-101": 27.2, "better by %": 100 * (27.2 / 21.2 - 1)}


def r25() -> Numbers:
    """ResNet against people."""
    return {"ResNet": history.winner(2015).error, "people": history.HUMAN}


def c1() -> Numbers:
    """Extremes of the chart, with our parameters and MACs and published accuracies."""
    size = {name: layers(name).total("parameters") for name in ACCURACY}
    work = {name: layers(name).total("macs") for name in ACCURACY}
    rate = {name: ACCURACY[name] / size[name] for name in ACCURACY}
    return {
        "most parameters": max(size, key=lambda n: size[n]),
        "most MACs": max(work, key=lambda n: work[n]),
        "fewest parameters": min(size, key=lambda n: size[n]),
        "most accuracy a parameter": max(rate, key=lambda n: rate[n]),
        "lowest accuracy": min(ACCURACY, key=lambda n: ACCURACY[n]),
        "fewest MACs": min(work, key=lambda n: work[n]),
        "highest accuracy": max(ACCURACY, key=lambda n: ACCURACY[n]),
    }


NET, SMALL = "zoo.resnet.ResNet", "zoo.resnet_cifar.ResNetCifar"
TRAIN = f"python -m zoo train --recipe {RECIPE}"
ROWS = (
    Row("R1", "490-496", "56 plain layers are worse than 20 in training and in testing, so it is "
        "not overfitting", RIGHT, "training and test error in percent; small: experiment E1",
        "python -m zoo experiment degradation", r1),
    Row("R2", "500", "it is a problem of optimization", RIGHT,
        "the residual net with the same parameters trains", SMALL, r2),
    Row("R3", "502-504", "a deeper net can be as good: copy layers, the rest the identity", RIGHT,
        "the logits are equal to rounding", "zoo.experiments.construction.deepen", r3),
    Row("R4", "508", "up to 1,202 layers", RIGHT, "", SMALL, r4),
    Row("R5", "511-512", "plain: y = relu(F(x)), F two layers of weights", RIGHT,
        "with zero weights y = 0", "zoo.resnet_cifar.Block", r5),
    Row("R6", "514, 520", "residual: y = relu(F(x) + x)", RIGHT, "with zero weights y = relu(x)",
        "zoo.resnet_cifar.Block", r6),
    Row("R7", "523", "shortcuts solve the problem of vanishing gradients", CAVEAT,
        "with batch norm they do not vanish in plain nets, they explode towards the input; the "
        "authors: 'unlikely to be caused by vanishing gradients'",
        "zoo.experiments.gradient_flow.gradient_norms", r7),
    Row("R8", "524", "the derivative of the sum of F is almost never -1", RIGHT,
        "random v: |v + J v| / |v| stays away from 0", "zoo.experiments.equation_414.bounded", r8),
    Row("R9", "527", "equation 4.14: gradients of x_L reach x_l unchanged, plus the sum's", CAVEAT,
        "the sum starts at i = l; and only where nothing follows the sum, so not for "
        "y = relu(F + x)", "zoo.experiments.equation_414.identity_error", r9),
    Row("R10", "534", "two 3x3 convolutions a block", CAVEAT,
        "in 18, 34 and on CIFAR; from 50 layers on 1x1, 3x3, 1x1", NET, r10),
    Row("R11", "536", "filters double where the stride is 2", RIGHT,
        "so every convolution costs the same", NET, r11),
    Row("R12", "540-546", "as VGG 3x3; unlike VGG shortcuts, global pooling, batch norm, no "
        "dropout", RIGHT, "'no FC' means no hidden one: one linear layer stays", NET, r12),
    Row("R13", "552", "batch norm behind every convolution", RIGHT, "before the activation",
        NET, r13),
    Row("R14", "553", "Xavier / 2 (He) initialization", RIGHT,
        "deviation sqrt(2 / fan_in); torchvision: fan_out", NET, r14),
    Row("R15", "554-556", "SGD with momentum 0.9, learning rate 0.1 divided by 10, batches of 256",
        RIGHT, "divided when the error no longer falls", TRAIN, r15),
    Row("R16", "557", "weight decay 1e-5", WRONG, "1e-4", TRAIN, r16),
    Row("R17", "558", "no dropout", RIGHT, "", NET, r17),
    Row("R18", "562", "152 and 1,202 layers without degrading", CAVEAT,
        "1,202 layers have less than 0.1 % training error, but more test error than 110",
        SMALL, r18),
    Row("R19", "563", "deeper has lower training error", RIGHT, "", SMALL, r19),
    Row("R20", "564, 568", "first in all five main tracks of 2015", RIGHT,
        "ImageNet classification, detection, localization; COCO detection, segmentation"),
    Row("R21", "569", "152 layers in classification", RIGHT, "", "zoo.resnet.TABLE", r21),
    Row("R22", "570", "ImageNet detection: 16 % better than the second", RIGHT,
        "relative; 8.5 points", "zoo.history.DETECTION", r22),
    Row("R23", "571", "localization: 27 % better", RIGHT, "relative, of the error",
        "zoo.localize.localization_error", r23, checked=False),
    Row("R24", "572-573", "COCO detection 11 % and segmentation 12 % better", RIGHT,
        "relative, against the second; the paper's own comparison of nets is below", "",
        r24, checked=False),
    Row("R25", "576", "better than people", RIGHT, "", "zoo.history.HUMAN", r25),
    Row("C1", "593-599", "chart: accuracy, operations and parameters", RIGHT,
        "after Canziani et al. 2017; quoted accuracies are torchvision's",
        "python -m zoo compare", c1),
)  # fmt: skip
