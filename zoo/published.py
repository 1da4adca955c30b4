"""Published accuracies of the nets of the lecture, with their sources.

Design: data only.  Parameters and multiply-adds are not here: the zoo counts them.  Accuracies are
percent on ImageNet's validation set, one center crop, of the weights that are named; they were
published, and nobody can measure them here.

Sources: BVLC: the readme files of its model zoo; torchvision: its table of weights
(IMAGENET1K_V1); NIN: its authors' readme.  The chart is that of Canziani, Paszke and Culurciello
2017, "An analysis of deep neural network models for practical applications", figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A net with published weights: its label, its name and variant in the zoo, accuracies.

    top5: None where it was not published. family: for the colors of the chart.
    """

    label: str
    model: str
    variant: str
    top1: float
    top5: float | None
    family: str
    source: str

    @property
    def options(self) -> dict[str, Any]:
        """What ``get_model`` needs besides name and variant: no heads that are for training."""
        return {"aux": False} if self.model == "googlenet" else {}


BVLC, TORCHVISION, LIN = "BVLC", "torchvision", "Lin et al."
PUBLISHED: tuple[Published, ...] = (
    Published("AlexNet", "alexnet_grouped", "paper", 57.1, 80.2, "AlexNet", BVLC),
    Published("AlexNet, one column", "alexnet", "torchvision", 56.52, 79.07, "AlexNet",
              TORCHVISION),
    Published("NIN", "nin_imagenet", "paper", 59.36, None, "NIN", LIN),
    Published("GoogLeNet", "googlenet", "paper", 68.7, 88.9, "GoogLeNet", BVLC),
    Published("GoogLeNet, BN", "googlenet", "torchvision", 69.78, 89.53, "GoogLeNet", TORCHVISION),
    Published("VGG-11", "vgg11", "torchvision", 69.02, 88.63, "VGG", TORCHVISION),
    Published("VGG-13", "vgg13", "torchvision", 69.93, 89.25, "VGG", TORCHVISION),
    Published("VGG-16", "vgg16", "torchvision", 71.59, 90.38, "VGG", TORCHVISION),
    Published("VGG-19", "vgg19", "torchvision", 72.38, 90.88, "VGG", TORCHVISION),
    Published("ResNet-18", "resnet18", "torchvision", 69.76, 89.08, "ResNet", TORCHVISION),
    Published("ResNet-34", "resnet34", "torchvision", 73.31, 91.42, "ResNet", TORCHVISION),
    Published("ResNet-50", "resnet50", "torchvision", 76.13, 92.86, "ResNet", TORCHVISION),
    Published("ResNet-101", "resnet101", "torchvision", 77.37, 93.55, "ResNet", TORCHVISION),
    Published("ResNet-152", "resnet152", "torchvision", 78.31, 94.05, "ResNet", TORCHVISION),
)  # fmt: skip


def published(label: str) -> Published:
    """The entry of a label. Raises KeyError.

    >>> published("ResNet-50").top1
    76.13
    """
    return {entry.label: entry for entry in PUBLISHED}[label]
