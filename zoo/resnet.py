"""The ImageNet networks of the residual-learning paper (He et al. 2015, "Deep residual learning for
image recognition", table 1), and the plain nets that they are compared with.

Design: the constructor is the paper's table: a 7x7 convolution, pooling, four stages of blocks on
{56, 28, 14, 7} pixels, global average pooling, one linear layer.

    net   block       blocks       A (no projection)   B (where shapes change)   C (everywhere)
    18    basic       2, 2, 2, 2          11,515,688                11,689,512       12,043,816
    34    basic       3, 4, 6, 3          21,623,848                21,797,672       22,716,840
    50    bottleneck  3, 4, 6, 3          22,780,456                25,557,032       40,128,552
    101   bottleneck  3, 4, 23, 3         41,772,584                44,549,160       76,981,288
    152   bottleneck  3, 8, 36, 3         57,416,232                60,192,808      107,335,720

Plain nets have the parameters of option A.  In a bottleneck that halves the map, the stride is on
the first 1x1 convolution (the paper) or on the 3x3 (torchvision, "v1.5"): the same parameters, but
3.86 or 4.09 billion multiply-adds in ResNet-50.  state_dict keys are torchvision's.

Differs from the paper
  * Option B is the default for every depth, as in the published weights; the paper's comparison of
    18 and 34 layers with plain nets (table 2) uses A.
  * The zero padding of option A is centered; the paper does not say.
  * Running statistics move by 0.1 per batch; the authors' released ones are averages.
  * torchvision's variant: stride on the 3x3, He's rule with fan_out, PyTorch's start of the linear
    layer.  ``zero_init_residual`` (Goyal et al. 2017) starts the last gamma of each block at 0.
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad import Tensor, nn
from minigrad.errors import ArgError

from .parts import check_choice, weighted
from .resnet_cifar import Shortcut, shortcut_for


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; y = relu(F(x) + shortcut(x)), in a plain net y = relu(F(x))."""

    expansion = 1

    def __init__(
        self, channels: int, filters: int, stride: int, option: Shortcut | None, stride_on: str
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.last = "bn2"
        self.downsample = around(option, channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The sums and ReLUs ride in batch norm."""
        y = nn.conv_norm(self.conv1, self.bn1, x, relu=True)
        residual = None if self.downsample is None else self.downsample(x)
        return nn.conv_norm(self.conv2, self.bn2, y, residual, relu=True)


class Bottleneck(nn.Module):
    """1x1 down to `filters` maps, 3x3, 1x1 up to four times as many; y = relu(F(x) + shortcut(x)).

    stride_on: "1x1" or "3x3", where the map is halved.
    """

    expansion = 4

    def __init__(
        self, channels: int, filters: int, stride: int, option: Shortcut | None, stride_on: str
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(channels, filters, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride=second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        self.last = "bn3"
        self.downsample = around(option, channels, 4 * filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The sums and ReLUs ride in batch norm."""
        y = nn.conv_norm(self.conv1, self.bn1, x, relu=True)
        y = nn.conv_norm(self.conv2, self.bn2, y, relu=True)
        residual = None if self.downsample is None else self.downsample(x)
        return nn.conv_norm(self.conv3, self.bn3, y, residual, relu=True)


def around(option: Shortcut | None, channels: int, maps: int, stride: int) -> nn.Module | None:
    """The path around a block; a plain net has none."""
    return None if option is None else shortcut_for(option, channels, maps, stride)


TABLE: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """A net of the table for images (N, in_channels, H, W), 224x224 in the paper; logits.

    shortcut: "A", "B", "C", or None for a plain net. stride_on: "1x1" or "3x3", of bottlenecks.
    torchvision: its starting values. zero_init_residual: every block starts as its shortcut.
    Raises ArgError.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        shortcut: Shortcut | None = "B",
        stride_on: str = "1x1",
        torchvision: bool = False,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if depth not in TABLE:
            raise ArgError(f"resnet: depth {depth} is not in the table; use {[*TABLE]}")
        check_choice("resnet", "shortcut", shortcut, ("A", "B", "C", None))
        check_choice("resnet", "stride_on", stride_on, ("1x1", "3x3"))
        check_choice("resnet", "zero_init_residual", zero_init_residual, (True, False))
        block, (n1, n2, n3, n4) = TABLE[depth]
        self.block, self.shortcut, self.stride_on = block, shortcut, stride_on
        e = block.expansion
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)  # 112 x 112
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)  # (N, 64, 56, 56)
        self.layer1 = self.stage(n1, 64, 64, 1)  # (N, 64 e, 56, 56)
        self.layer2 = self.stage(n2, 64 * e, 128, 2)  # (N, 128 e, 28, 28)
        self.layer3 = self.stage(n3, 128 * e, 256, 2)  # (N, 256 e, 14, 14)
        self.layer4 = self.stage(n4, 256 * e, 512, 2)  # (N, 512 e, 7, 7)
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # (N, 512 e, 1, 1)
        self.fc = nn.Linear(512 * e, num_classes)
        self.start(torchvision=torchvision, zero_init_residual=zero_init_residual)

    def stage(self, n: int, channels: int, filters: int, stride: int) -> nn.Sequential:
        """n blocks; the first changes the shape."""

        def block(channels: int, stride: int) -> nn.Module:
            return self.block(channels, filters, stride, self.shortcut, self.stride_on)

        maps = filters * self.block.expansion
        return nn.Sequential(block(channels, stride), *(block(maps, 1) for _ in range(n - 1)))

    def start(self, *, torchvision: bool, zero_init_residual: bool) -> None:
        """He et al. 2015b: std = sqrt(2 / fan_in); torchvision fan_out, convolutions only."""
        for layer in weighted(self):
            if not torchvision:
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    nn.init.zeros_(getattr(module, module.last).weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, H, W)."""
        x = self.maxpool(nn.conv_norm(self.conv1, self.bn1, x, relu=True))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.flatten(self.avgpool(x), 1))
