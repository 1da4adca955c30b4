"""A whole training run in one checkpoint: model, optimizer, schedule, random state and position,
bit for bit.

Design: a state is a tree of dictionaries, lists, tuples, numbers, text and arrays. `save_tree`
sends the arrays to the checkpoint as tensors named by their path in the tree and the rest to its
metadata as JSON (whose floating-point numbers round-trip exactly). `save_training` and
`load_training` only say which trees make up a run; the objects are known by `state_dict` and
`load_state_dict` alone. Loading asks every object first (`check_state_dict`) whether the state
fits, so a wrong file changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.errors import ArgError, CheckpointError
from minigrad.io.checkpoint import Array, load, save
from minigrad.io.sniff import parse_object
from minigrad.tensor import Tensor

TREE = "tree"  # the metadata entry that holds the JSON
VERSION = 1


def save_training(
    path: str | os.PathLike[str],
    objects: Mapping[str, Any],
    progress: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the state of every object (`{"model": net, "optimizer": sgd, "schedule": ...,
    "random": ...}`).

    `progress` is any tree of yours, usually epoch, step and best accuracy. An object without
    `state_dict` but with `get_state` (a `minigrad.Generator`) is taken too. Raises as
    `minigrad.io.save` does.
    """
    if taken := objects.keys() & {"version", "progress"}:
        raise ArgError(f"save_training: an object cannot be called {min(taken)!r}")
    states = {name: _get_state(name, thing) for name, thing in objects.items()}
    save_tree(path, {**states, "progress": dict(progress or {}), "version": VERSION}, metadata)


def load_training(path: str | os.PathLike[str], objects: Mapping[str, Any]) -> dict[str, Any]:
    """Put a saved run back into fresh objects of the same kind and return its `progress`.

    The file must hold a state for every object given; states of further objects are ignored (a
    model alone can be taken from a run). Raises CheckpointError naming file and object; then no
    object has changed, provided each has a `check_state_dict`, as those of minigrad have.
    """
    tree = load_tree(path)
    name = "the file"
    try:
        if not isinstance(tree, dict) or tree.get("version") != VERSION:
            raise CheckpointError(
                "this checkpoint holds no training run; see minigrad.io.load_tree or load"
            )
        for name in objects:
            if name not in tree:
                raise CheckpointError(
                    f"the checkpoint has no {name!r}; it has {', '.join(map(repr, tree))}"
                )
        surest_last = sorted(objects.items(), key=lambda item: hasattr(item[1], "check_state_dict"))
        for step in ("check_state_dict", "load_state_dict"):
            for name, thing in surest_last:
                _put_state(thing, step, tree[name])
    except (CheckpointError, ArgError, KeyError, TypeError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {name}: {error}") from error
    return dict(tree["progress"])


def _get_state(name: str, thing: Any) -> Any:
    for method in ("state_dict", "get_state"):
        if hasattr(thing, method):
            return getattr(thing, method)()
    raise ArgError(
        f"save_training: {name!r} is {type(thing).__name__}, "
        "which has neither state_dict nor get_state"
    )


def _put_state(thing: Any, step: str, state: Any) -> None:
    if hasattr(thing, step):
        getattr(thing, step)(state)
    elif step == "load_state_dict":
        thing.set_state(state)


def save_tree(
    path: str | os.PathLike[str], tree: Any, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a tree of dict (keys text or int), list, tuple, None, bool, int, float, str, arrays
    and Tensors.

    Raises ArgError naming the path in the tree where something else stands; otherwise as `save`.
    """
    if TREE in (metadata or {}):
        raise ArgError(f"save_tree: the metadata key {TREE!r} is taken by the tree itself")
    arrays: dict[str, Array] = {}
    text = json.dumps(_pack(tree, "", arrays))
    save(path, arrays, {**(metadata or {}), TREE: text})


def load_tree(path: str | os.PathLike[str]) -> Any:
    """The tree that `save_tree` wrote, bit for bit; Tensors come back as arrays. Raises as `load`
    does."""
    tensors, metadata = load(path)
    try:
        if TREE not in metadata:
            raise CheckpointError("this file holds tensors only; see minigrad.io.load")
        return _unpack(
            parse_object('{"tree":' + metadata[TREE] + "}", "the saved tree")["tree"], tensors
        )
    except (CheckpointError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error


def _pack(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    """JSON for `value`; what JSON has no word for becomes an object with one key that begins with
    $."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return {"$number": [value.dtype.name, value.item()]}
    if isinstance(value, (np.ndarray, Tensor)):
        name = path or "value"
        if name in arrays:
            raise ArgError(
                f"save_tree: two arrays are both called {name!r}; rename one of the keys"
            )
        arrays[name] = value.data if isinstance(value, Tensor) else value
        return {"$array": name}
    below = path + "." if path else ""
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{below}{i}", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in (str, int):
                raise ArgError(
                    f"save_tree: {path or 'the tree'} has the key {key!r}; keys are text or int"
                )
        packed = {key: _pack(item, f"{below}{key}", arrays) for key, item in value.items()}
        plain = all(type(key) is str and not key.startswith("$") for key in packed)
        return packed if plain else {"$items": [[key, item] for key, item in packed.items()]}
    raise ArgError(
        f"save_tree: {path or 'the tree'} is {type(value).__name__}; it cannot be saved exactly"
    )


def _unpack(value: Any, tensors: dict[str, Array]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    kind = next(iter(value), "")
    if not kind.startswith("$"):
        return {key: _unpack(item, tensors) for key, item in value.items()}
    content = value[kind]
    if kind == "$array":
        return tensors[content]
    if kind == "$number":
        return np.dtype(content[0]).type(content[1])
    if kind == "$tuple":
        return tuple(_unpack(item, tensors) for item in content)
    if kind == "$items":
        return {key: _unpack(item, tensors) for key, item in content}
    raise CheckpointError(f"the saved tree has the unknown mark {kind[:20]!r}")
