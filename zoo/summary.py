"""summary: what each layer of a net puts out, holds, costs and sees.

Design: the net runs once while hooks note the shapes.  A net that is given by name is built inside
of ``nn.meta`` and runs on a batch of no images, so that nothing is computed and VGG-16 and
ResNet-1202 need milliseconds and no memory; a net of one's own, whose code may ask for values, runs
on one image of zeros.

Conventions, since most published counts that disagree differ in these:
  values      what convolutions, poolings and linear layers put out, and the input, once each;
              ReLU, dropout, normalization, sums and concatenations work in place
  weights     parameters without biases (the beta of batch norm is one)
  parameters  with biases, gamma and beta; running statistics are not parameters
  MACs        multiply-adds of convolutions and linear layers; biases and all other layers count 0
  field       receptive field in pixels: r += (k - 1) j; j *= s, from r = j = 1; a linear layer is a
              window over the whole map. What functions compute has the field of what ran before
Layers run as in evaluation; parameters that do not run then (auxiliary heads) are said below the
table.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.errors import ArgError

from .registry import Image, get_model, image_of

IN_PLACE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Flatten, nn.Identity)  # no row
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Row:
    """One layer: name in the state_dict, kind, output shape without N, and its counts."""

    name: str
    kind: str
    output: tuple[int, ...]
    values: int
    weights: int
    parameters: int
    macs: int
    field: int


class Field(NamedTuple):
    """How much of the image a value sees: r pixels, j apart from the next, on a map so high."""

    r: int
    j: int
    height: int

    def behind(self, kernel: int, stride: int, height: int) -> Field:
        """The field of what a window computes from such values."""
        return Field(self.r + (kernel - 1) * self.j, self.j * stride, height)


class Fields:
    """The fields of Tensors that are alive, found by identity."""

    def __init__(self, x: Any) -> None:
        self.known: dict[int, tuple[weakref.ref[Any], Field]] = {}
        self.last = Field(1, 1, x.shape[2])
        self.put(x, self.last)

    def put(self, x: Any, field: Field) -> None:
        """Remember a Tensor's field; it is also that of what functions make of it."""
        self.known[id(x)] = weakref.ref(x), field
        self.last = field

    def get(self, x: Any) -> Field:
        """The field of a Tensor; of one that no layer has put out, that of the last that did."""
        found = self.known.get(id(x))
        return found[1] if found is not None and found[0]() is x else self.last


def behind(module: Any, before: Field, shape: tuple[int, ...]) -> Field:
    """The field of a layer's output (without N) of this shape."""
    if isinstance(module, nn.Linear):
        return before.behind(before.height, 1, 1)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        stride = before.height // shape[1]
        return before.behind(before.height - (shape[1] - 1) * stride, stride, shape[1])
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        reach = module.dilation[0] * (module.kernel_size[0] - 1) + 1
        return before.behind(reach, module.stride[0], shape[1])
    if isinstance(module, nn.AvgPool2d):
        return before.behind(module.kernel_size[0], module.stride[0], shape[1])
    return before


