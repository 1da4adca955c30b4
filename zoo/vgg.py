"""VGG (Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image
recognition"): 3x3 convolutions, 2x2 pooling, twice the maps after each pooling.

Design: the constructor reads a row of the paper's table 1: a number is a 3x3 convolution with so
many maps and a ReLU, "1x1:n" one with 1x1 windows, "LRN" a normalization, "M" a maximum pooling.

    name       table  weighted layers  parameters    with batch norm   multiply-adds
    vgg11      A                    11  132,863,336      132,868,840    7,609,090,048
    vgg11_lrn  A-LRN                11  132,863,336                -    7,609,090,048
    vgg13      B                    13  133,047,848      133,053,736   11,308,466,176
    vgg16c     C                    16  133,638,952      133,647,400   11,770,888,192
    vgg16      D                    16  138,357,544      138,365,992   15,470,264,320
    vgg19      E                    19  143,667,240      143,678,248   19,632,062,464

Heads: "fc" is the paper's (4096, 4096, classes) for 7x7 maps, 224x224 pixels; "cifar" one linear
layer on the 1x1 map that 32x32 pixels leave; "gap" the same after global average pooling, for any
image from 32x32.  ``score_map`` and ``DenseVGG`` are the paper's dense evaluation (section 3.2):
the linear layers of a net read as convolutions, 7x7 and 1x1, over an image of any size.

state_dict keys are torchvision's: features.i, classifier.{0,3,6}.

Differs from the paper
  * Weights start by Glorot's rule, which the authors recommend in hindsight (section 3.1); with
    ``init="normal"`` they are N(0, 0.1^2) as in their words, and ``start_from`` copies the first
    four convolutions and the linear layers of net A into a deeper net.
  * Batch norm, the heads "cifar" and "gap", and batch norm for C are not in the paper.
  * torchvision's variant averages to 7x7 maps, so it takes any image from 32x32, and starts from
    He's values (fan_out) and N(0, 0.01^2) for linear layers.
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad import Tensor, nn
from minigrad.errors import ArgError

from .alexnet import NORM
from .parts import BatchNormReLU, check_choice, check_exact, check_least, weighted

Row = tuple[int | str, ...]

TABLES: dict[str, Row] = {  # maps on 224, 112, 56, 28 and 14 pixels
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "A-LRN": (64, "LRN", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "C": (64, 64, "M", 128, 128, "M", 256, 256, "1x1:256", "M", 512, 512, "1x1:512", "M",
          512, 512, "1x1:512", "M"),
    "D": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "E": (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M",
          512, 512, 512, 512, "M"),
}  # fmt: skip
NATIVE, LEAST = 224, 32
SIZES = {"fc": NATIVE, "cifar": 32}  # what the heads take; "gap" takes all from LEAST


def body(row: Row, in_channels: int, *, batch_norm: bool) -> tuple[nn.Sequential, int]:
    """The convolutional part of a row of the table, and how many maps it ends with.

    Layers are numbered as torchvision does: a ReLU counts, a normalization of A-LRN does not.
    """
    layers: dict[str, nn.Module] = {}
    channels, place = in_channels, 0
    for item in row:
        if item == "M":
            layers[str(place)] = nn.MaxPool2d(2)  # half the pixels
            place += 1
        elif item == "LRN":
            layers["norm"] = nn.LocalResponseNorm(**NORM)
        else:
            size, maps = (1, int(item[4:])) if isinstance(item, str) else (3, item)
            layers[str(place)] = nn.Conv2d(channels, maps, size, padding=size // 2)
            if batch_norm:
                layers[str(place + 1)] = BatchNormReLU(maps)
            else:
                layers[str(place + 1)] = nn.ReLU()
            channels, place = maps, place + (3 if batch_norm else 2)
    return nn.Sequential(layers), channels


class VGG(nn.Module):
    """A net of the table for images (N, in_channels, H, W); logits (N, num_classes).

    row: a letter of ``TABLES``, or a row of one's own. num_classes: 1000, or 10 with the head
    "cifar", where not given. head: "fc" (224x224), "cifar" (32x32), "gap" (any from 32x32).
    hidden: width of the two hidden linear layers. init: "glorot" or "normal". Raises ArgError.
    """

    def __init__(
        self,
        row: str | Row,
        num_classes: int | None = None,
        in_channels: int = 3,
        *,
        batch_norm: bool = False,
        head: str = "fc",
        hidden: int = 4096,
        init: str = "glorot",
    ) -> None:
        super().__init__()
        check_choice("vgg", "head", head, ("fc", "cifar", "gap"))
        check_choice("vgg", "init", init, ("glorot", "normal"))
        if isinstance(row, str) and row not in TABLES:
            raise ArgError(f"vgg: {row!r} is not in the table; use {', '.join(TABLES)}")
        self.head = head
        classes = num_classes or (10 if head == "cifar" else 1000)
        table = TABLES[row] if isinstance(row, str) else row
        self.features, maps = body(table, in_channels, batch_norm=batch_norm)  # (N, 512, 7, 7)
        if head == "fc":
            self.classifier = nn.Sequential(
                nn.Linear(maps * 7 * 7, hidden),
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.Linear(hidden, classes),
            )
        else:
            if head == "gap":
                self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Linear(maps, classes))
        for layer in weighted(self):
            if init == "glorot":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.normal_(layer.weight, 0.0, 0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch. Raises ShapeError for images of a size that the head cannot take."""
        if self.head == "gap":
            check_least("vgg", x, LEAST)
            return self.classifier(F.flatten(self.avgpool(self.features(x)), 1))
        way_out = "resize them, or use head='gap', or variant='torchvision'"
        check_exact("vgg", x, SIZES[self.head], way_out)
        return self.classifier(F.flatten(self.features(x), 1))

    def score_map(self, x: Tensor) -> Tensor:
        """Logits at every place (N, num_classes, P, Q) of images (N, C, H, W) from 224x224.

        The weights of the first linear layer (O, C 7 7) are those of a 7x7 convolution, all others
        of 1x1 convolutions. Raises ArgError without the head "fc".
        """
        if self.head != "fc":
            raise ArgError(f"vgg: score_map needs the head 'fc', this net has {self.head!r}")
        check_least("vgg", x, NATIVE)
        x = self.features(x)  # (N, 512, H / 32, W / 32)
        size = 7
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                w = layer.weight.reshape((layer.out_features, x.shape[1], size, size))
                x, size = F.conv2d(x, w, layer.bias), 1
            else:
                x = layer(x)
        return x  # (N, num_classes, P, Q), P = H / 32 - 6


