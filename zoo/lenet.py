"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition", fig. 2).

Design: the constructor is the figure, a line a layer, the shape beside it.  61,706 parameters for a
one-channel image and 10 classes.

Differs from the paper
  * C3 is connected to all six maps of S2 (the paper leaves out some connections, table I).
  * Subsampling is plain averaging (the paper trains a coefficient and a bias per map).
  * The output is a linear layer with softmax cross-entropy (the paper: radial basis functions).
  * Images are 28x28, padded by 2 in C1 (the paper pads the data to 32x32).
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad import Tensor, nn

from .parts import check_exact


class LeNet(nn.Module):
    """LeNet-5 for images (N, in_channels, 28, 28); returns logits (N, num_classes)."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=2)  # (N, 6, 28, 28)
        self.s2 = nn.AvgPool2d(2)  # (N, 6, 14, 14)
        self.c3 = nn.Conv2d(6, 16, 5)  # (N, 16, 10, 10)
        self.s4 = nn.AvgPool2d(2)  # (N, 16, 5, 5)
        self.c5 = nn.Linear(16 * 5 * 5, 120)  # a convolution over the whole 5x5 map
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch. Raises ShapeError for images that are not 28x28."""
        check_exact("lenet", x, 28, "resize them")
        x = self.s2(self.c1(x), tanh=True)  # the maps are squashed on the way
        x = self.s4(self.c3(x), tanh=True)
        x = F.tanh(self.c5(F.flatten(x, 1)))
        x = F.tanh(self.f6(x))
        return self.output(x)


def lenet(num_classes: int = 10, in_channels: int = 1) -> LeNet:
    """LeNet-5: 61,706 parameters with the defaults."""
    return LeNet(num_classes, in_channels)
