"""Published weights into a net of the zoo.

Design: the file is read, its names are translated, the net is asked whether all of it fits, and
only then is anything written.  Where it does not fit, the error lists the keys that are missing,
unexpected or of another shape; or, where there are many and the zoo has the right net, names that.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from minigrad import nn
from minigrad.errors import CheckpointError

from .key_maps import detect, fitted, translate
from .read import read_weights
from .recognize import Known, recognize

FEW, SHOWN = 8, 20  # faults that are listed although the right net is known; that are ever listed
ORIGIN = "map"  # the note of a converted file: the map of the file that it was made of


class File(NamedTuple):
    """A file of weights under the zoo's names: path, arrays, format, notes, the map that its names
    needed, and the map of the file that it was converted from (its own, as a rule)."""

    path: str
    arrays: dict[str, Any]
    format: str
    notes: dict[str, str]
    map: str
    origin: str


def load_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    map: str | None = None,
    *,
    strict: bool = True,
) -> Any:
    """Copy the weights in a file into ``model``; returns its missing and unexpected keys.

    path: a file of torch.save (zip or legacy), .safetensors or .npz; nothing in it is executed.
    map: "torchvision", "akamaster", "caffe", or None to find out from the names.  strict=False
    lets keys be missing or unexpected; shapes must fit always.

    Raises CheckpointError naming the file where it is damaged, holds more than data, or does not
    fit; ArgError for an unknown map; the errors of ``open``.  Then the model is unchanged.

    >>> import tempfile, zoo
    >>> from minigrad import io
    >>> net, other = zoo.get_model("lenet"), zoo.get_model("lenet")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.save(folder + "/lenet.safetensors", net.state_dict())
    ...     zoo.load_weights(other, folder + "/lenet.safetensors")
    Keys(missing_keys=[], unexpected_keys=[])
    """
    file = open_file(path, map)
    return fill(model, file, strict=strict)


def open_file(path: str | os.PathLike[str], map: str | None) -> File:
    """A file of weights under the zoo's names. Raises as ``load_weights`` does."""
    found = read_weights(path)
    used = map or detect(found.arrays)
    try:
        arrays = translate(found.arrays, used)
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    origin = found.notes.get(ORIGIN) if found.format == "safetensors" else None
    return File(os.fspath(path), arrays, found.format, found.notes, used, origin or used)


def fill(model: nn.Module, file: File, *, strict: bool = True) -> Any:
    """Copy the arrays of an open file into ``model``, all of them or none."""
    arrays = fitted(file.arrays, model)
    try:
        model.check_state_dict(arrays, strict=strict)
    except CheckpointError as error:
        known = recognize(file.arrays, file.origin)
        raise CheckpointError(f"{file.path}: {explain(error, arrays, model, known)}") from None
    return model.load_state_dict(arrays, strict=strict)


def explain(
    error: CheckpointError, arrays: dict[str, Any], model: nn.Module, known: Known | None
) -> str:
    """What does not fit, line by line; one line with the right net where much does not fit."""
    first, *faults = str(error).split("\n")
    own = model.state_dict()
    missing, extra = len(own.keys() - arrays.keys()), len(arrays.keys() - own.keys())
    shapes = sum(a.shape != own[name].shape for name, a in arrays.items() if name in own)
    another = known if missing or extra or shapes else None  # else only dtypes do not fit
    if another is not None and len(faults) > FEW:
        return (
            f"these are weights of {another.name}, not of this {type(model).__name__} "
            f"({missing} keys missing, {extra} unexpected, {shapes} of another shape); "
            f"they fit {another}"
        )
    hint = "" if another is None or not faults else f"; the file fits {another}"
    left = [f"  ... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    text = first.removeprefix("load_state_dict: ").removesuffix(":")
    return "\n".join([text + hint + ":" * bool(faults), *faults[:SHOWN], *left])
