"""Which networks there are, by name.

Design: a table from names to entries; an entry knows how to build its net, the net's own image and
source, and torchvision's form of it where there is one.  ``get_model`` is the only door; it knows
what the user may have meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Any

from minigrad import nn
from minigrad.errors import ArgError

from . import alexnet, googlenet, nin, vgg
from .lenet import LeNet
from .resnet import TABLE, Bottleneck, ResNet
from .resnet_cifar import ResNetCifar
from .resnet_preact import PreActResNet

Image = tuple[int, int, int]


@dataclass(frozen=True)
class Entry:
    """One network: how to build it, its native image (channels, height, width), its source."""

    build: Callable[..., nn.Module]  # takes num_classes (optional), in_channels, and the options
    image: Image
    source: str
    options: tuple[str, ...] = ()
    any_size: bool = True  # False: the net takes images of its native size only
    least: int = 1  # pixels, where it takes any size
    torchvision: Entry | None = None  # the form that torchvision's weights fit


MOST = 1 << 15  # pixels of a side; far more than memory holds
MANY = 1 << 31  # classes, or channels of images
SMALL, LARGE, FIT = (3, 32, 32), (3, 224, 224), (3, 227, 227)
KRIZHEVSKY = "Krizhevsky et al. 2012, section 3.5"
SIMONYAN = "Simonyan and Zisserman 2014, table 1"
HE_CIFAR = "He et al. 2015, section 4.2"
HE_PREACT = "He et al. 2016"


def alexnet_entries() -> dict[str, Entry]:
    """One column, two, and CaffeNet."""
    build, torchvision = alexnet.AlexNet, alexnet.AlexNetTorchvision
    theirs = Entry(torchvision, LARGE, "torchvision; Krizhevsky 2014", least=alexnet.LEAST)
    bvlc = "BVLC Caffe, reference CaffeNet"
    return {
        "alexnet": Entry(build, FIT, KRIZHEVSKY, any_size=False, torchvision=theirs),
        "alexnet_grouped": Entry(partial(build, groups=2), FIT, KRIZHEVSKY, any_size=False),
        "caffenet": Entry(partial(build, groups=2, caffe=True), FIT, bvlc, any_size=False),
    }


def vgg_entry(row: str, *, batch_norm: bool = False, published: bool = True) -> Entry:
    """A row of VGG's table."""
    theirs = partial(vgg.VGGTorchvision, row, batch_norm=batch_norm)
    return Entry(
        partial(vgg.VGG, row, batch_norm=batch_norm), LARGE, f"{SIMONYAN}, {row}",
        ("head", "init"), any_size=False,
        torchvision=Entry(theirs, LARGE, "torchvision", least=vgg.LEAST) if published else None,
    )  # fmt: skip


def vgg_entries() -> dict[str, Entry]:
    """A to E, with and without batch norm."""
    rows = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
    return {
        **{name: vgg_entry(row) for name, row in rows.items()},
        **{f"{name}_bn": vgg_entry(row, batch_norm=True) for name, row in rows.items()},
        "vgg11_lrn": vgg_entry("A-LRN", published=False),
        "vgg16c": vgg_entry("C", published=False),
        "vgg16c_bn": vgg_entry("C", batch_norm=True, published=False),
    }


def nin_entries() -> dict[str, Entry]:
    """Network in network."""
    lin = "Lin et al. 2014, the authors' definition"
    small, large = nin.NiNCifar10, nin.NiNImageNet
    return {
        "nin_cifar10": Entry(small, SMALL, lin, ("pool2",), least=nin.CIFAR_LEAST),
        "nin_imagenet": Entry(large, FIT, lin, least=nin.IMAGENET_LEAST),
    }


def googlenet_entries() -> dict[str, Entry]:
    """The paper's form, with batch norm, torchvision's."""
    paper, build, least = "Szegedy et al. 2014, table 1", googlenet.GoogLeNet, googlenet.LEAST
    theirs = Entry(
        partial(build, torchvision=True), LARGE, "torchvision", ("aux", "transform_input"),
        least=googlenet.TORCHVISION_LEAST,
    )  # fmt: skip
    with_bn = partial(build, batch_norm=True)
    return {
        "googlenet": Entry(build, LARGE, paper, ("aux",), least=least, torchvision=theirs),
        "googlenet_bn": Entry(with_bn, LARGE, f"{paper}, with BN", ("aux",), least=least),
    }


