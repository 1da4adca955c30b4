"""The architecture of a net as series and branches, read off its tape, for drawing.

Design: the net is built without memory for its numbers and runs once on its own image; every op
that ran is a node of the tape with its parents, so the drawing cannot differ from the code.  Ops
become boxes: convolutions, poolings, linear layers, normalization across channels, sums and
concatenations.  Batch norm, activations, dropout and changes of shape belong to the box before
them.  A sum that rides in batch norm is a box of its own; the zero-padded shortcut is an edge that
is dashed, as in the paper of ResNet.  ``structure`` finds splits and joins; equal neighbors are
folded into one with a count.  Drawing is ``graph_svg.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import minigrad as mg
from minigrad import nn
from minigrad.errors import ArgError
from minigrad.show import tape_of

from .registry import get_model, image_of

JOINS = {"add": "add", "concat": "concat"}
THIN = {"getitem", "pad"}  # the shortcut without parameters
LAYERS = ("conv2d", "linear", "max_pool2d", "avg_pool2d", "tanh_avg_pool2d", "adaptive_avg_pool2d",
          "global_avg_pool2d", "local_response_norm")  # fmt: skip
FOLD = 26  # rows from which equal single boxes are folded too


@dataclass
class Box:
    """A layer, a join, or the image: what to write, what it gives (without N), where it belongs."""

    kind: str  # image, conv, conv1, pool, linear, norm, add, concat
    label: str
    shape: tuple[int, ...]
    name: str = ""  # in the net
    groups: int = 1
    parents: list[tuple[Box, bool]] = field(default_factory=list)  # and whether dashed
    side: list[Box] = field(default_factory=list)  # an auxiliary head that stands on it

    def look(self) -> tuple[Any, ...]:
        """What must agree for two to be drawn as one."""
        return self.kind, self.label, self.shape, self.groups


@dataclass
class Split:
    """Branches side by side, and the join below; an empty branch is the identity."""

    branches: list[list[Item]]
    dashed: list[bool]
    join: Box

    def look(self) -> tuple[Any, ...]:
        """As of a box, whatever is inside."""
        inside = tuple(tuple(item.look() for item in branch) for branch in self.branches)
        return inside, tuple(self.dashed), self.join.look()


@dataclass
class Repeat:
    """An item that comes `count` times in a row."""

    item: Box | Split
    count: int

    def look(self) -> tuple[Any, ...]:
        """As of a box."""
        return self.item.look(), self.count


Item = Box | Split | Repeat


def pair_text(size: Sequence[int]) -> str:
    """3x3 from (3, 3)."""
    return "×".join(str(n) for n in size)


def box_of(op: str, name: str, module: Any, shape: tuple[int, ...]) -> Box:
    """The box of an op that ran inside of a module (None: a function)."""
    if op.startswith("conv2d") and isinstance(module, nn.Conv2d):
        size = pair_text(module.kernel_size)
        stride = f", /{module.stride[0]}" if module.stride[0] > 1 else ""
        kind = "conv1" if size == "1×1" else "conv"
        label = f"{size} conv, {shape[0] // module.groups}{stride}"
        return Box(kind, label, shape, name, module.groups)
    if op.startswith("linear"):
        return Box("linear", f"linear, {shape[0]}", shape, name)
    if op == "local_response_norm":
        return Box("norm", "LRN", shape, name)
    if op == "global_avg_pool2d" or shape[1:] == (1, 1):
        return Box("pool", "global average", shape, name)
    kind = "max pool" if op.startswith("max") else "avg pool"
    window = getattr(module, "kernel_size", None)
    steps = getattr(module, "stride", None)
    if window is None or steps is None:
        return Box("pool", f"{kind} to {pair_text(shape[1:])}", shape, name)
    step = f", /{steps[0]}" if steps[0] > 1 else ""
    return Box("pool", f"{pair_text(window)} {kind}{step}", shape, name)


def run_once(net: nn.Module, x: Any) -> tuple[list[Any], dict[int, tuple[str, Any]]]:
    """The outputs of the net, and which leaf module made which node."""
    made: dict[int, tuple[str, Any]] = {}
    removers = []

    def hook(name: str) -> Any:
        def note(module: Any, inputs: Any, out: Any) -> None:
            before = -1 if inputs[0].node is None else inputs[0].node.serial
            todo = [out.node]
            while todo:  # back to what came in; what is older was made elsewhere
                node = todo.pop()
                if node is not None and node.serial > before and node.serial not in made:
                    made[node.serial] = name, module
                    todo.extend(node.parents)

        return note

    for name, module in net.named_modules():
        if next(module.children(), None) is None:
            removers.append(module.register_forward_hook(hook(name)))
    net.eval()
    net.training = True  # of the net alone: auxiliary heads run, layers are in evaluation
    try:
        out = net(x)
    finally:
        net.eval()
        for remove in removers:
            remove()
    return list(out) if isinstance(out, tuple) else [out], made


def trace(net: nn.Module, image: tuple[int, ...]) -> list[Box]:
    """The boxes of a net for one image (C, H, W), in the order in which they ran.

    The last is the output; auxiliary outputs hang on ``side``. Raises what the net raises.
    """
    dtype = next((p.dtype for p in net.parameters()), None)
    x = mg.zeros(1, *image, dtype=dtype, requires_grad=True)
    outputs, made = run_once(net, x)
    own = {p.node.serial for p in net.parameters() if p.node is not None}
    first = Box("image", f"image, {pair_text(image)}", tuple(image))
    known: dict[int, tuple[Box, bool]] = {x.node.serial: (first, False)}
    boxes = [first]
    nodes = {n.serial: n for y in outputs for n in tape_of(y)}
    for serial in sorted(nodes.keys() - own - known.keys()):
        node = nodes[serial]
        parents = [known[p.serial] for p in node.parents if p is not None and p.serial in known]
        name, module = made.get(serial, ("", None))
        shape = tuple(node.shape[1:])
        if node.name.startswith(LAYERS):
            box = box_of(node.name, name, module, shape)
        elif len(parents) > 1:
            kind = "concat" if node.name == "concat" else "add"
            box = Box(kind, f"concat, {shape[0]}" if kind == "concat" else "+", shape, name)
        else:
            source, dashed = parents[0]
            known[serial] = source, dashed or node.name in THIN
            continue
        box.parents = parents
        known[serial] = box, False
        boxes.append(box)
    return attach(boxes, [known[y.node.serial][0] for y in outputs])


def attach(boxes: list[Box], outputs: list[Box]) -> list[Box]:
    """Move auxiliary heads from the boxes to the ``side`` of what they stand on."""
    main, todo = {id(outputs[0])}, [outputs[0]]
    while todo:
        for parent, _ in todo.pop().parents:
            if id(parent) not in main:
                main.add(id(parent))
                todo.append(parent)
    for head in outputs[1:]:
        chain = [head]
        while id(chain[0].parents[0][0]) not in main:
            chain.insert(0, chain[0].parents[0][0])
        chain[0].parents[0][0].side = chain
    return [box for box in boxes if id(box) in main]


def joins_after(boxes: list[Box]) -> dict[int, int]:
    """For each box the next one that every path from it passes (its immediate post-dominator)."""
    place = {id(box): k for k, box in enumerate(boxes)}
    after: dict[int, list[int]] = {k: [] for k in range(len(boxes))}
    for k, box in enumerate(boxes):
        for parent, _ in box.parents:
            after[place[id(parent)]].append(k)
    found: dict[int, int] = {}
    for k in reversed(range(len(boxes) - 1)):
        common = after[k][0]
        for other in after[k][1:]:
            while common != other:
                if common < other:
                    common = found[common]
                else:
                    other = found[other]
        found[k] = common
    return found


def structure(boxes: list[Box]) -> list[Item]:
    """Boxes as a series of boxes and splits.

    Raises ArgError where some branches meet before others do, which a series cannot say.
    """
    place = {id(box): k for k, box in enumerate(boxes)}
    joins = joins_after(boxes)
    taken: set[int] = set()
    after: dict[int, list[tuple[int, bool]]] = {k: [] for k in range(len(boxes))}
    for k, box in enumerate(boxes):
        for parent, dashed in box.parents:
            after[place[id(parent)]].append((k, dashed))

    def take(k: int) -> None:
        """Every box is drawn once."""
        if k in taken:
            raise ArgError(
                f"graph: branches meet at {boxes[k].name or boxes[k].label!r} and go on side by "
                "side; only nets of series and branches can be drawn"
            )
        taken.add(k)

    def series(k: int, stop: int) -> list[Item]:
        """From box k up to box `stop`, which is left out."""
        items: list[Item] = []
        while k != stop:
            take(k)
            items.append(boxes[k])
            while k in joins and len(after[k]) > 1:
                join = joins[k]
                take(join)
                branches = [series(n, join) for n, _ in after[k]]
                items.append(Split(branches, [dashed for _, dashed in after[k]], boxes[join]))
                k = join
            if k == stop or k not in joins:
                break
            k = joins[k]
        return items

    return series(0, len(boxes))


def rows(items: Sequence[Item]) -> int:
    """How many boxes are below one another."""
    count = 0
    for item in items:
        inner = item.item if isinstance(item, Repeat) else item
        if isinstance(inner, Split):
            count += 1 + max(rows(branch) for branch in inner.branches)
        else:
            count += 1
    return count


def fold(items: Sequence[Item]) -> list[Item]:
    """Equal neighbors as one with a count: splits always, boxes where the net is long."""
    long = rows(items) > FOLD
    found: list[Item] = []
    for item in items:
        last = found[-1] if found else None
        same = (
            last is not None
            and (last.item if isinstance(last, Repeat) else last).look() == item.look()
        )
        foldable = isinstance(item, Split) or (long and isinstance(item, Box) and not item.side)
        if same and foldable and not isinstance(item, Repeat):
            inner, count = (last.item, last.count) if isinstance(last, Repeat) else (last, 1)
            assert isinstance(inner, Box | Split)
            found[-1] = Repeat(inner, count + 1)
        else:
            found.append(item)
    return found


def name_of(item: Item) -> str:
    """The name of the module that everything inside belongs to: "layer1.0", "inception3a"."""
    inner = item.item if isinstance(item, Repeat) else item
    if isinstance(inner, Box):
        return inner.name
    parts = [name_of(i).split(".") for branch in inner.branches for i in branch]
    parts = [p for p in parts if p != [""]]
    if not parts:
        return ""
    common = [a for a in parts[0]]
    for other in parts[1:]:
        common = [a for a, b in zip(common, other, strict=False) if a == b]
    return ".".join(common)


def architecture(model: str, variant: str | None = None, **options: Any) -> list[Item]:
    """The folded structure of a net of the zoo on its own image. Raises ArgError."""
    image = image_of(model, variant)
    with nn.meta():
        net = get_model(model, variant=variant, **options)
    return fold(structure(trace(net, image)))
