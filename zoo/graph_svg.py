"""Draws what ``graph.py`` found as SVG.

Design: a series runs down a column; branches stand side by side; a shortcut is a line on the right;
a long net goes on in the next column.  An item knows its size and then draws itself at a place.
To the left of an item stand its name and its output; text is the only thing whose width is guessed,
so boxes are wide enough for the longest label.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .graph import Box, Item, Repeat, Split, name_of, pair_text

WIDTH, NARROW, HEIGHT, GAP = 150, 120, 22, 12
BRANCH_GAP, SHORTCUT, JOIN = 10, 26, 9
LEFT, COLUMN_GAP, MARGIN, HEAD = 112, 36, 18, 54
TALL = 1050  # of a column
FILLS = {
    "image": "#ffffff", "conv": "#cfe0f3", "conv1": "#e8f0fa", "pool": "#fde3c2",
    "linear": "#d5ead0", "norm": "#ececec", "concat": "#ffffff", "add": "#ffffff",
}  # fmt: skip
LINES = {
    "image": "#9aa0a6", "conv": "#3b6ea5", "conv1": "#3b6ea5", "pool": "#c77f1a",
    "linear": "#4b8b3b", "norm": "#8a8a8a", "concat": "#5f6368", "add": "#5f6368",
}  # fmt: skip
INK, GRAY, EDGE = "#202124", "#6b7075", "#5f6368"


class Canvas:
    """SVG elements; boxes lie over lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shapes: list[str] = []

    def text(self, x: float, y: float, text: str, *, size: float = 11, anchor: str = "middle",
             fill: str = INK, bold: bool = False) -> None:  # fmt: skip
        """One line of text; y is its baseline."""
        weight = ' font-weight="bold"' if bold else ""
        self.shapes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{fill}"{weight}>{escape(text)}</text>'
        )

    def rect(self, x: float, y: float, w: float, h: float, kind: str) -> None:
        """A box of a kind, its middle at x, its top at y."""
        radius = 10 if kind == "image" else 3
        self.shapes.append(
            f'<rect x="{x - w / 2:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{radius}" '
            f'fill="{FILLS[kind]}" stroke="{LINES[kind]}"/>'
        )

    def circle(self, x: float, y: float, label: str) -> None:
        """A join by addition, its middle at (x, y)."""
        self.shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="{JOIN}" fill="white" '
                           f'stroke="{LINES["add"]}"/>')  # fmt: skip
        self.text(x, y + 4.5, label, size=14)

    def path(self, points: Sequence[tuple[float, float]], *, dashed: bool = False,
             arrow: bool = False) -> None:  # fmt: skip
        """Straight lines from point to point."""
        data = "M" + " L".join(f"{x:g},{y:g}" for x, y in points)
        style = ' stroke-dasharray="4 3"' if dashed else ""
        end = ' marker-end="url(#arrow)"' if arrow else ""
        self.lines.append(f'<path d="{data}" fill="none" stroke="{EDGE}"{style}{end}/>')

    def frame(self, x: float, y: float, w: float, h: float) -> None:
        """A frame around what is repeated."""
        self.lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="8" fill="#f7f8f9" '
            'stroke="#c4c8cc" stroke-dasharray="2 2"/>'
        )


def shortcut(split: Split) -> bool:
    """Whether it is a residual block: a sum of a path and something beside it."""
    return split.join.kind == "add" and len(split.branches) == 2


def ordered(split: Split) -> list[tuple[list[Item], bool]]:
    """The branches with their dashes; of a residual block the longer one first."""
    both = list(zip(split.branches, split.dashed, strict=True))
    return sorted(both, key=lambda b: -len(b[0])) if shortcut(split) else both


def width(item: Item, *, inside: bool = False) -> float:
    """Of a box, or of everything in a split."""
    if isinstance(item, Repeat):
        return width(item.item, inside=inside)
    if isinstance(item, Box):
        return NARROW if inside else WIDTH
    if shortcut(item):
        (main, _), (beside, _) = ordered(item)
        right = SHORTCUT if not beside else BRANCH_GAP + series_width(beside)
        return series_width(main) + 2 * right  # the path stays in the middle of the column
    widths = [series_width(branch) for branch, _ in ordered(item)]
    return sum(widths) + BRANCH_GAP * (len(widths) - 1)


def series_width(items: Sequence[Item]) -> float:
    """Of a branch."""
    return max((width(item, inside=True) for item in items), default=SHORTCUT)


