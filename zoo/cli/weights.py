"""Published weights on the command line: ``convert``, and ``--weights`` of eval and predict.

Design: what the file itself tells (``zoo.weights.recognize``) is the default of what the options
say.  Images are normalized as those of the training were: by the facts that ``python -m zoo train``
stores with its nets, by Caffe's mean for Caffe's names, else by ImageNet's mean and deviation.
"""

from __future__ import annotations

import contextlib
import os
from argparse import Namespace
from pathlib import PurePath
from typing import Any, NamedTuple

from minigrad import io, nn
from minigrad.errors import ArgError

from ..datasets import DatasetInfo
from ..datasets.catalog import CIFAR10
from ..registry import MODELS, Entry, entry, get_model
from ..weights.caffe import PIXELS
from ..weights.key_maps import COUNTER
from ..weights.load import ORIGIN, File, fill, open_file
from ..weights.recognize import recognize

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # also of the published CIFAR nets
ON_CENTER = ((0.5,) * 3, (0.5,) * 3)  # pixels on [-1, 1]: torchvision's published GoogLeNet
BUFFERS = ("running_mean", "running_var", COUNTER)


class Published(NamedTuple):
    """A net with the weights of a file: the net, its entry, its name, how it sees images."""

    net: nn.Module
    entry: Entry
    name: str
    about: DatasetInfo


def build(file: File, args: Namespace, **options: Any) -> Published:
    """The net that the options and the file describe, with its weights. Raises ArgError."""
    stored = file.notes.get("model") if file.format == "safetensors" else None
    named = args.model or (stored if stored in MODELS else None)
    known = recognize(file.arrays, file.origin, named)
    name = named or (known.name if known else None)
    if name is None:
        raise ArgError(f"{args.weights}: not a net that the zoo knows by its names; pass --model")
    variant = args.variant or (known.variant if known else None)
    found = entry(name, variant)
    chosen = (known.options if known else {}) | options
    settings = {k: v for k, v in chosen.items() if k in found.options}
    classes, channels = (known.num_classes, known.in_channels) if known else (None, None)
    with nn.meta():  # the file has the numbers
        net = get_model(name, classes, variant, channels, **settings)
    fill(net, file)
    classes = classes or [p.size for p in net.parameters()][-1]
    channels = channels or found.image[0]
    return Published(net.eval(), found, name, facts(file, name, variant, classes, channels))


def published(args: Namespace) -> Published:
    """The net of ``--weights``, for images; auxiliary heads are left out. Raises ArgError."""
    return build(open_file(args.weights, args.map), args, aux=False)


def facts(file: File, name: str, variant: str | None, classes: int, channels: int) -> DatasetInfo:
    """How images are prepared for the net, and what its classes are called."""
    if "data" in file.notes and file.format == "safetensors":
        with contextlib.suppress(ValueError, TypeError):  # or it means something else by "data"
            return DatasetInfo.from_json(file.notes["data"])
    small = entry(name).image[1:] == (32, 32) and classes == len(CIFAR10)
    mean, std = IMAGENET
    if file.origin == "caffe":
        mean, std = PIXELS
    elif (name, variant) == ("googlenet", "torchvision"):
        mean, std = ON_CENTER
    names = CIFAR10 if small else tuple(f"class {k}" for k in range(classes))
    if channels != len(mean):
        raise ArgError(f"{name}: takes images of {channels} channels, whose statistics are unknown")
    return DatasetInfo(name, names, mean, std, channels, None)


def convert(args: Namespace) -> int:
    """Write the arrays of a file of weights as safetensors, under the zoo's names."""
    if PurePath(args.output).suffix != ".safetensors":
        raise ArgError(f"{args.output}: the output must be called NAME.safetensors")
    if os.path.lexists(args.output) and not args.force:
        raise ArgError(f"{args.output}: exists; use --force to replace it")
    if args.variant and not args.model:
        raise ArgError(f"--variant {args.variant}: needs --model, the net whose form it is")
    file = open_file(args.weights, args.map)
    arrays, source = file.arrays, f"{os.path.basename(args.weights)} ({file.format})"
    fits = recognize(arrays, file.origin, args.model)
    if args.model:
        net = build(file, args).net
        arrays = {name: value.numpy() for name, value in net.state_dict().items()}
        file.notes["model"] = args.model
    notes = {k: v for k, v in file.notes.items() if k != "tree"}
    io.save(args.output, arrays, notes | {"source": source, ORIGIN: file.origin})
    trained = [a for n, a in arrays.items() if a.dtype.kind == "f" and not n.endswith(BUFFERS)]
    kinds = ", ".join(sorted({a.dtype.name for a in arrays.values()}))
    print(f"{args.weights}: {file.format}, names of {file.map}; {fits or 'no net of the zoo'}")
    print(
        f"{args.output}: {len(arrays)} tensors, {sum(a.size for a in trained):,} parameters, "
        f"{kinds}"
    )
    return 0
