"""Recipes: how the papers trained, as data that runs.

Design: a recipe is a TOML file beside this one, or anybody's own.  At its top stand words: what it
is, its source, what the source published, where it differs.  Its tables are those of
``zoo.config.SECTIONS`` and their keys the fields of ``TrainConfig``; what is not said has
TrainConfig's default.  A recipe that is scaled down for a laptop names the original in
``scales_down``; what differs is found by comparing the two, so it cannot be forgotten.

    title = "..."          one line
    source = "..."         paper and section, or definition
    published = "..."      optional: what came out there
    differs = ["..."]      optional: where this is not what the source did
    needs = "..."          optional: data that the zoo does not have; the user passes --data
    scales_down = "..."    optional: the name of the original
    [net] [data] [augment] [optimizer] [schedule] [test] [run]
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigrad.errors import ArgError, DataFormatError

from ..config import SECTIONS, TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
WORDS = ("title", "source", "published", "needs", "scales_down")
LONGEST = 1 << 20  # bytes of a recipe


@dataclass(frozen=True)
class Recipe:
    """A recipe as read: words, and values of TrainConfig's fields."""

    name: str
    title: str
    source: str
    values: dict[str, Any]
    differs: tuple[str, ...] = ()
    published: str | None = None
    needs: str | None = None
    scales_down: str | None = None

    def config(self, given: Mapping[str, Any] | None = None) -> TrainConfig:
        """The configuration, values that were given in place of the recipe's.

        Epochs that were given stand for the recipe's iterations too, and another schedule for its
        milestones and warm-up. Raises ArgError where the two together make no sense, or data is
        needed and not given.
        """
        given = dict(given or {})
        replaced = {"iterations"} if "epochs" in given else set()
        if given.get("schedule", self.values.get("schedule")) != self.values.get("schedule"):
            replaced |= {"milestones", "warmup_lr"}
        values = {key: value for key, value in self.values.items() if key not in replaced}
        if self.needs and "data" not in given:
            raise ArgError(f"recipe {self.name}: pass --data PATH ({self.needs})")
        if "options" in given:
            given["options"] = {**self.values.get("options", {}), **given["options"]}
        return TrainConfig.of({**values, **given}).check()

    def scaling(self) -> list[str]:
        """What differs from the original: "epochs 90 -> 12", in the order of the fields."""
        if self.scales_down is None:
            return []
        original, config = get_recipe(self.scales_down), TrainConfig.of(self.values)
        data = [f"data ({original.needs}) -> {config.data}"] if original.needs else []
        return data + TrainConfig.of(original.values).differences(config)


def list_recipes() -> list[str]:
    """Names of the recipes that the zoo has; a scaled form comes after its original."""
    names = sorted(path.stem for path in HERE.glob("*.toml"))
    found = {name: get_recipe(name) for name in names}

    def place(name: str) -> tuple[str, bool, str]:
        original = found[name].scales_down
        return original or name, original is not None, name

    return sorted(names, key=place)


def get_recipe(name: str | os.PathLike[str]) -> Recipe:
    """A recipe by name, or from a TOML file.

    Raises ArgError for an unknown name, FileNotFoundError, DataFormatError for a file that is no
    recipe.
    """
    text = os.fspath(name)
    path = Path(text).expanduser()
    if path.suffix == ".toml" or os.sep in text:
        return read_recipe(path)
    if not (HERE / f"{text}.toml").is_file():
        known = sorted(p.stem for p in HERE.glob("*.toml"))
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ArgError(
            f"unknown recipe {text!r}; {hint}available: {', '.join(known)}; or a file NAME.toml"
        )
    return read_recipe(HERE / f"{text}.toml")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file. Raises FileNotFoundError, DataFormatError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe")
    if path.stat().st_size > LONGEST:
        raise DataFormatError(f"{path}: longer than {LONGEST} bytes, so not a recipe")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataFormatError(f"{path}: not a TOML file ({error})") from error
    try:
        recipe = parse_recipe(path.stem, content)
        needed = {"data": "fashion-mini"} if recipe.needs else None
        recipe.config(needed)
    except ArgError as error:
        raise DataFormatError(f"{path}: {error}") from error
    return recipe


def parse_recipe(name: str, content: Mapping[str, Any]) -> Recipe:
    """A recipe from what TOML says. Raises ArgError naming table and key."""
    known = [*WORDS, "differs", *SECTIONS]
    for key in content:
        if key not in known:
            raise ArgError(unknown(f"key {key!r}", key, known))
    for key in ("title", "source"):
        if key not in content:
            raise ArgError(f"{key} is missing; a recipe says what it is and where it comes from")
    for key in WORDS:
        if not isinstance(content.get(key, ""), str):
            raise ArgError(f"{key} must be text, got {content[key]!r}")
    differs = content.get("differs", [])
    if not isinstance(differs, list) or not all(isinstance(d, str) for d in differs):
        raise ArgError(f"differs must be a list of texts, got {differs!r}")
    values: dict[str, Any] = {}
    for table, fields in SECTIONS.items():
        rows = content.get(table, {})
        if not isinstance(rows, dict):
            raise ArgError(f"{table} must be a table, [{table}], got {rows!r}")
        for key in rows:
            if key not in fields:
                raise ArgError(unknown(f"key {key!r} in [{table}]", key, fields))
        values.update(rows)
    if "needs" in content and "data" in values:
        raise ArgError("needs and data contradict each other; give one of them")
    words = {key: content[key] for key in WORDS if key in content}
    return Recipe(name=name, values=values, differs=tuple(differs), **words)


def unknown(what: str, key: str, known: Any) -> str:
    """The text of an error about a key."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown {what}; {hint}there are {', '.join(known)}"
