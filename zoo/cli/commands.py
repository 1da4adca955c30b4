"""What each command of the zoo does.

Design: a command takes the parsed arguments, prints for people, and returns an exit code.  Errors
are raised and turned into one line by ``zoo.cli.main``.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad.errors import ArgError
from minigrad.gradcheck import check_parameters

from ..datasets import list_datasets
from ..googlenet import googlenet_loss
from ..images import read_image
from ..registry import MODELS, entry, get_model, image_of
from ..registry import list_models as names
from ..summary import summary
from .explain import explain, targets
from .testing import chosen


def list_models(args: Namespace) -> int:
    """Print the networks that match, and the data sets."""
    found = names(args.filter)
    if not found:
        raise ArgError(f"no model matches {args.filter!r}; available: {', '.join(MODELS)}")
    width = max(len(n) for n in found)
    for name in found:
        image = "x".join(map(str, entry(name).image))
        also = "" if entry(name).torchvision is None else "; also --variant torchvision"
        print(f"{name:{width}}  {image:9}  {entry(name).source}{also}")
    print(f"\ndata sets: {', '.join(list_datasets())}, or a path")
    return 0


def options_of(args: Namespace) -> dict[str, Any]:
    """Options of the net that were given."""
    return dict(args.option or []) | ({} if args.shortcut is None else {"shortcut": args.shortcut})


def info(args: Namespace) -> int:
    """Print the table of layers of a net."""
    image = image_of(args.model, args.variant, args.size)
    found = summary(
        args.model, image, num_classes=args.num_classes, variant=args.variant, **options_of(args)
    )
    source = entry(args.model, args.variant).source
    print(f"{args.model}: {source}; one image {'x'.join(map(str, image))}")
    print(found)
    return 0


def predict(args: Namespace) -> int:
    """Print the most likely classes of each image, and draw where the net looks."""
    pictures = targets(args)
    subject = chosen(args)
    net, about = subject.net, subject.about
    for path, picture in zip(args.image, pictures, strict=True):
        pixels = read_image(path, about.channels, subject.size, resize=args.resize)  # (C, H, W)
        x = mg.tensor(subject.prepare(pixels[None]))
        with mg.no_grad():
            chances = F.softmax(net(x), 1).numpy()[0]
        order = chances.argsort()[::-1][: args.top]
        guesses = [(int(k), f"{about.classes[k]} {chances[k]:.1%}") for k in order]
        if picture is not None:
            explain(net, x, pixels, guesses, picture, args.layer)
        text = ", ".join(guess for _, guess in guesses)
        print(f"{path}: {text}{'' if picture is None else f'; {picture}'}")
    return 0


def gradcheck(args: Namespace) -> int:
    """Check the gradient of every parameter tensor of a net in float64."""
    channels, height, width = image_of(args.model, size=args.size)
    mg.manual_seed(args.seed)
    net = get_model(args.model).double()
    x = mg.randn(args.batch_size, channels, height, width, dtype=np.float64)
    t = mg.randint(0, 10, (args.batch_size,))
    buffers = {name: b.data.copy() for name, b in net.named_buffers()}

    def loss() -> mg.Tensor:
        for name, b in net.named_buffers():  # the same function on every call
            b.copy_(buffers[name])
        mg.manual_seed(args.seed)  # the same dropout
        return googlenet_loss(net(x), t)

    worst = check_parameters(loss, net.named_parameters(), seed=args.seed)
    for probe in worst:
        mark = "ok  " if probe.error <= 1 else "FAIL"
        print(f"{mark} {probe.name:32} {probe.error:9.2e} of what is allowed")
    last = max(worst, key=lambda probe: probe.error)
    print(f"{len(worst)} parameter tensors checked; worst: {last}")
    return 0 if last.error <= 1 else 1
