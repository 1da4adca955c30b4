"""show: the tape as a table, and as a picture.

Design: nodes point to nodes, so the tape under a Tensor can be listed at any time: serial number,
op, shape of its output, what it keeps and how many bytes that is, and where its gradients go.  The
table is text; the picture is DOT (Graphviz source) or SVG, drawn here without any library: nodes in
columns by their distance from the leaves.

Absent on purpose: layout beyond layers.  Next: nothing; this is a leaf of the house.
"""

from __future__ import annotations

from html import escape
from typing import Any

from .errors import GraphError


def tape_of(t: Any) -> list[Any]:
    """The nodes under a Tensor, in the order they were made. Raises GraphError when untracked."""
    if t.node is None:
        raise GraphError("show: this Tensor is not tracked; nothing is on the tape")
    seen: set[Any] = set()
    stack = [t.node]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(p for p in node.parents if p is not None)
    return sorted(seen, key=lambda node: int(node.serial))


def kept_bytes(node: Any, counted: set[int]) -> int:
    """Bytes of the arrays that a node keeps and that no earlier row counted."""
    total = 0
    for _, array in node.kept_items():
        root = array
        while root.base is not None and hasattr(root.base, "nbytes"):
            root = root.base
        if id(root) not in counted:
            counted.add(id(root))
            total += root.nbytes
    return total


def row(node: Any, counted: set[int]) -> tuple[str, ...]:
    """One line of the table."""
    kept = ", ".join(f"{name} {'x'.join(map(str, a.shape))}" for name, a in node.kept_items())
    to = ", ".join("-" if p is None else str(p.serial) for p in node.parents)
    if node.rule is None:
        kept, to = "", "its own grad"
    state = "played" if node.played else kept or "nothing"
    shape = "x".join(map(str, node.shape)) or "scalar"
    return str(node.serial), node.name, shape, state, f"{kept_bytes(node, counted):,}", to


HEADER = ("serial", "op", "output", "keeps", "bytes", "gradients go to")


def table(t: Any) -> str:
    """The tape under a Tensor as text, oldest first, with the bytes kept in all."""
    counted: set[int] = set()
    nodes = tape_of(t)
    rows = [HEADER, *(row(node, counted) for node in nodes)]
    widths = [max(len(r[k]) for r in rows) for k in range(len(HEADER))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    total = sum(int(r[4].replace(",", "")) for r in rows[1:])
    return "\n".join([*lines, f"{len(nodes)} nodes, {total:,} bytes kept"])


def dot(t: Any) -> str:
    """The tape under a Tensor as Graphviz source."""
    lines = ["digraph tape {", "  rankdir=LR; node [shape=box, fontname=Helvetica];"]
    for node in tape_of(t):
        style = ', style="rounded,filled", fillcolor="#e8f0fe"' if node.rule is None else ""
        size = "x".join(map(str, node.shape)) or "scalar"
        lines.append(f'  n{node.serial} [label="{node.serial} {node.name}\\n{size}"{style}];')
        lines += [f"  n{p.serial} -> n{node.serial};" for p in node.parents if p is not None]
    return "\n".join([*lines, "}"])


WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 124, 42, 52, 18, 20


def places(nodes: list[Any]) -> dict[Any, tuple[int, int]]:
    """(x, y) of every node: a column by its distance from the leaves, a row within the column."""
    column: dict[Any, int] = {}
    for node in nodes:
        column[node] = 1 + max((column[p] for p in node.parents if p is not None), default=-1)
    for node in reversed(nodes):  # a leaf stands just before its first user
        users = [column[n] for n in nodes if node in n.parents]
        if node.rule is None and users:
            column[node] = min(users) - 1
    filled: dict[int, int] = {}
    spots: dict[Any, tuple[int, int]] = {}
    for node in nodes:
        k = column[node]
        r = filled.get(k, 0)
        filled[k] = r + 1
        spots[node] = MARGIN + k * (WIDTH + GAP_X), MARGIN + r * (HEIGHT + GAP_Y)
    return spots


def svg(t: Any) -> str:
    """The tape under a Tensor as an SVG picture: leaves blue, gradients flow from right to left."""
    nodes = tape_of(t)
    spots = places(nodes)
    width = max(x for x, _ in spots.values()) + WIDTH + MARGIN
    height = max(y for _, y in spots.values()) + HEIGHT + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" text-anchor="middle">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for node in nodes:
        x1, y1 = spots[node]
        for p in (p for p in node.parents if p is not None):
            x0, y0 = spots[p]
            a, b, c, d = x0 + WIDTH, y0 + HEIGHT // 2, x1, y1 + HEIGHT // 2
            m = (a + c) // 2
            out.append(
                f'<path d="M{a},{b} C{m},{b} {m},{d} {c},{d}" fill="none" stroke="#9aa0a6"/>'
            )
    for node in nodes:
        x, y = spots[node]
        leaf = node.rule is None
        fill, line = ("#e8f0fe", "#1a73e8") if leaf else ("#ffffff", "#5f6368")
        size = "x".join(map(str, node.shape)) or "scalar"
        out += [
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}" '
            f'stroke="{line}"/>',
            f'<text x="{x + WIDTH // 2}" y="{y + 18}" font-size="13">{node.serial} '
            f"{escape(node.name)}</text>",
            f'<text x="{x + WIDTH // 2}" y="{y + 33}" font-size="11" fill="#5f6368">{size}</text>',
        ]
    return "\n".join([*out, "</svg>"])


def show(t: Any, path: str | None = None) -> None:
    """Print the tape under a Tensor as a table; write ``.svg`` or ``.dot`` when `path` says so.

    Raises GraphError when the Tensor is not tracked; OSError when the file cannot be written.
    """
    print(table(t))
    if path is not None:
        text = svg(t) if str(path).endswith(".svg") else dot(t)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
