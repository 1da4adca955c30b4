"""What each command of the zoo does.

Design: a command takes the parsed arguments, prints for people, and returns an exit code.  Errors
are raised and turned into one line by ``zoo.cli.main``.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import io
from minigrad.errors import ArgError, CheckpointError, DataFormatError
from minigrad.gradcheck import check_parameters

from ..config import TrainConfig
from ..datasets import DatasetInfo, get_dataset, list_datasets
from ..googlenet import googlenet_loss
from ..images import read_image
from ..registry import MODELS, Entry, entry, get_model, image_of
from ..registry import list_models as names
from ..run_folder import (
    choose_folder,
    draw_curves,
    environment,
    latest_folder,
    make_folder,
    terminal_curves,
)
from ..summary import summary
from ..trainer import Trainer, test_loader
from ..trainer import evaluate as evaluate_net
from .weights import published


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
    return {} if args.shortcut is None else {"shortcut": args.shortcut}


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


def config_from(args: Namespace) -> TrainConfig:
    """The configuration that the options describe. Raises ArgError."""
    return TrainConfig(
        model=args.model, data=args.data, epochs=args.epochs, batch_size=args.batch_size,
        lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay, seed=args.seed,
        workers=args.workers, crop_padding=args.crop_padding, flip=not args.no_flip,
        shortcut=args.shortcut,
    ).check()  # fmt: skip


def train(args: Namespace) -> int:
    """Train a net, or continue a run."""
    if args.threads:
        mg.set_num_threads(args.threads)
    if args.resume:
        folder = Path(args.resume)
        if not (folder / "last.safetensors").exists():
            raise FileNotFoundError(f"{folder}: no last.safetensors there; nothing to resume")
        config = TrainConfig.load(folder / "config.json")
        trainer = Trainer(config, folder)
        trainer.resume()
    else:
        config = config_from(args)
        folder = choose_folder(args.out, config.model, config.data, force=args.force)
        trainer = Trainer(config, folder)  # every error about net and data comes before the folder
        make_folder(folder)
        config.save(folder / "config.json")
        (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
    print(
        f"{config.model} ({sum(p.size for p in trainer.net.parameters()):,} parameters) on "
        f"{config.data}: {len(trainer.loader.dataset):,} training images, "
        f"{mg.get_num_threads()} threads; run folder {folder}",
        flush=True,
    )
    metrics = trainer.fit()
    if not metrics:
        raise CheckpointError(f"{folder}: the run has no finished epoch")
    title = f"{config.model} on {config.data}"
    picture = draw_curves(folder, metrics, title)
    print(terminal_curves(metrics))
    print(f"best test accuracy {trainer.best:.2%}; curves and checkpoints in {folder}")
    if picture is None:
        print('curves.png needs matplotlib: pip install -e ".[plot]"')
    return 0


def trained(run_folder: str | None) -> tuple[mg.nn.Module, TrainConfig, DatasetInfo, Path]:
    """(net with its best parameters, configuration, facts of its data, folder) of a run.

    The training data itself is not needed. Raises FileNotFoundError, CheckpointError.
    """
    folder = latest_folder() if run_folder is None else Path(run_folder)
    path = folder / "best.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{folder}: no best.safetensors there; is it a run folder?")
    config = TrainConfig.load(folder / "config.json")
    saved = io.load(path)
    try:
        about = DatasetInfo.from_json(saved.metadata["data"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: does not say what it was trained on ({error!r})") from None
    net = get_model(
        config.model, num_classes=len(about.classes), in_channels=about.channels,
        **config.model_options(),
    )  # fmt: skip
    net.load_state_dict(saved.tensors)
    return net.eval(), config, about, folder


class Chosen(NamedTuple):
    """A net to use: the net, its entry, the facts of its data, what to call it, its data set."""

    net: mg.nn.Module
    entry: Entry
    about: DatasetInfo
    title: str
    data: str | None


def chosen(args: Namespace) -> Chosen:
    """The net of a run, or of ``--weights``. Raises ArgError for options that contradict."""
    if args.weights is None:
        for option in ("model", "variant", "map"):
            if getattr(args, option) is not None:
                raise ArgError(f"--{option} needs --weights; a run knows its net")
        net, config, about, folder = trained(args.run_folder)
        title = f"{config.model} of {folder}"
        return Chosen(net, entry(config.model), about, title, args.data or config.data)
    if args.run_folder is not None:
        raise ArgError(f"{args.run_folder}: give a run or --weights, not both")
    net, found, name, about = published(args)
    return Chosen(net, found, about, f"{name} with {args.weights}", args.data)


def evaluate(args: Namespace) -> int:
    """Print loss and accuracy of a trained net, on its own test set or on another."""
    if args.weights and not args.data:
        raise ArgError("--weights needs --data NAME|PATH")
    net, found, about, title, data = chosen(args)
    _, test, theirs = get_dataset(str(data), size=found.image[1])
    counts = len(theirs.classes), len(about.classes)
    if counts[0] != counts[1]:
        raise DataFormatError(f"{data}: {counts[0]} classes, the net was trained on {counts[1]}")
    if theirs.classes != about.classes and not args.weights:  # a file does not have the names
        raise DataFormatError(
            f"{data}: classes are {theirs.classes}, the net was trained on {about.classes}"
        )
    if theirs.channels != about.channels:
        raise DataFormatError(
            f"{data}: channels are {theirs.channels}, the net was trained on {about.channels}"
        )
    loss, accuracy = evaluate_net(net, test_loader(test, about))
    print(f"{title} on {data}: {len(test):,} test images")
    print(f"loss {loss:.4f}, accuracy {accuracy:.2%}")
    return 0


def predict(args: Namespace) -> int:
    """Print the most likely classes of each image."""
    net, found, about, _, _ = chosen(args)
    size = about.size or found.image[1:]
    mean = np.asarray(about.mean, np.float32).reshape(-1, 1, 1)
    std = np.asarray(about.std, np.float32).reshape(-1, 1, 1)
    for path in args.image:
        pixels = read_image(path, about.channels, size, resize=args.resize)  # (C, H, W) in [0, 1]
        with mg.no_grad():
            logits = net(mg.tensor(((pixels - mean) / std)[None]))
            chances = F.softmax(logits, 1).numpy()[0]
        order = chances.argsort()[::-1][: args.top]
        text = ", ".join(f"{about.classes[k]} {chances[k]:.1%}" for k in order)
        print(f"{path}: {text}")
    return 0


def gradcheck(args: Namespace) -> int:
    """Check the gradient of every parameter tensor of a net in float64."""
    found = entry(args.model)
    channels, height, width = found.image
    if args.size:
        height = width = args.size
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
