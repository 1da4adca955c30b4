"""AlexNet (Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional
neural networks"): five convolutions and three linear layers.

Design: the constructor is the paper's table (section 3.5), the shape after each line.  One class
makes three nets, which differ in two switches; torchvision's net has another table.

    name              groups   order              parameters    multiply-adds
    alexnet              1     LRN, then pool     62,378,344    1,135,256,096   the lecture's
    alexnet_grouped      2     LRN, then pool     60,965,224      724,406,816   the paper's
    caffenet             2     pool, then LRN     60,965,224      724,406,816   BVLC's CaffeNet
    torchvision          1     no LRN             61,100,840      714,188,480   at 224x224

``groups=2`` is the paper's pair of GPUs: convolutions 2, 4 and 5 see half of the maps each, 3 and
the linear layers see all.  state_dict keys are torchvision's: features.{0,3,6,8,10},
classifier.{1,4,6}.

Local response normalization (section 3.3): b = a / (k + alpha sum of a^2 over n = 5 channels)^beta
with k = 2, alpha = 1e-4, beta = 0.75.  Caffe, PyTorch and minigrad divide alpha by n, so the
paper's alpha is 5e-4 here; CaffeNet has alpha = 1e-4 and k = 1 in that convention.

Differs from the paper
  * Images are 227x227: with the paper's 224 the windows of the first layer do not fit.
  * ``alexnet`` has no groups: 96, 256, 384, 384, 256 maps in one column.
  * Dropout scales in training, not in testing.
  * CaffeNet starts from BVLC's values (bias 0.1, deviation 0.005 in the first two linear layers).
  * torchvision's net is that of "One weird trick" (2014): 64, 192, 384, 256, 256 maps, padding 2 in
    the first layer, dropout before the linear layers, PyTorch's starting values.
"""

from __future__ import annotations

from typing import Any

import minigrad.functional as F
from minigrad import Tensor, nn

from .parts import check_choice, check_exact, check_least, weighted

NORM: dict[str, Any] = {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}  # alpha n
CAFFE_NORM: dict[str, Any] = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}
NATIVE = 227
LEAST = 63  # torchvision's net: a smaller image leaves nothing for the last pooling


class AlexNet(nn.Module):
    """The net of the paper for images (N, in_channels, 227, 227); logits (N, num_classes).

    groups: 1 (one column) or 2 (two GPUs). caffe: CaffeNet's order, normalization and start.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        groups: int = 1,
        caffe: bool = False,
    ) -> None:
        super().__init__()
        check_choice("alexnet", "groups", groups, (1, 2))
        self.features = nn.Sequential(
            {
                "0": nn.Conv2d(in_channels, 96, 11, stride=4),  # (N, 96, 55, 55)
                "1": nn.ReLU(),
                **self.norm_and_pool("norm1", "2", caffe=caffe),  # (N, 96, 27, 27)
                "3": nn.Conv2d(96, 256, 5, padding=2, groups=groups),  # (N, 256, 27, 27)
                "4": nn.ReLU(),
                **self.norm_and_pool("norm2", "5", caffe=caffe),  # (N, 256, 13, 13)
                "6": nn.Conv2d(256, 384, 3, padding=1),  # (N, 384, 13, 13)
                "7": nn.ReLU(),
                "8": nn.Conv2d(384, 384, 3, padding=1, groups=groups),  # (N, 384, 13, 13)
                "9": nn.ReLU(),
                "10": nn.Conv2d(384, 256, 3, padding=1, groups=groups),  # (N, 256, 13, 13)
                "11": nn.ReLU(),
                "12": nn.MaxPool2d(3, 2),  # (N, 256, 6, 6)
            }
        )
        self.classifier = nn.Sequential(
            {
                "1": nn.Linear(256 * 6 * 6, 4096),
                "2": nn.ReLU(),
                "3": nn.Dropout(0.5),
                "4": nn.Linear(4096, 4096),
                "5": nn.ReLU(),
                "dropout": nn.Dropout(0.5),
                "6": nn.Linear(4096, num_classes),
            }
        )
        self.start(caffe=caffe)

    @staticmethod
    def norm_and_pool(norm: str, pool: str, *, caffe: bool) -> dict[str, nn.Module]:
        """Normalization and overlapping 3x3/2 pooling; CaffeNet pools first."""
        lrn = nn.LocalResponseNorm(**(CAFFE_NORM if caffe else NORM))
        both: dict[str, nn.Module] = {norm: lrn, pool: nn.MaxPool2d(3, 2)}
        return dict(reversed(both.items())) if caffe else both

    def start(self, *, caffe: bool) -> None:
        """Section 5: weights N(0, 0.01^2); biases 1 in layers 2, 4, 5, 6 and 7, where they give the
        ReLUs positive input at first, else 0."""
        convs = dict(self.features.named_children())
        linears = dict(self.classifier.named_children())
        lifted = [convs["3"], convs["8"], convs["10"], linears["1"], linears["4"]]
        for layer in weighted(self):
            narrow = caffe and layer in (linears["1"], linears["4"])
            nn.init.normal_(layer.weight, 0.0, 0.005 if narrow else 0.01)
            nn.init.constant_(layer.bias, (0.1 if caffe else 1.0) if layer in lifted else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch (N, C, 227, 227). Raises ShapeError for another size."""
        check_exact("alexnet", x, NATIVE, "resize them, or use variant='torchvision'")
        return self.classifier(F.flatten(self.features(x), 1))


class AlexNetTorchvision(nn.Module):
    """torchvision's net for images (N, in_channels, H, W), 224x224 or from 63x63; logits."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),  # (N, 64, 55, 55)
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # (N, 64, 27, 27)
            nn.Conv2d(64, 192, 5, padding=2),  # (N, 192, 27, 27)
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # (N, 192, 13, 13)
            nn.Conv2d(192, 384, 3, padding=1),  # (N, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),  # (N, 256, 13, 13)
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),  # (N, 256, 13, 13)
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # (N, 256, 6, 6)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)  # (N, 256, 6, 6) for any size of image
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch. Raises ShapeError for images smaller than 63x63."""
        check_least("alexnet", x, LEAST)
        return self.classifier(F.flatten(self.avgpool(self.features(x)), 1))
