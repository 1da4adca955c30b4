"""Section 1a of the ledger: ImageNet and its challenge, rows I1 to I10 (lines 21-33, 132, 578-589).

Design: the challenge is data of ``zoo.history``; what follows from a net is computed.
"""

from __future__ import annotations

from .. import history
from ..registry import MODELS
from . import counts
from .row import CAVEAT, NOTE, RIGHT, Numbers, Row


def i1() -> Numbers:
    """Images a class."""
    return {"images a class": 15_000_000 // 22_000}


def i2() -> Numbers:
    """Classes of the nets for ImageNet."""
    names = ("alexnet", "vgg16", "googlenet", "resnet152", "nin_imagenet")
    found = {row.output for row in (counts.weighted(name)[-1] for name in names)}
    (classes,) = {shape[0] for shape in found}
    return {"classes": classes}


def i3() -> Numbers:
    """Training images: those of VGG's 370,000 iterations, divided by its 74 epochs."""
    return {"training images": round(370_000 * 256 / 74)}


def i4() -> Numbers:
    """First and second places."""
    found: Numbers = {str(y): history.winner(y).method for y in (2012, 2013, 2014, 2015)}
    second = history.second(2014)
    assert second is not None
    return found | {"second of 2014": second.method}


def i5() -> Numbers:
    """Nets that published weights fit."""
    fit = [name for name, entry in MODELS.items() if entry.torchvision is not None]
    entries = len(counts.net("resnet18").state_dict())
    return {"nets with a torchvision form": len(fit), "entries of resnet18": entries}


def i7() -> Numbers:
    """People against ResNet."""
    return {"people": history.HUMAN, "ResNet": history.winner(2015).error}


def i8() -> Numbers:
    """Detection after 2012."""
    return {name: score for name, score in history.DETECTION.items()}


def i9() -> Numbers:
    """AlexNet, alone and with images from outside."""
    return {name: error for name, error in counts.ALEXNET_TOP5.items()}


def i10() -> Numbers:
    """ResNet."""
    return {"6 nets, test": history.winner(2015).error}


ROWS = (
    Row("I1", "23", "ImageNet has about 20,000 classes with 500 to 1,000 images each", CAVEAT,
        "15 million images in about 22,000 classes, so 680 a class on average (Krizhevsky et al. "
        "2012)", "zoo.history.ILSVRC", i1),
    Row("I2", "25", "ILSVRC: 1,000 classes; classification, detection, localization; top-1 and "
        "top-5 error", RIGHT, "detection has 200 classes of its own", "zoo.metrics.topk_error", i2),
    Row("I3", "26", "1.2 million training, 50,000 validation and 150,000 test images", CAVEAT,
        "150,000 are those of 2010; 100,000 from 2012 on; 1.28 million for training",
        "zoo.history.ILSVRC", i3),
    Row("I4", "27", "winners: AlexNet 2012, Clarifai 2013, GoogLeNet and VGG 2014, ResNet 2015",
        CAVEAT, "VGG was second in classification and first in localization",
        "zoo.history.winner", i4),
    Row("I5", "28", "winners published code and weights, and became standard nets", RIGHT,
        "names in the state_dict are torchvision's, so its files load",
        "zoo.weights.load.load_weights", i5),
    Row("I6", "32-34", "figure: images of the classes 'swing' and 'great white shark'", NOTE,
        "classes 843 and 2 of the 1,000", "", checked=False),
    Row("I7", "579", "classification has reached what people can do", RIGHT,
        "5.1 % is the better of two annotators, 3.57 % an ensemble of ResNets",
        "zoo.history.HUMAN", i7),
    Row("I8", "580, 585", "attention moved to detection", RIGHT,
        "mean average precision of the winners of detection, in percent",
        "zoo.history.DETECTION", i8),
    Row("I9", "588", "AlexNet 2012: 15.3 %", CAVEAT,
        "16.4 % without images from outside; 15.3 % with two nets pre-trained on 22,000 classes",
        "zoo.history.winner", i9),
    Row("I10", "576, 589", "ResNet 2015: 3.5 % (there), 3.6 % (here)", CAVEAT,
        "3.57 %, six nets, on the test set", "zoo.history.winner", i10),
)  # fmt: skip
