"""From the names in a file of weights to those of a net of the zoo.

    torchvision   as they are: the zoo has torchvision's names
    akamaster     the same; published CIFAR ResNets have a prefix ``module.`` from DataParallel
    caffe         ``caffe.py``

Design: which map a file needs is seen from its names; it can be forced.  A prefix ``module.`` goes
in every map.  Three things are evened out without a message, and nothing else: BatchNorm's
``num_batches_tracked``, which files from before 2018 lack, counts from 0; a batch norm without it
is otherwise complete.  Auxiliary heads (``aux1``, ``aux2``) are left out for a GoogLeNet without
them.  GoogLeNet's ``aux1`` stands on 4a (512 maps) and ``aux2`` on 4d (528) in every version of
torchvision: what pull request 8743 (November 2024) put right is the order of its outputs, so files
from before and after have the same keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad import nn
from minigrad.errors import ArgError, CheckpointError

from . import caffe

Array = NDArray[Any]

MAPS = ("torchvision", "akamaster", "caffe")
PREFIX = "module."
COUNTER = "num_batches_tracked"


def detect(names: Iterable[str]) -> str:
    """The map that a file with these names needs."""
    names = list(names)
    if caffe.is_caffe(names):
        return "caffe"
    cifar = any(name.endswith("linear.weight") for name in names)
    return "akamaster" if cifar else "torchvision"


def translate(arrays: Mapping[str, Array], map: str | None = None) -> dict[str, Array]:
    """The arrays under the zoo's names. Raises ArgError for an unknown map, CheckpointError."""
    if map is not None and map not in MAPS:
        raise ArgError(f"map {map!r} is unknown; use {', '.join(MAPS)}, or None to find out")
    if (map or detect(arrays)) != "caffe":
        return without_prefix(arrays)
    if not caffe.is_caffe(arrays):
        some = ", ".join(repr(name[:40]) for name in list(arrays)[:3])
        raise CheckpointError(f"has no layer of Caffe's nets (its names are {some}, ...)")
    return caffe.state_dict(arrays)


def without_prefix(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The names without ``module.``, where all have it."""
    if not all(name.startswith(PREFIX) for name in arrays):
        return dict(arrays)
    return {name.removeprefix(PREFIX): array for name, array in arrays.items()}


def fitted(arrays: Mapping[str, Array], model: nn.Module) -> dict[str, Array]:
    """The arrays, with the counters that the model has and without the heads that it has not."""
    own = model.state_dict()
    heads = [h for h in ("aux1.", "aux2.") if not any(name.startswith(h) for name in own)]
    is_googlenet = "inception3a.branch1.conv.weight" in own
    found = {
        name: array
        for name, array in arrays.items()
        if not (is_googlenet and heads and name.startswith(tuple(heads)))
    }
    for name in own:
        layer, _, last = name.rpartition(".")
        if last == COUNTER and name not in found and f"{layer}.running_mean" in found:
            found[name] = np.array(0)
    return found
