"""The twelve places where the lecture, or its source, is wrong, with the right value and why.

Design: an error names the rows of the ledger that are about it; its values are computed by the
functions of those rows, and the words round them.  ``SLIPS`` are smaller ones, as sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import alexnet, counts, inception, resnet, vgg
from .row import Numbers


@dataclass(frozen=True)
class Error:
    """What the lecture says, what is right, how it came about, and the rows of the ledger."""

    number: int
    line: str
    said: str
    right: str
    why: str
    rows: tuple[str, ...]
    compute: Callable[[], Numbers]


def nodes() -> Numbers:
    """The eight numbers, and what the paper prints for the first layer."""
    return alexnet.a2() | {"printed in the paper for layer 1": 253_440}


def linear() -> Numbers:
    """Parameters of AlexNet's parts, and their ratio."""
    ratios = {name: value for name, value in alexnet.a5().items() if name.endswith("ratio")}
    return {"convolutions": alexnet.a3()["two GPUs"], "linear": alexnet.a4()["sum"],
            "all": alexnet.a4()["all of the net"]} | ratios  # fmt: skip


def mixed() -> Numbers:
    """Shares of the linear layers in percent, and that of 122M in all of VGG-19."""
    total = counts.layers("vgg19").total("parameters")
    return inception.n2() | {"122M, % of VGG-19": 100 * 122e6 / total}


def three_times() -> Numbers:
    """Learning rates of AlexNet."""
    return alexnet.a23() | alexnet.a20()


ERRORS = (
    Error(1, "479", "an inception module with reductions costs 358M operations",
          "271.4M; it saves a factor of 3.15, not 2.39",
          "the six numbers printed add to 271.4M; 358M has the row of the 3x3 (86.7M) twice",
          ("N12",), inception.n12),
    Error(2, "295", "VGG-16 needs 24M values x 4 bytes = 96 MB an image",
          "15.2M values, 61 MB (58.1 MiB)",
          "the lecture's own rows add to 15.2M; the 24M are CS231n's, whose notes say 93 MB",
          ("V16",), vgg.v16),
    Error(3, "41", "AlexNet's nodes are 7 numbers", "8 layers have 8 numbers: 64,896 comes twice",
          "CONV4 is missing; the paper's own 253,440 for layer 1 does not follow from its sizes",
          ("A2",), nodes),
    Error(4, "42", "AlexNet's linear layers have 65M parameters, 30 times the convolutions'",
          "58.6M and 2.33M, 25 times; one column: 16 times",
          "65M is more than the whole net has; 2M is 2.33M, rounded down",
          ("A4", "A5"), linear),
    Error(5, "54-64", "AlexNet pools before it normalizes", "it normalizes before it pools",
          "the order of CaffeNet, a later replica, was drawn as AlexNet's", ("A7",), alexnet.a7),
    Error(6, "557", "ResNet's weight decay is 1e-5", "1e-4",
          "1e-5 is in a released definition of Network in network",
          ("R16",), resnet.r16),
    Error(7, "391", "VGG's linear layers have 122M parameters, 85 % of the net",
          "123.6M, 89.4 % of VGG-16 (86.1 % of VGG-19)",
          "122M is 85 % of VGG-19, whose linear layers are those of VGG-16; both have 123.6M",
          ("N2",), mixed),
    Error(8, "527", "equation 4.14: the inner sum starts at i = 1, for the unit that is drawn",
          "it starts at i = l, and holds for pre-activation units only",
          "with y = relu(F(x) + x) the ReLU after the sum is in every term",
          ("R9",), resnet.r9),
    Error(9, "523", "shortcuts solve vanishing gradients",
          "plain nets with batch norm have gradients that do not vanish",
          "the gradient grows towards the input there; shortcuts keep it even", ("R7",), resnet.r7),
    Error(10, "562", "1,202 layers without degrading",
          "less than 0.1 % training error, but 7.93 % test error against 6.43 % of 110 layers",
          "19.4M parameters are too many for 50,000 images: it overfits", ("R18",), resnet.r18),
    Error(11, "117, 120", "AlexNet was first to use ReLU; its learning rate fell to 1e-3",
          "the paper credits Nair and Hinton (2010) and Jarrett et al. (2009); it fell to 1e-5",
          "it showed ReLU at scale; the rate was divided by 10 three times",
          ("A20", "A23"), three_times),
    Error(12, "308-343", "box drawings: VGG-16 with two convolutions of 256 maps, AlexNet pooling "
          "after convolutions 2, 3 and 5", "three of them; after convolutions 1, 2 and 5",
          "the lecture's own table has 13 convolutions, the drawing 12", ("V13",), vgg.v13),
)  # fmt: skip

SLIPS = (
    "'Clarifi' is Clarifai (I4).",
    "150,000 test images are those of 2010; 100,000 from 2012 on (I3).",
    "15.3 % (2012) needs nets pre-trained on 22,000 classes, 16.4 % does not (I9).",
    "3.5 % and 3.6 % for ResNet are both 3.57 % (I10).",
    "'Every residual block has two 3x3' is true up to 34 layers and on CIFAR (R10).",
    "'FC removed' in ResNet: one linear layer with 1,000 outputs stays (R12).",
    "'2 to 3 times deeper than AlexNet' is 1.6 to 3.2 times (V2).",
    "'VGG did not choose 1x1': two nets C were among the seven of the challenge (V7).",
)