def row_of(name: str, module: Any, shape: tuple[int, ...], field: int) -> Row:
    """A layer's line."""
    own = list(module.named_parameters())
    parameters = sum(p.size for _, p in own)
    counted = isinstance(module, (nn.Conv2d, nn.Linear, *POOLS))
    macs = 0
    if isinstance(module, nn.Conv2d):  # every output value is a sum over C/groups x R x S
        macs = int(module.weight.size) * shape[1] * shape[2]
    elif isinstance(module, nn.Linear):
        macs = int(module.weight.size)
    return Row(
        name, type(module).__name__, shape, math.prod(shape) if counted else 0,
        parameters - sum(p.size for n, p in own if n == "bias"), parameters, macs, field,
    )  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Rows in the order in which layers run, the input first; ``str`` of it is the table."""

    rows: tuple[Row, ...]
    idle: int  # parameters of layers that did not run

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def total(self, what: str) -> int:
        """The sum of "values", "weights", "parameters" or "macs" over the rows that ran."""
        return sum(getattr(row, what) for row in self.rows)

    def __str__(self) -> str:
        return table(self)


def watch(net: Any, x: Any) -> list[Row]:
    """Run the net on x and note the rows of its layers."""
    rows: list[Row] = []
    fields, widest = Fields(x), dict[str, Field]()
    removers = []

    def hook(name: str, leaf: bool) -> Any:
        def note(module: Any, inputs: Any, out: Any) -> None:
            shape = tuple(out.shape[1:])
            if leaf:
                field = behind(module, fields.get(inputs[0]), shape)
                if not isinstance(module, IN_PLACE):
                    rows.append(row_of(name, module, shape, field.r))
            else:  # as far as the widest of the paths inside
                field = widest.pop(name, fields.last)
            fields.put(out, field)
            parent = name.rpartition(".")[0]
            widest[parent] = max(field, widest.get(parent, field))

        return note

    for name, module in net.named_modules():
        leaf = next(module.children(), None) is None
        if name or leaf:
            removers.append(module.register_forward_hook(hook(name, leaf)))
    try:
        net(x)
    finally:
        for remove in removers:
            remove()
    return rows


def summary(
    model: str | nn.Module,
    image: Image | None = None,
    *,
    num_classes: int | None = None,
    variant: str | None = None,
    **options: Any,
) -> Summary:
    """The layers of a net for one image (C, H, W).

    model: a name, with what ``get_model`` takes (the image is the net's own if not given), or a
    net, with an image. Raises ArgError, and ShapeError for an image that the net cannot take.

    >>> f"{summary('vgg16').total('values'):,}"
    '15,237,608'
    """
    if isinstance(model, str):
        image = image_of(model, variant) if image is None else image
        with nn.meta():
            net, batch = get_model(model, num_classes, variant, image[0], **options), 0
    elif image is None:
        raise ArgError("summary: a net that is not given by name needs an image (C, H, W)")
    else:
        net, batch = model, 1
    modes = [(module, module.training) for module in net.modules()]
    dtype = next((p.dtype for p in net.parameters()), np.dtype(np.float32))
    net.eval()
    try:
        with mg.no_grad():
            rows = watch(net, mg.zeros(batch, *image, dtype=dtype))
    finally:
        for module, training in modes:
            module.training = training
    first = Row("input", "", tuple(image), math.prod(image), 0, 0, 0, 1)
    ran = sum(row.parameters for row in rows)
    return Summary((first, *rows), sum(p.size for p in net.parameters()) - ran)


HEADER = ("layer", "kind", "output", "values", "weights", "parameters", "MACs", "field")


def table(found: Summary) -> str:
    """The rows as text, with totals, the memory of the values, and the convention."""
    lines: list[tuple[str, ...]] = [HEADER]
    for r in found:
        counts = (r.values, r.weights, r.parameters, r.macs, r.field)
        size = "x".join(map(str, r.output))
        lines.append((r.name, r.kind, size, *(f"{n:,}" if n else "" for n in counts)))
    values, *others = (found.total(w) for w in ("values", "weights", "parameters", "macs"))
    lines.append(("total", "", "", *(f"{n:,}" for n in (values, *others)), ""))
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEADER))]
    out = []
    for line in lines:
        cells = [line[k].ljust(widths[k]) for k in range(3)]
        cells += [line[k].rjust(widths[k]) for k in range(3, len(HEADER))]
        out.append("  ".join(cells).rstrip())
    memory = 4 * values
    out.append(
        f"values of one image in float32: {memory / 1e6:.1f} MB ({memory / 2**20:.1f} MiB), as "
        "much again for their gradients"
    )
    if found.idle:
        out.append(f"{found.idle:,} more parameters did not run (auxiliary heads: training only)")
    out.append("a MAC is one multiply-add; ReLU, dropout, normalization and sums work in place")
    return "\n".join(out)
