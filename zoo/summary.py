"""summary: what each layer of a net puts out, holds and costs.

Design: the net runs once on one image of zeros while hooks note the shapes.  Conventions: a MAC is
one multiply-add of a convolution or linear layer; biases, batch norm, ReLU and pooling count no
MACs; parameters include biases and batch norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import minigrad as mg
from minigrad import nn


@dataclass(frozen=True)
class Row:
    """One layer: name in the state_dict, kind, output shape without N, parameters, MACs."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


def macs_of(module: Any, output: tuple[int, ...]) -> int:
    """Multiply-adds for one image."""
    if isinstance(module, nn.Conv2d):  # every output value is a sum over C/groups x R x S
        k, c, r, s = module.weight.shape
        return c * r * s * k * output[1] * output[2]
    if isinstance(module, nn.Linear):
        return int(module.weight.size)
    return 0


def summary(net: Any, image: tuple[int, int, int]) -> list[Row]:
    """Rows of the layers of `net` for one image (C, H, W), in the order they run."""
    rows: list[Row] = []
    removers = []

    def watch(name: str, module: Any) -> None:
        def hook(_: Any, inputs: Any, out: Any) -> None:
            shape = tuple(out.shape[1:])
            own = sum(p.size for p in module.parameters())
            rows.append(Row(name, type(module).__name__, shape, own, macs_of(module, shape)))

        removers.append(module.register_forward_hook(hook))

    for name, module in net.named_modules():
        if name and not list(module.children()):
            watch(name, module)
    training = net.training
    net.eval()
    try:
        with mg.no_grad():
            net(mg.zeros(1, *image))
    finally:
        net.train(training)
        for remove in removers:
            remove()
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text, with totals."""
    lines = [("layer", "kind", "output", "parameters", "MACs")]
    for r in rows:
        lines.append(
            (r.name, r.kind, "x".join(map(str, r.output)), f"{r.parameters:,}", f"{r.macs:,}")
        )
    total = f"{sum(r.parameters for r in rows):,}"
    lines.append(("total", "", "", total, f"{sum(r.macs for r in rows):,}"))
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    out = []
    for line in lines:
        left = "  ".join(line[k].ljust(widths[k]) for k in range(3))
        out.append(f"{left}  {line[3]:>{widths[3]}}  {line[4]:>{widths[4]}}")
    return "\n".join(out)
