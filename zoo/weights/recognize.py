"""Which net of the zoo a state_dict belongs to, from names and shapes.

Design: every net of the zoo is built without memory (``nn.meta``, half a second for all, once) and
its names and shapes are compared; only the number of classes and the channels of the images may be
others.  It serves error messages and the command line; what loads is decided by the net itself.
Nets with the same names and shapes cannot be told apart: CaffeNet is called ``alexnet_grouped``, a
plain net the residual one of option A, VGG A-LRN ``vgg11``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from numpy.typing import NDArray

from minigrad import nn

from ..registry import MODELS, entry, get_model
from .key_maps import COUNTER

Shapes = dict[str, tuple[int, ...]]

CHOICES: dict[str, tuple[Any, ...]] = {  # options that change names or shapes
    "shortcut": ("A", "B", "C"),
    "aux": (True, False),
    "head": ("fc", "gap"),
}


class Known(NamedTuple):
    """What ``zoo.get_model`` needs to build the net."""

    name: str
    num_classes: int
    variant: str | None
    in_channels: int
    options: dict[str, Any]

    def __str__(self) -> str:
        """The call, as one would type it."""
        more = [f"num_classes={self.num_classes}"]
        more += [f"variant={self.variant!r}"] if self.variant else []
        if self.in_channels != entry(self.name).image[0]:
            more.append(f"in_channels={self.in_channels}")
        more += [f"{key}={value!r}" for key, value in self.options.items()]
        return f"zoo.get_model({self.name!r}, {', '.join(more)})"


def recognize(
    arrays: Mapping[str, NDArray[Any]], map: str | None = None, name: str | None = None
) -> Known | None:
    """The net with these names and shapes; None where the zoo has none.

    map: of the file; Caffe's nets are sought in the paper's form first, others in torchvision's.
    name: look at this net only.
    """
    shapes = {key: a.shape for key, a in arrays.items() if not key.endswith(COUNTER)}
    names = [name] if name else sorted(MODELS, key=lambda n: n.startswith("plain"))
    for net, variant, *option in candidates(names, map):
        found = compare(shapes_of(net, variant, *option), shapes)
        if found is not None:
            return Known(net, found[0], variant, found[1], dict([option] if option else []))
    return None


@cache
def shapes_of(name: str, variant: str | None, *option: Any) -> Shapes:
    """Names and shapes of a net, without the counters of batch norm; option: its name, a value."""
    with nn.meta():
        net = get_model(name, variant=variant, **dict([option] if option else []))
    return {key: t.shape for key, t in net.state_dict().items() if not key.endswith(COUNTER)}


def candidates(names: list[str], map: str | None) -> Iterator[tuple[Any, ...]]:
    """(name, variant) of every net, and (name, variant, option, value) where that changes it."""
    for name in names:
        variants = [None] if entry(name).torchvision is None else ["torchvision", None]
        for variant in reversed(variants) if map == "caffe" else variants:
            yield name, variant
            for option in entry(name, variant).options:
                for value in CHOICES.get(option, ()):
                    yield name, variant, option, value


def compare(own: Shapes, shapes: Shapes) -> tuple[int, int] | None:
    """(classes, channels of the images) if all names and all other sizes are the same."""
    if own.keys() != shapes.keys():
        return None
    first = next(key for key, shape in own.items() if len(shape) == 4)
    last = list(own)[-1]
    classes, channels = shapes[last][:1], shapes[first][1:2]
    for key, shape in own.items():
        wanted = shape
        if key == first:
            wanted = shape[:1] + channels + shape[2:]
        elif shape[0] == own[last][0]:
            wanted = shape if shape == shapes[key] else classes + shape[1:]
        if shapes[key] != wanted:
            return None
    return (classes[0], channels[0]) if classes and channels else None
