"""The CIFAR networks of the residual-learning paper (He et al. 2015, section 4.2): 6n + 2 layers.

Design: the constructor is the paper's table: a 3x3 convolution, three stages of n blocks with
{16, 32, 64} filters on {32, 16, 8}-pixel maps, global average pooling, one linear layer.  The plain
nets are the same without the shortcuts, so both have identical parameters (option A).

    depth      20       32       44       56        110         1202
    n           3        5        7        9         18          200
    A     269,722  464,154  658,586  853,018  1,727,962   19,421,274   parameters
    B     272,474  466,906  661,338  855,770  1,730,714   19,424,026
    C     283,962  489,594  695,226  900,858  1,826,202   20,538,714

Shortcuts where the shape changes (section 3.3): A identity with zero padding, B a 1x1 convolution
there only, C a 1x1 convolution at every block.  state_dict keys are those of the published weights
(conv1, bn1, layer1.0.conv1, ..., linear; shortcut.0, shortcut.1).

Differs from the paper
  * The zero padding of option A is centered (half the new channels before, half after), as in the
    published weights; the paper does not say.
  * Maps that are not 32x32 work too: each stage halves, rounding up.
"""

from __future__ import annotations

from typing import Literal

import minigrad.functional as F
from minigrad import Tensor, nn
from minigrad.errors import ArgError

Shortcut = Literal["A", "B", "C"]


class PadShortcut(nn.Module):
    """Option A: every second pixel, and zeros for the channels that are new."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + new, ceil(H / stride), ceil(W / stride))."""
        before = self.new_channels // 2
        after = self.new_channels - before
        thinned = x[:, :, :: self.stride, :: self.stride]
        return F.pad(thinned, (0, 0, 0, 0, before, after))


def shortcut_for(option: Shortcut, channels: int, filters: int, stride: int) -> nn.Module:
    """The path around a block; the identity wherever shapes and option allow."""
    changes = stride != 1 or channels != filters
    if option == "C" or (option == "B" and changes):
        return nn.Sequential(
            nn.Conv2d(channels, filters, 1, stride=stride, bias=False),
            nn.BatchNorm2d(filters),
        )
    return PadShortcut(filters - channels, stride) if changes else nn.Identity()


class Block(nn.Module):
    """Two 3x3 convolutions, batch norm after each; y = relu(F(x) + shortcut(x)).

    A plain block (shortcut None) is y = relu(F(x)).
    """

    def __init__(self, channels: int, filters: int, stride: int, option: Shortcut | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        if option is None:
            self.shortcut = None
        else:
            self.shortcut = shortcut_for(option, channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)); the sums and ReLUs ride in bn."""
        y = nn.conv_norm(self.conv1, self.bn1, x, relu=True)
        residual = None if self.shortcut is None else self.shortcut(x)
        return nn.conv_norm(self.conv2, self.bn2, y, residual, relu=True)


class ResNetCifar(nn.Module):
    """Plain or residual net of 6n + 2 weighted layers; logits (N, num_classes).

    depth: 6n + 2. shortcut: "A", "B", "C", or None for the plain net. Raises ArgError.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        shortcut: Shortcut | None = "A",
    ) -> None:
        super().__init__()
        n, rest = divmod(depth - 2, 6)
        if rest or n < 1:
            raise ArgError(f"depth {depth} is not 6n + 2 (20, 32, 44, 56, 110, 1202, ...)")
        if shortcut not in ("A", "B", "C", None):
            raise ArgError(f"shortcut {shortcut!r} is unknown; use 'A', 'B' or 'C'")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)  # (N, 16, 32, 32)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.stage(n, 16, 16, 1, shortcut)  # (N, 16, 32, 32)
        self.layer2 = self.stage(n, 16, 32, 2, shortcut)  # (N, 32, 16, 16)
        self.layer3 = self.stage(n, 32, 64, 2, shortcut)  # (N, 64, 8, 8)
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # (N, 64, 1, 1)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():  # He et al. 2015b: std = sqrt(2 / fan_in)
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def stage(
        n: int, channels: int, filters: int, stride: int, shortcut: Shortcut | None
    ) -> nn.Sequential:
        """n blocks; the first changes the shape."""
        first = Block(channels, filters, stride, shortcut)
        return nn.Sequential(first, *(Block(filters, filters, 1, shortcut) for _ in range(n - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, H, W)."""
        x = nn.conv_norm(self.conv1, self.bn1, x, relu=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.flatten(self.avgpool(x), 1))
