"""The nets of the experiments: the papers' nets, narrow, and deep chains with one switch each.

Design: what is compared differs in one thing, and that is an argument.  ``MiniResNet`` is built
from the very blocks of ``zoo.resnet_cifar``; ``Chain`` is the net of the studies of gradient flow,
where activation, normalization and shortcuts can be had without each other; ``small_net`` is a
convolutional body with the heads, windows and activations of the older papers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import minigrad.functional as F
from minigrad import Tensor, nn

from ..alexnet import CAFFE_NORM
from ..parts import weighted
from ..resnet_cifar import Block, PadShortcut, Shortcut

WIDTHS = (8, 16, 32)
PAPER = (16, 32, 64)


class MiniResNet(nn.Module):
    """The net of He et al. 2015, section 4.2, with other widths: depth 6n + 2, three stages.

    shortcut: "A" (the paper's), or None for the plain net, which has the same parameters.
    """

    def __init__(
        self,
        depth: int,
        shortcut: Shortcut | None,
        in_channels: int = 1,
        num_classes: int = 10,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages, channels = [], widths[0]
        for width in widths:
            first = Block(channels, width, 2 if width > channels else 1, shortcut)
            rest = (Block(width, width, 1, shortcut) for _ in range(n - 1))
            stages.append(nn.Sequential(first, *rest))
            channels = width
        self.layer1, self.layer2, self.layer3 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels, num_classes)
        for layer in weighted(self):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, H, W)."""
        x = self.bn1(self.conv1(x), relu=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.flatten(self.avgpool(x), 1))


class ChainUnit(nn.Module):
    """act(norm(conv(act(norm(conv(x))))) [+ shortcut(x)]): a block of the study of gradients."""

    def __init__(
        self,
        channels: int,
        maps: int,
        stride: int,
        act: Callable[[Any], Any],
        *,
        batch_norm: bool,
        residual: bool,
    ) -> None:
        super().__init__()
        self.act, self.residual = act, residual
        self.conv1 = nn.Conv2d(channels, maps, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(maps) if batch_norm else nn.Identity()
        self.norm2 = nn.BatchNorm2d(maps) if batch_norm else nn.Identity()
        changes = stride != 1 or channels != maps
        self.shortcut = PadShortcut(maps - channels, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, maps, H / stride, W / stride)."""
        y = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        return self.act(y + self.shortcut(x) if self.residual else y)


class Chain(nn.Module):
    """A net of 6n + 2 layers whose activation, normalization and shortcuts are arguments."""

    def __init__(
        self,
        depth: int,
        act: Callable[[Any], Any],
        start: Callable[[Any], Any],
        *,
        batch_norm: bool = False,
        residual: bool = False,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.act = act
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(WIDTHS[0]) if batch_norm else nn.Identity()
        units, channels = [], WIDTHS[0]
        for width in WIDTHS:
            for k in range(n):
                stride = 2 if k == 0 and width > channels else 1
                units.append(
                    ChainUnit(
                        channels, width, stride, act, batch_norm=batch_norm, residual=residual
                    )
                )
                channels = width
        self.units = nn.Sequential(*units)
        self.linear = nn.Linear(channels, 10)
        for layer in weighted(self):
            start(layer.weight)

    @property
    def last(self) -> Any:
        """The last unit, whose second convolution is the last of the net."""
        return list(self.units)[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, H, W)."""
        x = self.units(self.act(self.norm1(self.conv1(x))))
        return self.linear(x.mean(axis=(2, 3)))


class SmallNet(nn.Module):
    """A convolutional net of the time before ResNet: stages of convolutions, each with a pooling.

    windows: sizes of the convolutions of a stage, such as (3, 3) or (5,). widths: maps of the
    stages. head: "fc" (one hidden layer of `hidden`), "fc+dropout", or "gap". norm: "none", "lrn"
    (after the activation, before pooling; k = 1, so it does not rescale) or "bn" (before the
    activation). side: of the images.
    """

    def __init__(
        self,
        side: int,
        in_channels: int = 1,
        num_classes: int = 10,
        *,
        windows: Sequence[int] = (3,),
        widths: Sequence[int] = (16, 32, 64),
        head: str = "gap",
        hidden: int = 256,
        norm: str = "none",
        act: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in widths:
            for window in windows:
                layers.append(nn.Conv2d(channels, width, window, padding=window // 2))
                layers += [nn.BatchNorm2d(width)] if norm == "bn" else []
                layers.append(act())
                channels = width
            layers += [nn.LocalResponseNorm(**CAFFE_NORM)] if norm == "lrn" else []
            layers.append(nn.MaxPool2d(2))
            side //= 2
        self.features = nn.Sequential(*layers)
        if head == "gap":
            classify: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            classify += [nn.Linear(channels, num_classes)]
        else:
            drop = [nn.Dropout(0.5)] if head == "fc+dropout" else []
            classify = [nn.Flatten(), *drop, nn.Linear(channels * side * side, hidden), act()]
            classify += [*drop, nn.Linear(hidden, num_classes)]
        self.classifier = nn.Sequential(*classify)
        for layer in weighted(self):  # He et al. 2015b, or Glorot for activations that saturate
            if act is nn.ReLU:
                nn.init.kaiming_normal_(layer.weight)
            else:
                nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, H, W)."""
        return self.classifier(self.features(x))