def resnet_entries() -> dict[str, Entry]:
    """ImageNet's residual nets, and the plain ones of 18 and 34 layers."""
    he = "He et al. 2015, table 1"
    found = {}
    for depth, (block, _) in TABLE.items():
        where = ("stride_on",) if block is Bottleneck else ()  # a basic block has no choice
        options = ("shortcut", *where, "zero_init_residual")
        theirs = partial(ResNet, depth, stride_on="3x3", torchvision=True)
        found[f"resnet{depth}"] = Entry(
            partial(ResNet, depth), LARGE, he, options,
            torchvision=Entry(theirs, LARGE, "torchvision", ("zero_init_residual",)),
        )  # fmt: skip
    for depth in (18, 34):
        found[f"plain{depth}"] = Entry(partial(ResNet, depth, shortcut=None), LARGE, he)
    return found


def cifar_entries() -> dict[str, Entry]:
    """The 6n + 2 nets: plain, residual, pre-activation; 9n + 2 pre-activation bottlenecks."""
    depths = (20, 32, 44, 56, 110, 1202)
    plain = partial(ResNetCifar, shortcut=None)
    preact = {depth: partial(PreActResNet, depth) for depth in depths[:-1]}
    preact |= {depth: partial(PreActResNet, depth, bottleneck=True) for depth in (164, 1001)}
    options = ("shortcut",)
    return {
        **{f"plain{d}": Entry(partial(plain, d), SMALL, HE_CIFAR) for d in depths},
        **{f"resnet{d}": Entry(partial(ResNetCifar, d), SMALL, HE_CIFAR, options) for d in depths},
        **{f"preact_resnet{d}": Entry(b, SMALL, HE_PREACT, options) for d, b in preact.items()},
    }


MODELS: dict[str, Entry] = {
    "lenet": Entry(LeNet, (1, 28, 28), "LeCun et al. 1998, fig. 2", any_size=False),
    **alexnet_entries(),
    **vgg_entries(),
    **nin_entries(),
    **googlenet_entries(),
    **resnet_entries(),
    **cifar_entries(),
}


def list_models(filter: str = "*") -> list[str]:
    """Names of the networks that match a pattern such as ``"resnet*"``."""
    return [name for name in MODELS if fnmatch(name, filter)]


def entry(name: str, variant: str | None = None) -> Entry:
    """The entry of a name. Raises ArgError that lists what there is and what may be meant."""
    if not isinstance(name, str) or name not in MODELS:
        close = difflib.get_close_matches(str(name), MODELS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ArgError(f"unknown model {name!r}; {hint}available: {', '.join(MODELS)}")
    found = MODELS[name]
    if variant in (None, "paper"):
        return found
    if variant == "torchvision" and found.torchvision is not None:
        return found.torchvision
    known = "'paper'" if found.torchvision is None else "'paper' or 'torchvision'"
    raise ArgError(f"{name}: variant {variant!r} is unknown; use {known}")


def image_of(name: str, variant: str | None = None, size: int | None = None) -> Image:
    """(channels, height, width) of a net's own image, or of one of `size` pixels.

    Raises ArgError where the net cannot take that size.
    """
    found = entry(name, variant)
    channels, height, _ = found.image
    if size is None or size == height:
        return found.image
    if not found.any_size:
        raise ArgError(f"{name}: takes images of {height}x{height} pixels, not {size}x{size}")
    if size < found.least:
        least = f"{found.least}x{found.least}"
        raise ArgError(f"{name}: takes images of at least {least} pixels, not {size}x{size}")
    if size > MOST:
        raise ArgError(f"{name}: an image of {size}x{size} pixels; the most is {MOST}x{MOST}")
    return channels, size, size


def get_model(
    name: str,
    num_classes: int | None = None,
    variant: str | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> nn.Module:
    """Build a network by name, with fresh parameters from minigrad's generator.

    num_classes: the net's own by default (10 for small images, 1000 for ImageNet's). variant:
    "paper" (the default) or "torchvision". in_channels: channels of the images (the net's own by
    default). options: those of ``entry(name).options``, for example ``shortcut="A"|"B"|"C"`` of
    residual nets, ``aux=True|False`` of GoogLeNet, ``head="fc"|"cifar"|"gap"`` of VGG.
    Raises ArgError for an unknown name, variant or option, or a count that makes no sense.

    >>> sum(p.size for p in get_model("resnet20").parameters())
    269722
    """
    found = entry(name, variant)
    settings = {"in_channels": found.image[0]}
    for setting, count in (("num_classes", num_classes), ("in_channels", in_channels)):
        if count is not None:
            if type(count) is not int or not 1 <= count < MANY:
                raise ArgError(f"{name}: {setting} must be a positive integer, got {count!r}")
            settings[setting] = count
    strange = [o for o in options if o not in found.options]
    if strange:
        known = ", ".join(found.options) or "none"
        raise ArgError(f"{name}: option {strange[0]!r} is unknown; known options: {known}")
    return found.build(**settings, **options)
