"""What a training run is: every choice that its result depends on, as data.

Design: a frozen dataclass that is checked once, written to the run folder as JSON, and read back by
``--resume`` and ``eval``.  Nothing else decides what a run computes.  A field is all there is to
say about a choice: its type is checked, its help is the command line's, and ``SECTIONS`` are the
tables of a recipe (``zoo/recipes``).  What the choices mean is in ``pipeline.py`` (images),
``optimization.py`` (optimizer, schedule) and ``views.py`` (test time).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from minigrad.errors import ArgError, CheckpointError

from .registry import MOST, entry

CROPS = ("pad", "random", "jitter", "area", "none")
NORMALIZATIONS = ("channel", "pixel", "gcn-zca")
SCHEDULES = ("one-cycle", "constant", "steps", "exponential", "plateau")
UNITS = ("epochs", "iterations")
VIEWS = ("single", "flip", "10-crop", "144-crop", "multi-crop", "all", "dense", "multi-scale")

SECTIONS = {
    "net": ("model", "variant", "options"),
    "data": ("data", "resize", "size", "normalize"),
    "augment": ("crop", "crop_padding", "scales", "area", "aspect", "flip", "color_noise"),
    "optimizer": ("batch_size", "lr", "momentum", "nesterov", "weight_decay", "bias_lr",
                  "bias_decay", "label_smoothing", "average"),
    "schedule": ("epochs", "iterations", "schedule", "milestones", "unit", "every", "factor",
                 "patience", "reductions", "warmup_lr", "warmup_error"),
    "test": ("views", "view_scales"),
    "run": ("seed", "workers"),
}  # fmt: skip


def choice(default: Any, help: str) -> Any:
    """A field with what the command line says about it."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """One run. The defaults train ResNet-20 on the embedded images in about a minute.

    Raises ArgError for a value of the wrong type; ``check`` looks at values.
    """

    model: str = choice("resnet20", "a name that `python -m zoo list` prints")
    variant: str | None = choice(None, "paper or torchvision")
    options: dict[str, Any] = dataclasses.field(
        default_factory=dict, metadata={"help": "options of the net"}
    )
    data: str = choice("fashion-mini", "a name that `python -m zoo list` prints, or a path")
    resize: int | None = choice(None, "shorter side that images get before they are cropped")
    size: int | None = choice(None, "height and width that the net sees; default: the data's")
    normalize: str = choice(
        "channel",
        "channel: mean and deviation of each channel; pixel: mean "
        "of each pixel; gcn-zca: global contrast and whitening",
    )
    crop: str = choice(
        "pad",
        "pad: crop from the image with a border; random: from the larger "
        "--resize; jitter: at a random scale; area: of random area and aspect; none",
    )
    crop_padding: int = choice(2, "the border of --crop pad")
    scales: tuple[int, int] = choice((256, 512), "shorter sides of --crop jitter")
    area: tuple[float, float] = choice((0.08, 1.0), "share of the image, --crop area")
    aspect: tuple[float, float] = choice((3 / 4, 4 / 3), "width / height, --crop area")
    flip: bool = choice(True, "random horizontal flips")
    color_noise: float = choice(0.0, "deviation of AlexNet's PCA color noise; the paper: 0.1")
    batch_size: int = choice(64, "images in a step")
    lr: float = choice(0.2, "learning rate; the peak of the one-cycle schedule")
    momentum: float = choice(0.9, "of SGD")
    nesterov: bool = choice(True, "Nesterov's momentum")
    weight_decay: float = choice(5e-4, "added to the gradient, times the parameter")
    bias_lr: float = choice(1.0, "factor of the learning rate for biases; Caffe's nets: 2")
    bias_decay: float = choice(1.0, "factor of weight decay for biases; Caffe's nets: 0")
    label_smoothing: float = choice(0.0, "share of the label that all classes get")
    average: float = choice(
        0.0,
        "decay of a running mean of all parameters, which is what is "
        "tested and kept (Polyak averaging); 0: none",
    )
    epochs: int = choice(7, "passes over the training images")
    iterations: int | None = choice(None, "steps, in place of epochs")
    schedule: str = choice(
        "one-cycle",
        "one-cycle, constant, steps (at --milestones), exponential "
        "(--every so many epochs), plateau (of the test error)",
    )
    milestones: tuple[int, ...] = choice((), "where the rate falls, in --unit")
    unit: str = choice("epochs", "of milestones: epochs or iterations")
    every: int = choice(1, "epochs between falls, --schedule exponential")
    factor: float = choice(0.1, "what the rate is multiplied by where it falls")
    patience: int = choice(5, "epochs without a better test error, --schedule plateau")
    reductions: int = choice(3, "falls at most, --schedule plateau")
    warmup_lr: float | None = choice(
        None,
        "learning rate until the training error is below "
        "--warmup-error; He et al. 2015: 0.01 for 110 layers",
    )
    warmup_error: float = choice(0.8, "see --warmup-lr")
    views: str = choice("single", f"of `eval`: {', '.join(VIEWS)}")
    view_scales: tuple[int, ...] = choice((), "shorter sides of multi-crop, dense, multi-scale")
    seed: int = choice(0, "of everything that is random")
    workers: int = choice(1, "data loading threads")  # fmt: skip

    def __post_init__(self) -> None:
        for name, hint in hints().items():
            object.__setattr__(self, name, fitted(name, getattr(self, name), hint))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The configuration with these values, else defaults. ArgError for an unknown name."""
        for name in values:
            if name not in hints():
                near = difflib.get_close_matches(name, hints(), n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise ArgError(f"unknown option {name!r}; {hint}there are {', '.join(hints())}")
        return cls(**values)

    def check(self) -> TrainConfig:
        """Return self. Raises ArgError naming the option, its value and what is accepted."""
        entry(self.model, self.variant)
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                self.refuse(name, f"must be >= {least}")
        for name in ("lr", "warmup_lr", "factor", "bias_lr"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                self.refuse(name, "must be a positive number")
        for name in ("momentum", "label_smoothing", "average"):
            if not 0 <= getattr(self, name) < 1:
                self.refuse(name, "must lie in [0, 1)")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                self.refuse(name, f"use {', '.join(known)}")
        for name in ("size", "resize", "scales", "view_scales"):
            value = getattr(self, name)
            if any((side or 0) > MOST for side in (value if type(value) is tuple else (value,))):
                self.refuse(name, f"must be at most {MOST}")
        if not self.seed < 2**63:
            self.refuse("seed", "must lie in [0, 2**63)")
        self.check_crop()
        self.check_schedule()
        return self

    def check_crop(self) -> None:
        """Combinations that cannot be."""
        if self.crop in ("random", "jitter", "area") and self.size is None:
            self.refuse("crop", "pass --size, the pixels that the net sees")
        if self.resize is not None and self.resize < (self.size or math.inf):
            self.refuse("resize", f"must be at least --size, which is {self.size}")
        if self.crop == "random" and self.resize is None:
            self.refuse("crop", "pass --resize, the shorter side that windows are cropped from")
        if self.normalize == "gcn-zca" and self.crop not in ("pad", "none"):
            self.refuse("normalize", "whitens images of one size; use --crop pad or none")
        for name in ("scales", "area", "aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "area" and high > 1):
                self.refuse(name, "expected two positive numbers that do not fall")
        if any(s < 1 for s in self.view_scales):
            self.refuse("view_scales", "must be >= 1")

    def check_schedule(self) -> None:
        """Combinations that cannot be."""
        milestones = list(self.milestones)
        if milestones != sorted(set(milestones)) or (milestones and milestones[0] < 1):
            self.refuse("milestones", "must be >= 1 and increase")
        if (self.schedule == "steps") != bool(milestones):
            self.refuse("schedule", "--milestones and --schedule steps go together")
        if self.warmup_lr is not None and self.schedule in ("one-cycle", "plateau"):
            self.refuse("warmup_lr", f"has no meaning with --schedule {self.schedule}")

    def refuse(self, name: str, why: str) -> None:
        """Raise ArgError about a field."""
        raise ArgError(f"{flag(name)} {shown(getattr(self, name))}: {why}")

    def model_options(self) -> dict[str, Any]:
        """What ``get_model`` takes besides the name, classes and channels."""
        return {**({} if self.variant is None else {"variant": self.variant}), **self.options}

    def uses(self, name: str) -> bool:
        """Whether a field means anything beside the others."""
        if name == "epochs":
            return self.iterations is None
        field, value = USED_WITH.get(name, (name, None))
        return value is None or getattr(self, field) == value

    def differences(self, other: TrainConfig) -> list[str]:
        """Where another configuration says something else: "lr 0.1 -> 0.05", in order."""
        found = []
        for name in hints():
            ours, theirs = (getattr(c, name) if c.uses(name) else None for c in (self, other))
            if ours != theirs and other.uses(name):
                found.append(f"{name} {shown(ours)} -> {shown(theirs)}")
        return found

    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(self.text())

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what ``save`` wrote. Raises CheckpointError when it is something else."""
        try:
            return cls.of(json.loads(path.read_text())).check()
        except (ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: not a training configuration ({error})") from error


LEAST = {
    "epochs": 1, "iterations": 1, "batch_size": 1, "size": 1, "resize": 1, "every": 1, "seed": 0,
    "workers": 0, "crop_padding": 0, "patience": 0, "reductions": 0, "weight_decay": 0,
    "bias_decay": 0, "color_noise": 0, "warmup_error": 0,
}  # fmt: skip
CHOICES = {
    "crop": CROPS, "normalize": NORMALIZATIONS, "schedule": SCHEDULES, "unit": UNITS,
    "views": VIEWS,
}  # fmt: skip

USED_WITH = {
    "crop_padding": ("crop", "pad"), "scales": ("crop", "jitter"), "area": ("crop", "area"),
    "aspect": ("crop", "area"), "milestones": ("schedule", "steps"), "unit": ("schedule", "steps"),
    "every": ("schedule", "exponential"), "patience": ("schedule", "plateau"),
    "reductions": ("schedule", "plateau"),
}  # fmt: skip


@cache
def hints() -> dict[str, Any]:
    """The fields and their types, in order."""
    return get_type_hints(TrainConfig)


def flag(name: str) -> str:
    """A field as the command line writes it."""
    return "--" + name.replace("_", "-")


def shown(value: Any) -> str:
    """A value as the command line takes it: "256,512", "A", "none"."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(shown(v) for v in value) or "none"
    if isinstance(value, dict):
        return " ".join(f"{k}={shown(v)}" for k, v in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def fitted(name: str, value: Any, hint: Any) -> Any:
    """The value in a field's type: whole numbers count as floats, lists as tuples. ArgError."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is tuple:
        count = None if inner[-1] is Ellipsis else len(inner)
        if isinstance(value, list | tuple) and count in (None, len(value)):
            return tuple(fitted(name, v, inner[0]) for v in value)
        many = "a list" if count is None else f"a list of {count}"
        raise ArgError(f"{flag(name)} {value!r}: must be {many}")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ArgError(f"{flag(name)} {value!r}: must be {WORDS[kind]}")
    return dict(value) if kind is dict else value


WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false",
    dict: "a table of names and values",
}  # fmt: skip
