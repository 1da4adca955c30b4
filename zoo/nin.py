"""Network in network (Lin, Chen and Yan 2014, "Network in network"): a small multilayer perceptron
slides over the image instead of a filter, and the mean of a map is a class's score.

Design: ``mlpconv(k, maps)`` is the paper's layer: a k x k convolution and 1x1 convolutions, each
with a ReLU, that is a perceptron applied to every patch.  Layers have the names of the authors'
Caffe definitions (conv1, cccp1, cccp2, pool1, ...).

    name          maps of the mlpconv layers                                  parameters
    nin_cifar10   5x5 192 160 96, 5x5 192 192 192, 3x3 192 192 classes           966,986
    nin_imagenet  11x11/4 96 96 96, 5x5 256 256 256, 3x3 384 384 384,          7,595,176
                  3x3 1024 1024 classes

There is no linear layer: the last mlpconv has one map per class, ReLU included, and its mean over
all pixels is the logit.  Pooling is 3x3/2 and rounds up: 32, 16, 8 pixels (rounding down would
leave 15 and 7).

Differs from the paper
  * Tables and starting values are those of the authors' released definitions; the paper has no
    table.  ``pool2="avg"`` is the Caffe form of the CIFAR-10 net, "max" that of cuda-convnet.
  * Global averaging takes any size of image, the definitions 32x32 and 224x224 (227x227 here, where
    all windows fit).
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad import Tensor, nn

from .parts import ConvReLU, check_choice, check_least, weighted

CIFAR_LEAST, IMAGENET_LEAST = 6, 39


def mlpconv(
    names: tuple[str, ...], channels: int, kernel: int, maps: tuple[int, ...], stride: int = 1
) -> dict[str, nn.Module]:
    """A k x k convolution and 1x1 convolutions, a ReLU after each. Maps keep their size, except
    that the 11x11 layer has no padding."""
    padding = 0 if kernel == 11 else kernel // 2
    layers: dict[str, nn.Module] = {
        names[0]: ConvReLU(channels, maps[0], kernel, stride=stride, padding=padding)
    }
    for name, before, after in zip(names[1:], maps, maps[1:], strict=False):
        layers[name] = ConvReLU(before, after, 1)
    return layers


class NiN(nn.Module):
    """Named layers and global average pooling; logits (N, classes)."""

    least = 1  # pixels

    def __init__(self, layers: dict[str, nn.Module], deviations: dict[str, float]) -> None:
        super().__init__()
        self.features = nn.Sequential(layers)  # (N, classes, 8, 8) or (N, classes, 6, 6)
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # (N, classes, 1, 1)
        names = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)]
        for name, layer in zip(names, weighted(self), strict=True):
            nn.init.normal_(layer.weight, 0.0, deviations.get(name, 0.05))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, H, W). Raises ShapeError for images that are too small."""
        check_least("nin", x, self.least)
        return F.flatten(self.avgpool(self.features(x)), 1)


class NiNCifar10(NiN):
    """The net for 32x32 pixels. pool2: "max" or "avg"."""

    least = CIFAR_LEAST

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, pool2: str = "max") -> None:
        check_choice("nin_cifar10", "pool2", pool2, ("max", "avg"))
        second = (nn.MaxPool2d if pool2 == "max" else nn.AvgPool2d)(3, 2, ceil_mode=True)
        layers = {
            **mlpconv(("conv1", "cccp1", "cccp2"), in_channels, 5, (192, 160, 96)),  # 32 x 32
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 96, 16, 16)
            "drop1": nn.Dropout(0.5),
            **mlpconv(("conv2", "cccp3", "cccp4"), 96, 5, (192, 192, 192)),  # 16 x 16
            "pool2": second,  # (N, 192, 8, 8)
            "drop2": nn.Dropout(0.5),
            **mlpconv(("conv3", "cccp5", "cccp6"), 192, 3, (192, 192, num_classes)),  # 8 x 8
        }
        super().__init__(layers, {})


class NiNImageNet(NiN):
    """The net for 227x227 pixels."""

    least = IMAGENET_LEAST

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        layers = {
            **mlpconv(("conv1", "cccp1", "cccp2"), in_channels, 11, (96, 96, 96), 4),  # 55 x 55
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 96, 27, 27)
            **mlpconv(("conv2", "cccp3", "cccp4"), 96, 5, (256, 256, 256)),  # 27 x 27
            "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 256, 13, 13)
            **mlpconv(("conv3", "cccp5", "cccp6"), 256, 3, (384, 384, 384)),  # 13 x 13
            "pool3": nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 384, 6, 6)
            "drop": nn.Dropout(0.5),
            **mlpconv(("conv4", "cccp7", "cccp8"), 384, 3, (1024, 1024, num_classes)),  # 6 x 6
        }
        super().__init__(layers, {"conv1": 0.01, "conv3": 0.01, "cccp8": 0.01})