class DenseVGG(nn.Module):
    """A net with the head "fc" as a fully convolutional one: the mean of its score map.

    It holds the net itself, so both have the same weights. Images (N, C, H, W) from 224x224.
    """

    def __init__(self, net: VGG) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes), averaged over all places."""
        return self.net.score_map(x).mean(axis=(2, 3))


class VGGTorchvision(VGG):
    """torchvision's form: maps are averaged to 7x7, so images may have any size from 32x32."""

    def __init__(
        self,
        row: str | Row,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(row, num_classes, in_channels, batch_norm=batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        for layer in weighted(self):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch. Raises ShapeError for images smaller than 32x32."""
        check_least("vgg", x, LEAST)
        return self.classifier(F.flatten(self.avgpool(self.features(x)), 1))


def blocks(net: VGG) -> list[list[nn.Conv2d]]:
    """The convolutions between one pooling and the next."""
    found: list[list[nn.Conv2d]] = [[]]
    for layer in net.features:
        if isinstance(layer, nn.MaxPool2d):
            found.append([])
        elif isinstance(layer, nn.Conv2d):
            found[-1].append(layer)
    return found


def start_from(net: VGG, shallow: VGG) -> VGG:
    """Copy the first four convolutions and the linear layers of net A into `net`; returns `net`.

    The paper's way to start nets B to E (section 3.1); of each block the first convolutions fit.
    Raises ArgError, and copies nothing, where shapes differ.
    """
    pairs: list[tuple[nn.Module, nn.Module]] = []
    for ours, theirs in zip(blocks(net), blocks(shallow), strict=True):
        pairs += zip(ours, theirs, strict=False)
    pairs = pairs[:4]
    pairs += zip(net.classifier, shallow.classifier, strict=True)
    for a, b in pairs:
        shapes = [[p.shape for p in layer.parameters()] for layer in (a, b)]
        if shapes[0] != shapes[1]:
            raise ArgError(f"start_from: a layer has shapes {shapes[1]}, here it has {shapes[0]}")
    for a, b in pairs:
        a.load_state_dict(b.state_dict())
    return net
