"""GoogLeNet (Szegedy et al. 2014, "Going deeper with convolutions"): 22 weighted layers of which
nine pairs are Inception modules, four branches side by side.

Design: ``Inception(in, n1, r3, n3, r5, n5, pp)`` takes a row of the paper's table 1: maps of the
1x1 branch, of the reduction before the 3x3 and of the 3x3, the same for the 5x5, and of the
projection behind the pooling.  ``NaiveInception`` is figure 2(a), without reductions.

    form          parameters    with auxiliary heads    multiply-adds
    paper          6,998,552              13,378,280    1,582,671,872
    with BN        7,005,832              13,385,816    1,582,671,872
    torchvision    6,624,904              13,004,888    1,498,376,192

The two auxiliary heads stand on 4a and 4d.  In training forward returns ``Outputs(logits, aux1,
aux2)`` and ``googlenet_loss`` weighs them: L + 0.3 L1 + 0.3 L2; in evaluation they do not run and
forward returns logits.  state_dict keys are torchvision's.

Differs from the paper
  * Layers that the paper leaves open are those of BVLC's definition: pooling rounds up,
    normalization has alpha 1e-4 (divided by 5) and k = 1, weights are uniform on
    +-sqrt(3 / fan_in), biases 0.2 (0 in the last layer of a head).
  * The 7x7 average is global, and where maps are not 14x14 the auxiliary heads average to 4x4 by
    bins, so any image from 31x31 will do.
  * Batch norm (after every convolution, no normalization across channels) is of 2015.
  * torchvision's form: batch norm with eps 1e-3, the "5x5" windows are 3x3, pooling 2x2 before 5a,
    dropout 0.2, auxiliary heads average to 4x4, weights from N(0, 0.01^2) cut at two deviations;
    aux1 stands on 4a (torchvision's outputs were swapped until 2024).  ``transform_input`` turns
    images normalized as for other nets into what its published weights expect.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import Tensor, nn
from minigrad.errors import ArgError

from .parts import check_choice, check_least, weighted

LEAST, TORCHVISION_LEAST = 31, 15
AUX_WEIGHT = 0.3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB on [0, 1]


class Outputs(NamedTuple):
    """What forward returns in training: logits of the net and of its auxiliary heads."""

    logits: Tensor
    aux1: Tensor
    aux2: Tensor


def googlenet_loss(output: Outputs | Tensor, labels: Tensor) -> Tensor:
    """L + 0.3 L1 + 0.3 L2 (section 5), each a cross-entropy; plain L for logits alone."""
    if not isinstance(output, Outputs):
        return F.cross_entropy(output, labels)
    main, first, second = (F.cross_entropy(logits, labels) for logits in output)
    return main + AUX_WEIGHT * first + AUX_WEIGHT * second


class BasicConv(nn.Module):
    """Convolution and ReLU; with batch norm in between, and then without bias."""

    def __init__(
        self, channels: int, maps: int, kernel: int, *, stride: int = 1, batch_norm: bool = False
    ) -> None:
        super().__init__()
        padding = kernel // 2  # (N, maps, ceil(H / stride), ceil(W / stride))
        self.conv = nn.Conv2d(channels, maps, kernel, stride, padding, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(maps, eps=1e-3) if batch_norm else None

    @nn.conv_norm_relu("conv", "bn")
    @nn.takes_relu
    def forward(self, x: Tensor, *, relu: bool = True) -> Tensor:
        """relu(bn(x * w)) or relu(x * w + b)."""
        if self.bn is None:
            return self.conv(x, relu=relu)
        return nn.conv_norm(self.conv, self.bn, x, relu=relu)


class Inception(nn.Module):
    """Four branches, their maps side by side: (N, C, H, W) -> (N, n1 + n3 + n5 + pp, H, W).

    1x1; 1x1 and 3x3; 1x1 and 5x5 (kernel5: or 3x3); 3x3 maximum pooling and 1x1.
    """

    def __init__(
        self,
        in_channels: int,
        n1: int,
        r3: int,
        n3: int,
        r5: int,
        n5: int,
        pp: int,
        *,
        batch_norm: bool = False,
        kernel5: int = 5,
    ) -> None:
        super().__init__()

        def conv(channels: int, maps: int, kernel: int) -> BasicConv:
            return BasicConv(channels, maps, kernel, batch_norm=batch_norm)

        self.branch1 = conv(in_channels, n1, 1)
        self.branch2 = nn.Sequential(conv(in_channels, r3, 1), conv(r3, n3, 3))
        self.branch3 = nn.Sequential(conv(in_channels, r5, 1), conv(r5, n5, kernel5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(in_channels, pp, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The four branches of x, concatenated."""
        return nn.concat_branches(x, *self.children())


