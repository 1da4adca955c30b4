"""Drawings of nets for the pages: what ``python -m zoo graph`` draws, without its work.

Design: the drawing is read off the tape of a net that runs once.  Here it gets a batch of no
images: shapes and ops are the same, and nothing is computed, so a test can make all drawings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad import Tensor, nn
from zoo import get_model
from zoo.graph import Item, fold, structure, trace
from zoo.graph_svg import svg
from zoo.registry import image_of
from zoo.summary import Summary


def file_of(names: Sequence[str]) -> str:
    """What the drawing of these nets is called."""
    return f"zoo-{'-'.join(names)}.svg"


def architecture(name: str) -> list[Item]:
    """The structure of a net on its own image."""
    with nn.meta():
        net = get_model(name)
    forward = net.forward

    def of_no_images(x: Tensor) -> Any:
        return forward(x[:0])

    object.__setattr__(net, "forward", of_no_images)
    return fold(structure(trace(net, image_of(name))))


def drawing(names: Sequence[str], found: Sequence[Summary]) -> str:
    """Nets side by side, with their counts, as the text of an SVG file."""
    notes = (f"{f.total('parameters'):,} parameters, {f.total('macs'):,} multiply-adds"
             for f in found)  # fmt: skip
    return svg([(n, note, architecture(n)) for n, note in zip(names, notes, strict=True)]) + "\n"