def height(item: Item) -> float:
    """Of an item, without the gap below it."""
    if isinstance(item, Repeat):
        return height(item.item) + (14 if isinstance(item.item, Split) else 0)
    if isinstance(item, Box):
        return HEIGHT
    inner = max(series_height(branch) for branch in item.branches)
    return inner + 2 * GAP + (2 * JOIN if item.join.kind == "add" else HEIGHT)


def series_height(items: Sequence[Item]) -> float:
    """Of items one below the other."""
    return sum(height(item) for item in items) + GAP * max(len(items) - 1, 0)


def draw_box(c: Canvas, box: Box, x: float, y: float, w: float) -> None:
    """A box; a convolution with groups in as many parts."""
    part = (w - 4 * (box.groups - 1)) / box.groups
    for k in range(box.groups):
        middle = x - w / 2 + part / 2 + k * (part + 4)
        c.rect(middle, y, part, HEIGHT, box.kind)
        label = box.label if part > 90 else box.label.replace(" conv", "")
        c.text(middle, y + HEIGHT / 2 + 4, label)


def draw_item(c: Canvas, item: Item, x: float, y: float, *, inside: bool = False) -> float:
    """Draw it with its middle at x and its top at y; returns the y of its lower end."""
    if isinstance(item, Repeat):
        return draw_repeat(c, item, x, y, inside=inside)
    if isinstance(item, Box):
        draw_box(c, item, x, y, width(item, inside=inside))
        return y + HEIGHT
    return draw_split(c, item, x, y)


def draw_repeat(c: Canvas, item: Repeat, x: float, y: float, *, inside: bool) -> float:
    """A frame around a split, a number beside a box."""
    w = width(item.item, inside=inside)
    if isinstance(item.item, Box):
        bottom = draw_item(c, item.item, x, y, inside=inside)
        c.text(x + w / 2 + 6, y + HEIGHT / 2 + 4, f"× {item.count}", anchor="start", bold=True)
        return bottom
    c.frame(x - w / 2 - 4, y, w + 8, height(item))
    c.path([(x, y), (x, y + 2)])
    bottom = draw_split(c, item.item, x, y + 2)
    middle = y + height(item) / 2 + 4
    c.text(x + w / 2 + 10, middle, f"× {item.count}", anchor="start", size=12, bold=True)
    c.path([(x, bottom), (x, bottom + 12)])
    return bottom + 12


def places(split: Split, x: float) -> list[float]:
    """The middle of each branch, in the order of ``ordered``."""
    branches = [branch for branch, _ in ordered(split)]
    widths = [series_width(branch) for branch in branches]
    if shortcut(split):
        gap = BRANCH_GAP if branches[1] else 0
        return [x, x + widths[0] / 2 + gap + widths[1] / 2]
    left = x - (sum(widths) + BRANCH_GAP * (len(widths) - 1)) / 2
    found = []
    for w in widths:
        found.append(left + w / 2)
        left += w + BRANCH_GAP
    return found


def draw_split(c: Canvas, split: Split, x: float, y: float) -> float:
    """Branches from a point at the top to the join."""
    top = y + GAP
    low = top + max(series_height(branch) for branch in split.branches)
    add = split.join.kind == "add"
    for (branch, dashed), place in zip(ordered(split), places(split, x), strict=True):
        end = low + GAP + (JOIN if add else 0)
        if not branch:
            points = [(x, y + GAP / 3), (place, y + GAP / 3), (place, end), (x + JOIN, end)]
            c.path(points, dashed=dashed, arrow=True)
            continue
        c.path([(x, y), (x, y + GAP / 3), (place, y + GAP / 3), (place, top)], dashed=dashed)
        bottom = draw_series(c, branch, place, top, inside=True)
        if add and place != x:
            c.path([(place, bottom), (place, end), (x + JOIN, end)], arrow=True)
        else:
            c.path([(place, bottom), (place, low + GAP)], arrow=add)
    if add:
        c.circle(x, low + GAP + JOIN, split.join.label)
        return low + GAP + 2 * JOIN
    w = width(split)
    c.rect(x, low + GAP, w, HEIGHT, "concat")
    c.text(x, low + GAP + HEIGHT / 2 + 4, split.join.label)
    return low + GAP + HEIGHT


def draw_series(
    c: Canvas, items: Sequence[Item], x: float, y: float, *, inside: bool = False
) -> float:
    """Items one below the other, joined by lines; returns the y of the lower end."""
    for k, item in enumerate(items):
        if k:
            c.path([(x, y), (x, y + GAP)], arrow=not isinstance(item, Split))
            y += GAP
        top = y
        y = draw_item(c, item, x, y, inside=inside)
        if not inside:
            draw_notes(c, item, x, top, y)
    return y


