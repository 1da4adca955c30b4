"""Commands that train: ``train``, ``recipes``, ``lr-find``, ``diagnose``.

Design: every field of ``TrainConfig`` is an option, made from the field itself; what is given on
the command line wins over the recipe, the recipe over the defaults.
"""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin

import minigrad as mg
from minigrad.errors import ArgError, CheckpointError

from ..config import CHOICES, LEAST, SECTIONS, TrainConfig, flag, hints, shown
from ..recipes import get_recipe, list_recipes
from ..run_folder import choose_folder, draw_curves, environment, make_folder, terminal_curves
from ..trainer import Trainer

Parser = argparse.ArgumentParser
Sub = Any  # argparse's own type for sub-parsers is private
TITLES = {
    "net": "the net", "data": "images", "augment": "augmentation", "optimizer": "optimizer",
    "schedule": "schedule", "test": "test time", "run": "the run",
}  # fmt: skip


def positive(text: str) -> int:
    """An integer >= 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not >= 1")
    return value


def numbers(kind: Any) -> Any:
    """A list such as 256,512, for argparse."""

    def read(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(",") if part.strip())

    read.__name__ = f"list of {kind.__name__}s"  # what argparse says where it cannot read one
    return read


def assignment(text: str) -> tuple[str, Any]:
    """NAME=VALUE, for argparse; a value is true, false, a number, or text."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def add_config(p: Parser) -> None:
    """An option for every field of TrainConfig, by section; not given means None."""
    helps = {f.name: f.metadata["help"] for f in fields(TrainConfig)}
    defaults = TrainConfig()
    p.add_argument("--recipe", metavar="NAME|FILE", help="see `python -m zoo recipes`")
    for section, names in SECTIONS.items():
        group = p.add_argument_group(TITLES[section])
        for name in names:
            if name == "options":
                group.add_argument("--option", action="append", type=assignment,
                                   metavar="NAME=VALUE", help=helps[name])  # fmt: skip
                group.add_argument("--shortcut", choices=["A", "B", "C"],
                                   help="the same as --option shortcut=A")  # fmt: skip
                continue
            told = f"{helps[name]} (default: {shown(getattr(defaults, name))})".replace("%", "%%")
            add_field(group, name, told)


def add_field(group: Any, name: str, told: str) -> None:
    """The option of one field."""
    hint = hints()[name]
    if type(None) in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if hint is bool:
        group.add_argument(flag(name), action=argparse.BooleanOptionalAction, help=told)
        return
    kind = hint
    if get_origin(hint) is tuple:
        kind = numbers(get_args(hint)[0])
    elif hint is int and LEAST.get(name) == 1:
        kind = positive
    names = (flag(name), "--net") if name == "model" else (flag(name),)
    metavar = None if name in CHOICES else name.rpartition("_")[2].upper()
    group.add_argument(*names, type=kind, choices=CHOICES.get(name), metavar=metavar, help=told)


def given(args: Namespace) -> dict[str, Any]:
    """What the command line says about the configuration."""
    found = {n: getattr(args, n) for n in hints() if getattr(args, n, None) is not None}
    options = dict(args.option or [])
    if args.shortcut is not None:
        options["shortcut"] = args.shortcut
    return {**found, "options": options} if options else found


def config_from(args: Namespace) -> TrainConfig:
    """The configuration that recipe and options describe. Raises ArgError."""
    if args.recipe is None:
        return TrainConfig.of(given(args)).check()
    return get_recipe(args.recipe).config(given(args))


def add_train(sub: Sub) -> None:
    """``train``."""
    p = sub.add_parser("train", help="train a net; the defaults take about a minute")
    p.add_argument("--out", metavar="FOLDER", help="default: runs/MODEL-DATA-NUMBER")
    p.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    p.add_argument("--resume", metavar="FOLDER", help="continue an interrupted run, exactly")
    p.add_argument("--threads", type=positive, help="default: all cores")
    add_config(p)
    p.set_defaults(run=train)


def begin(args: Namespace) -> tuple[Trainer, Path]:
    """A trainer and its folder, new or resumed."""
    if args.resume:
        if given(args) or args.recipe:
            name = next(iter(given(args)), "recipe")
            raise ArgError(f"--resume {args.resume}: continues as it was; leave out {flag(name)}")
        folder = Path(args.resume)
        if not (folder / "last.safetensors").exists():
            raise FileNotFoundError(f"{folder}: no last.safetensors there; nothing to resume")
        trainer = Trainer(TrainConfig.load(folder / "config.json"), folder)
        trainer.resume()
        return trainer, folder
    config = config_from(args)
    folder = choose_folder(args.out, config.model, config.data, force=args.force)
    trainer = Trainer(config, folder)  # every error about net and data comes before the folder
    about = {**environment(), **({"recipe": args.recipe} if args.recipe else {})}
    about_text = json.dumps(about, indent=2) + "\n"
    make_folder(folder, {"config.json": config.text(), "environment.json": about_text})
    return trainer, folder


def train(args: Namespace) -> int:
    """Train a net, or continue a run."""
    if args.threads:
        mg.set_num_threads(args.threads)
    trainer, folder = begin(args)
    config = trainer.config
    print(
        f"{config.model} ({sum(p.size for p in trainer.net.parameters()):,} parameters) on "
        f"{config.data}: {len(trainer.loader.dataset):,} training images, "
        f"{mg.get_num_threads()} threads; run folder {folder}",
        flush=True,
    )
    metrics = trainer.fit()
    if not metrics:
        raise CheckpointError(f"{folder}: the run has no finished epoch")
    picture = draw_curves(folder, metrics, f"{config.model} on {config.data}")
    print(terminal_curves(metrics))
    print(f"best test accuracy {trainer.best:.2%}; curves and checkpoints in {folder}")
    if picture is None:
        print('curves.png needs matplotlib: pip install -e ".[plot]"')
    return 0


def add_recipes(sub: Sub) -> None:
    """``recipes``."""
    p = sub.add_parser("recipes", help="how the papers trained, and forms for a laptop")
    p.add_argument("name", nargs="?", metavar="NAME|FILE", help="show one of them in full")
    p.set_defaults(run=recipes)


def recipes(args: Namespace) -> int:
    """Print the recipes, or one of them."""
    if args.name is not None:
        print(in_full(args.name))
        return 0
    for name in list_recipes():
        recipe = get_recipe(name)
        print(f"{name}\n    {recipe.title}\n    source: {recipe.source}")
        if recipe.published:
            print(f"    published: {recipe.published}")
        if recipe.scales_down:
            print(f"    scaled down from {recipe.scales_down}: {', '.join(recipe.scaling())}")
    print("\npython -m zoo recipes NAME shows one, python -m zoo train --recipe NAME runs it")
    return 0


def in_full(name: str) -> str:
    """Everything that a recipe says, as text."""
    recipe = get_recipe(name)
    lines = [f"{recipe.name}: {recipe.title}", f"source: {recipe.source}"]
    words = {"published": recipe.published, "needs": recipe.needs}
    lines += [f"{key}: {value}" for key, value in words.items() if value]
    lines += [f"differs: {text}" for text in recipe.differs]
    if recipe.scales_down:
        lines += [f"scaled down from {recipe.scales_down}:"]
        lines += [f"    {text}" for text in recipe.scaling()]
    for section, names in SECTIONS.items():
        said = [n for n in names if n in recipe.values]
        if said:
            config = TrainConfig.of(recipe.values)
            text = ", ".join(f"{n} {shown(getattr(config, n))}" for n in said)
            lines.append(f"{TITLES[section]}: {text}")
    return "\n".join(lines)