class NaiveInception(nn.Module):
    """Figure 2(a): (N, C, H, W) -> (N, n1 + n3 + n5 + C, H, W); depth can only grow."""

    def __init__(self, in_channels: int, n1: int, n3: int, n5: int) -> None:
        super().__init__()
        self.branch1 = BasicConv(in_channels, n1, 1)
        self.branch2 = BasicConv(in_channels, n3, 3)
        self.branch3 = BasicConv(in_channels, n5, 5)
        self.branch4 = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The four branches of x, concatenated."""
        return nn.concat_branches(x, *self.children())


class AuxiliaryHead(nn.Module):
    """A classifier on (N, C, 14, 14) maps, for training only; logits (N, num_classes)."""

    def __init__(
        self, channels: int, num_classes: int, *, batch_norm: bool = False, adaptive: bool = False
    ) -> None:
        super().__init__()
        self.pool, self.adaptive = nn.AvgPool2d(5, 3), adaptive  # (N, C, 4, 4)
        self.conv = BasicConv(channels, 128, 1, batch_norm=batch_norm)  # (N, 128, 4, 4)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        own = x.shape[2:] == (14, 14) and not self.adaptive
        x = self.pool(x) if own else F.adaptive_avg_pool2d(x, 4)
        x = F.flatten(self.conv(x), 1)  # (N, 2048)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """The net of table 1 for images (N, in_channels, 224, 224).

    In training with aux ``Outputs``, else logits (N, num_classes). aux: build the auxiliary heads.
    torchvision, batch_norm: which form; torchvision's has batch norm. Raises ArgError.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        aux: bool = True,
        batch_norm: bool = False,
        torchvision: bool = False,
        transform_input: bool = False,
    ) -> None:
        super().__init__()
        for option, value in (("aux", aux), ("transform_input", transform_input)):
            check_choice("googlenet", option, value, (True, False))
        if transform_input and in_channels != len(MEAN):
            raise ArgError(f"googlenet: transform_input is for RGB, not {in_channels} channels")
        bn = batch_norm or torchvision
        conv = partial(BasicConv, batch_norm=bn)
        module = partial(Inception, batch_norm=bn, kernel5=3 if torchvision else 5)
        head = partial(AuxiliaryHead, num_classes=num_classes, batch_norm=bn, adaptive=torchvision)
        norm = nn.Identity if bn else partial(nn.LocalResponseNorm, 5)
        self.torchvision, self.transform_input = torchvision, transform_input
        self.conv1 = conv(in_channels, 64, 7, stride=2)  # (N, 64, 112, 112)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)  # (N, 64, 56, 56)
        self.norm1 = norm()
        self.conv2 = conv(64, 64, 1)  # (N, 64, 56, 56)
        self.conv3 = conv(64, 192, 3)  # (N, 192, 56, 56)
        self.norm2 = norm()
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)  # (N, 192, 28, 28)
        self.inception3a = module(192, 64, 96, 128, 16, 32, 32)  # (N, 256, 28, 28)
        self.inception3b = module(256, 128, 128, 192, 32, 96, 64)  # (N, 480, 28, 28)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)  # (N, 480, 14, 14)
        self.inception4a = module(480, 192, 96, 208, 16, 48, 64)  # (N, 512, 14, 14)
        self.aux1 = head(512) if aux else None
        self.inception4b = module(512, 160, 112, 224, 24, 64, 64)  # (N, 512, 14, 14)
        self.inception4c = module(512, 128, 128, 256, 24, 64, 64)  # (N, 512, 14, 14)
        self.inception4d = module(512, 112, 144, 288, 32, 64, 64)  # (N, 528, 14, 14)
        self.aux2 = head(528) if aux else None
        self.inception4e = module(528, 256, 160, 320, 32, 128, 128)  # (N, 832, 14, 14)
        self.maxpool4 = nn.MaxPool2d(2 if torchvision else 3, 2, ceil_mode=True)  # (N, 832, 7, 7)
        self.inception5a = module(832, 256, 160, 320, 32, 128, 128)  # (N, 832, 7, 7)
        self.inception5b = module(832, 384, 192, 384, 48, 128, 128)  # (N, 1024, 7, 7)
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # (N, 1024, 1, 1)
        self.dropout = nn.Dropout(0.2 if torchvision else 0.4)
        self.fc = nn.Linear(1024, num_classes)
        self.start()

    def start(self) -> None:
        """Starting values of BVLC's definition, or of torchvision."""
        classifiers = [self.fc, *(aux.fc2 for aux in (self.aux1, self.aux2) if aux is not None)]
        for layer in weighted(self):
            if self.torchvision:
                nn.init.trunc_normal_(layer.weight, 0.0, 0.01, -0.02, 0.02)
                continue
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.0 if layer in classifiers else 0.2)

    def forward(self, x: Tensor) -> Tensor | Outputs:
        """Logits of a batch (N, C, H, W), in training with those of the auxiliary heads.

        Raises ShapeError for images that are too small.
        """
        aux1, aux2 = (self.aux1, self.aux2) if self.training else (None, None)
        check_least("googlenet", x, TORCHVISION_LEAST if self.torchvision else LEAST)
        if self.transform_input:
            x = as_published(x)
        x = self.norm1(nn.Sequential(self.conv1, self.maxpool1)(x))  # the ReLU is done by the pool
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x4a = self.inception4a(x)
        x4d = self.inception4d(self.inception4c(self.inception4b(x4a)))
        x = self.maxpool4(self.inception4e(x4d))
        x = self.avgpool(self.inception5b(self.inception5a(x)))
        logits = self.fc(self.dropout(F.flatten(x, 1)))
        if aux1 is None or aux2 is None:
            return logits
        return Outputs(logits, aux1(x4a), aux2(x4d))


def as_published(x: Tensor) -> Tensor:
    """Images with ImageNet's mean 0 and deviation 1 as images on [-1, 1], channel by channel."""
    mean, std = (np.array(v, x.dtype).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return x * mg.from_numpy(std / 0.5) + mg.from_numpy((mean - 0.5) / 0.5)