def last_box(item: Item) -> Box:
    """What an item gives."""
    inner = item.item if isinstance(item, Repeat) else item
    return inner.join if isinstance(inner, Split) else inner


def draw_notes(c: Canvas, item: Item, x: float, top: float, bottom: float) -> None:
    """Name and output to the left, an auxiliary head to the right."""
    box = last_box(item)
    inner = item.item if isinstance(item, Repeat) else item
    edge = x - width(item) / 2 - 10
    if isinstance(inner, Split) and shortcut(inner):  # the same for blocks of all widths
        edge = x - NARROW / 2 - SHORTCUT - 14
    if isinstance(inner, Split):
        c.text(edge, top + 22, name_of(item), size=10, anchor="end", fill=GRAY)
        c.text(edge, bottom - 4, pair_text(box.shape), size=10, anchor="end", fill=GRAY)
    elif box.kind != "image":
        c.text(edge, top + HEIGHT / 2 + 4, pair_text(box.shape), size=10, anchor="end", fill=GRAY)
    if box.side:
        draw_head(c, box.side, x + width(item) / 2, bottom - HEIGHT / 2)


def draw_head(c: Canvas, head: Sequence[Box], edge: float, y: float) -> None:
    """An auxiliary head to the right of what it stands on."""
    x = edge + 24 + NARROW / 2
    c.path([(edge, y), (edge + 24, y)], arrow=True)
    c.text(x, y - 17, "training only", size=10, fill=GRAY)
    draw_series(c, head, x, y - HEIGHT / 2, inside=True)


def columns(items: Sequence[Item]) -> list[list[Item]]:
    """Items dealt into columns of about equal height, in order, none much above ``TALL``."""
    total = series_height(items)
    count = max(1, round(total / TALL + 0.3))
    found: list[list[Item]] = [[]]
    done = 0.0
    for item in items:
        h = height(item) + GAP
        if found[-1] and len(found) < count and done + h / 2 > len(found) * total / count:
            found.append([])
        found[-1].append(item)
        done += h
    return found


def column_widths(column: Sequence[Item]) -> tuple[float, float]:
    """What a column needs to the left and to the right of its middle."""
    widest = max(width(item) for item in column) / 2
    left = max(width(item) / 2 + LEFT for item in column)
    sides = [width(item) / 2 + 30 + NARROW for item in column if last_box(item).side]
    counts = [width(item) / 2 + 38 for item in column if isinstance(item, Repeat)]
    return left, max([widest, *sides, *counts])


def draw_net(
    c: Canvas, title: str, note: str, items: Sequence[Item], x: float
) -> tuple[float, float]:
    """One net from x to the right; returns the x of its right end and the y of its lower end."""
    parts = columns(items)
    bottoms: list[float] = []
    ends: list[float] = []
    start = x
    for k, column in enumerate(parts):
        left, right = column_widths(column)
        middle = x + left
        if k:
            low, before = bottoms[-1], ends[-1]
            between = x + 8
            down = [(before, low), (before, low + GAP), (between, low + GAP)]
            up = [(between, HEAD - 8), (middle, HEAD - 8), (middle, HEAD)]
            c.path([*down, *up], arrow=True)
        bottoms.append(draw_series(c, column, middle, HEAD))
        ends.append(middle)
        x = middle + right + COLUMN_GAP
    c.text(start + 4, 20, title, size=15, anchor="start", bold=True)
    c.text(start + 4, 36, note, size=10.5, anchor="start", fill=GRAY)
    return max(x - COLUMN_GAP, start + 6.3 * len(note)), max(bottoms)


def svg(nets: Sequence[tuple[str, str, Sequence[Item]]]) -> str:
    """A picture of nets (title, note, items) side by side."""
    c = Canvas()
    x, low = float(MARGIN), 0.0
    for title, note, items in nets:
        x, bottom = draw_net(c, title, note, items, x)
        low, x = max(low, bottom), x + COLUMN_GAP
    legend = "Batch norm, activations and dropout are not drawn."
    if any("4 3" in line for line in c.lines):
        legend += " Dashed: every second pixel, zeros for new maps."
    c.text(MARGIN + 4, low + 34, legend, size=10, anchor="start", fill=GRAY)
    w, h = max(x - COLUMN_GAP + MARGIN, 560), low + 34 + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w:g} {h:g}" width="{w:g}" '
        f'height="{h:g}" font-family="Helvetica, Arial, sans-serif">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{EDGE}"/></marker>'
        f'</defs><rect width="{w:g}" height="{h:g}" fill="white"/>'
    )
    return "\n".join([head, *c.lines, *c.shapes, "</svg>"])
