"""E14: what VGG-16 keeps for its backward pass, against the lecture's count of values.

Design: a fresh process builds the net, runs one image of 224x224 with recording, and looks at the
tape: which arrays are kept, and how many bytes they are.  The lecture says "24M * 4 bytes = 96 MB";
its own rows add up to 15.2M values, 61 MB.  A map that only a pooling reads is not kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.show import tape_of

from .. import child
from ..registry import get_model, image_of
from ..summary import summary
from .framework import Experiment, Plot, Result, Settings, Table, Verdict

VALUES, ALLOWED = 15_237_608, 1.3


def read_later(rows: Sequence[Any]) -> int:
    """The values of a summary's rows, without the maps that a pooling follows."""
    return sum(a.values for a, b in pairwise([*rows, None]) if b is None or b.kind != "MaxPool2d")


def owner(array: Any) -> Any:
    """The array whose memory a view shows."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
        array = array.base
    return array


def kept(net: Any, x: Any, *, record: bool = True) -> dict[str, int]:
    """Bytes that the tape under ``net(x)`` keeps, weights left out: by kind of op, and "total"."""
    weights = {id(owner(p.data)) for p in net.parameters()}
    found: dict[str, int] = {}
    if not record:
        with mg.no_grad():
            net(x)
        return found
    seen = set(weights)
    for node in tape_of(net(x)):
        for _, array in node.kept_items():
            root = owner(array)
            if id(root) not in seen:
                seen.add(id(root))
                found[node.name] = found.get(node.name, 0) + root.nbytes
    return found | {"total": sum(found.values())}


def measure(name: str, record: bool) -> dict[str, Any]:
    """In the child: bytes of the net's weights, and what its tape keeps for one image."""
    net = get_model(name).eval()
    x = mg.from_numpy(np.zeros((1, *image_of(name)), np.float32))
    return {
        "weights": sum(p.data.nbytes for p in net.parameters()),
        "kept": kept(net, x, record=record),
    }


def run(settings: Settings) -> Result:
    """The tape of VGG-16 in bytes, and the memory of the whole process."""
    counts = summary("vgg16")
    predicted, needed = counts.total("values"), read_later(counts.rows)
    taped, bare = (child.call(f"{__name__}:measure", "vgg16", record) for record in (True, False))
    weights, tape = taped.result["weights"], taped.result["kept"]
    rows: list[tuple[Any, ...]] = [
        ("values predicted, 4 bytes each", predicted, 4 * predicted / 2**20),
        ("of these, read by more than a pooling", needed, 4 * needed / 2**20),
        *((f"kept by {op}", n // 4, n / 2**20) for op, n in tape.items() if op != "total"),
        ("kept by the tape, without weights", tape["total"] // 4, tape["total"] / 2**20),
        ("weights", weights // 4, weights / 2**20),
    ]
    verdicts = [
        Verdict("values of the layers and the input", predicted, "==", VALUES),
        *(Verdict("bytes kept by the tape over 4 x values so read", tape["total"] / 4 / needed,
                  relation, bound) for relation, bound in (("<=", ALLOWED), (">=", 0.9))),
    ]  # fmt: skip
    for how, found in (("with the tape", taped), ("without recording", bare)):
        if found.peak is None or found.before is None:
            continue
        used = found.peak - found.before
        rows.append((f"peak of the process, {how}", None, used / 2**20))
        verdicts.append(
            Verdict(f"peak {how} over weights and values", used / (weights + 4 * predicted), "<=",
                    ALLOWED)
        )  # fmt: skip
    table = Table("VGG-16, one image of 3x224x224", ("what", "values", "MiB"), rows)
    plot = Plot(lambda f: draw(f), (7.2, 2.8))
    return Result([table], verdicts, [plot], ["peaks are beyond what Python and NumPy take"])


def draw(figure: Any) -> None:
    """Values and parameters layer by layer: memory is early, parameters are late."""
    rows = summary("vgg16").rows
    axis = figure.subplots()
    x = np.arange(len(rows))
    axis.bar(x - 0.2, [4 * r.values / 2**20 for r in rows], 0.4, label="values of one image")
    axis.bar(x + 0.2, [4 * r.parameters / 2**20 for r in rows], 0.4, label="parameters")
    names = [r.kind.replace("MaxPool2d", "pool").replace("Conv2d", "conv") or "input" for r in rows]
    axis.set_xticks(x, [n.replace("Linear", "linear") for n in names], rotation=60, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axis.set_xlim(-0.7, len(rows) - 0.3)
    axis.set(ylabel="MiB in float32", yscale="log")
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper left")


MEMORY = Experiment(
    "E14", "memory",
    "VGG-16 holds 15.2M values for one image (61 MB), most of them early; the lecture's 24M "
    "(96 MB) is an error of addition",
    "24M values, 96 MB (CS231n's slide); 93 MB (its notes); 58 MB (convnet-burden)",
    "CS231n, lecture 9 and convolutional-networks notes; albanie/convnet-burden",
    "what a framework keeps depends on it: here ReLUs keep their output only, which the next layer "
    "keeps too, and poolings keep the places of their maxima but not the map they read",
    run,
)  # fmt: skip
