"""Which networks there are, by name.

Design: a table from names to builders.  ``get_model`` is the only door; it knows what the user may
have meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from minigrad import nn
from minigrad.errors import ArgError

from .lenet import LeNet
from .resnet_cifar import ResNetCifar


@dataclass(frozen=True)
class Entry:
    """One network: how to build it, its native image (channels, height, width), its source."""

    build: Callable[..., nn.Module]
    image: tuple[int, int, int]
    source: str
    options: tuple[str, ...] = ()
    any_size: bool = True  # False: the net takes images of its native size only


def cifar_entry(depth: int, residual: bool) -> Entry:
    """A 6n + 2 net; residual ones take the option ``shortcut``."""

    def build(num_classes: int, in_channels: int, **options: Any) -> nn.Module:
        shortcut = options.get("shortcut", "A") if residual else None
        return ResNetCifar(depth, num_classes, in_channels, shortcut)

    return Entry(
        build, (3, 32, 32), "He et al. 2015, section 4.2", ("shortcut",) if residual else ()
    )


def build_lenet(num_classes: int, in_channels: int) -> nn.Module:
    """LeNet-5."""
    return LeNet(num_classes, in_channels)


DEPTHS = (20, 32, 44, 56, 110, 1202)

MODELS: dict[str, Entry] = {
    "lenet": Entry(build_lenet, (1, 28, 28), "LeCun et al. 1998, fig. 2", any_size=False),
    **{f"plain{depth}": cifar_entry(depth, False) for depth in DEPTHS},
    **{f"resnet{depth}": cifar_entry(depth, True) for depth in DEPTHS},
}


def list_models(filter: str = "*") -> list[str]:
    """Names of the networks that match a pattern such as ``"resnet*"``."""
    return [name for name in MODELS if fnmatch(name, filter)]


def entry(name: str) -> Entry:
    """The entry of a name. Raises ArgError that lists what there is and what may be meant."""
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ArgError(f"unknown model {name!r}; {hint}available: {', '.join(MODELS)}")
    return MODELS[name]


def get_model(
    name: str,
    num_classes: int = 10,
    variant: str | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> nn.Module:
    """Build a network by name, with fresh parameters from minigrad's generator.

    variant: "paper" (the default) is the only one for the nets of today. in_channels: channels of
    the images (the net's own by default). options: ``shortcut="A"|"B"|"C"`` for residual nets.
    Raises ArgError for an unknown name, option or class count.

    >>> sum(p.size for p in get_model("resnet20").parameters())
    269722
    """
    found = entry(name)
    if variant not in (None, "paper"):
        raise ArgError(f"{name}: variant {variant!r} is unknown; use 'paper'")
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ArgError(f"{name}: num_classes must be a positive integer, got {num_classes!r}")
    strange = [o for o in options if o not in found.options]
    if strange:
        known = ", ".join(found.options) or "none"
        raise ArgError(f"{name}: option {strange[0]!r} is unknown; known options: {known}")
    channels = found.image[0] if in_channels is None else in_channels
    return found.build(num_classes, channels, **options)
