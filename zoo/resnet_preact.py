"""Pre-activation residual networks for CIFAR (He et al. 2016, "Identity mappings in deep residual
networks"): nothing but the sum stands between one block and the next.

Design: a block is x + F(x) with F = BN, ReLU, convolution, twice (6n + 2 layers) or, as a
bottleneck 1x1, 3x3, 1x1, three times (9n + 2 layers).  The first convolution is bare; a last batch
norm and ReLU stand before global averaging.  So x_L = x_l + sum of F(x_i), i = l, ..., L - 1: the
paper's equation 4, wherever shapes do not change.

    depth      20       32       44       56        110   164 bottleneck   1001 bottleneck
    n           3        5        7        9         18               18               111
          269,722  464,154  658,586  853,018  1,727,962        1,703,258        10,327,706

Where the shape changes, batch norm and ReLU come before the split, for the convolutions and the
shortcut alike.  The shortcut is option A in basic nets (the same parameters as the nets of 2015),
a 1x1 convolution without batch norm (B) in bottlenecks.

Differs from the paper
  * Blocks that change the shape, the stride on the first 1x1 and the start (fan_out, bias 0) are
    those of the authors' released code; the zero padding of option A is centered.
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad import Tensor, nn
from minigrad.errors import ArgError

from .parts import check_choice, weighted
from .resnet_cifar import PadShortcut, Shortcut


class PreActBlock(nn.Module):
    """x + F(x), F two 3x3 convolutions with BN and ReLU before each; bottleneck: 1x1, 3x3, 1x1."""

    def __init__(
        self, channels: int, maps: int, stride: int, option: Shortcut, *, bottleneck: bool
    ) -> None:
        super().__init__()
        narrow = maps // 4 if bottleneck else maps
        self.bn1 = nn.BatchNorm2d(channels)
        if bottleneck:
            self.conv1 = nn.Conv2d(channels, narrow, 1, stride=stride, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, maps, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(narrow) if bottleneck else None
        self.conv3 = nn.Conv2d(narrow, maps, 1, bias=False) if bottleneck else None
        changes = stride != 1 or channels != maps
        self.shortcut: nn.Module | None = None  # the identity
        if option == "C" or (option == "B" and changes):
            self.shortcut = nn.Conv2d(channels, maps, 1, stride=stride, bias=False)
        elif changes:
            self.shortcut = PadShortcut(maps - channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x + F(x); with a shortcut s both see a = relu(bn(x)): s(a) + F(x)."""
        a = self.bn1(x, relu=True)
        y = self.conv2(self.bn2(self.conv1(a), relu=True))
        if self.bn3 is not None and self.conv3 is not None:
            y = self.conv3(self.bn3(y, relu=True))
        return y + (x if self.shortcut is None else self.shortcut(a))


class PreActResNet(nn.Module):
    """6n + 2 layers with basic blocks or 9n + 2 with bottlenecks; logits (N, num_classes).

    shortcut: "A", "B", "C"; by default A for basic blocks, B for bottlenecks. Raises ArgError.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        bottleneck: bool = False,
        shortcut: Shortcut | None = None,
    ) -> None:
        super().__init__()
        n, rest = divmod(depth - 2, 9 if bottleneck else 6)
        if rest or n < 1:
            kind = "9n + 2 (164, 1001, ...)" if bottleneck else "6n + 2 (20, 32, 44, 56, 110, ...)"
            raise ArgError(f"preact_resnet: depth {depth} is not {kind}")
        option: Shortcut = shortcut or ("B" if bottleneck else "A")
        check_choice("preact_resnet", "shortcut", option, ("A", "B", "C"))
        m1, m2, m3 = (64, 128, 256) if bottleneck else (16, 32, 64)
        self.bottleneck, self.option = bottleneck, option
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)  # (N, 16, 32, 32)
        self.layer1 = self.stage(n, 16, m1, 1)  # (N, 16 or 64, 32, 32)
        self.layer2 = self.stage(n, m1, m2, 2)  # (N, 32 or 128, 16, 16)
        self.layer3 = self.stage(n, m2, m3, 2)  # (N, 64 or 256, 8, 8)
        self.bn = nn.BatchNorm2d(m3)
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # (N, 64 or 256, 1, 1)
        self.linear = nn.Linear(m3, num_classes)
        for layer in weighted(self):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.zeros_(layer.bias)

    def stage(self, n: int, channels: int, maps: int, stride: int) -> nn.Sequential:
        """n blocks; the first changes the shape."""

        def block(channels: int, stride: int) -> PreActBlock:
            return PreActBlock(channels, maps, stride, self.option, bottleneck=self.bottleneck)

        return nn.Sequential(block(channels, stride), *(block(maps, 1) for _ in range(n - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, H, W)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = self.avgpool(self.bn(x, relu=True))
        return self.linear(F.flatten(x, 1))
