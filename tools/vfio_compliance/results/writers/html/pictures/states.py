# SPDX-License-Identifier: GPL-2.0-only
"""The states of a device as a diagram: an arrow for each change between them, styled by what was seen of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import Final, NamedTuple

from ....changes import Change, Seen

WIDTH, HEIGHT = 600, 460

#: Half the size of a state's box.
_HALF_WIDTH, _HALF_HEIGHT = 72.0, 20.0
#: How far an arrow is bent, as a part of its length; and the length of its head.
_BEND, _HEAD = 0.13, 10.0

#: With more states than this, they are in the order in which they come.
_MOST_ORDERED: Final = 7

#: The most states in a diagram, and the most letters of a state's name.
MOST_STATES, _LONGEST = 8, 15


#: The most important is drawn last, above the others.
_LAST_ABOVE: Final = (Seen.REFUSED, Seen.ACCEPTED, Seen.UNSEEN, Seen.DOCUMENTED, Seen.BROKEN)


class Node(NamedTuple):
    """A state: the middle of its box, and its label."""

    name: str
    x: float
    y: float
    left: float
    top: float
    width: float = 2 * _HALF_WIDTH
    height: float = 2 * _HALF_HEIGHT


class Arc(NamedTuple):
    """An arrow: its line and its head as paths, and its middle, where a mark may be."""

    change: Change
    kind: str
    line: str
    head: str
    x: float
    y: float


class Diagram(NamedTuple):
    """The layout of the diagram."""

    nodes: Sequence[Node]
    arcs: Sequence[Arc]
    #: The kinds of arrows in it, each with its meaning.
    legend: Sequence[tuple[str, str]]
    width: int = WIDTH
    height: int = HEIGHT


def diagram(changes: Sequence[Change]) -> Diagram | None:
    """The diagram; None if no states are known, or more than can be drawn."""
    states = _in_order([each for each in changes if each.documented])
    if not 1 < len(states) <= MOST_STATES:
        return None
    nodes = {name: _node(name, number, len(states)) for number, name in enumerate(states)}
    between = [each for each in changes if each.before != each.after and {each.before, each.after} <= {*nodes}]
    drawn = {seen: [each for each in between if each.seen is seen] for seen in _LAST_ABOVE}
    arcs = [_arc(change, nodes) for those in drawn.values() for change in those]
    legend = [(seen.name.lower(), seen.value) for seen in reversed(_LAST_ABOVE) if drawn[seen]]
    return Diagram([*nodes.values()], arcs, legend)


def _in_order(documented: Sequence[Change]) -> list[str]:
    """The order round the circle by which the most documented changes lead to a neighbour."""
    states = list(dict.fromkeys(state for change in documented for state in (change.before, change.after)))
    if not 2 < len(states) <= _MOST_ORDERED:
        return states
    pairs = {(change.before, change.after) for change in documented}

    def neighbours(rest: Sequence[str]) -> float:
        circle = [states[0], *rest, states[0]]
        # Clockwise, rather than against it.
        return sum(float(pair in pairs) + 0.9 * float(pair[::-1] in pairs) for pair in pairwise(circle))

    return [states[0], *max(permutations(states[1:]), key=neighbours)]


def _node(name: str, number: int, of: int) -> Node:
    angle = math.tau * number / of - math.tau / 4
    x = WIDTH / 2 + (WIDTH / 2 - _HALF_WIDTH - 12) * math.cos(angle)
    y = HEIGHT / 2 + (HEIGHT / 2 - _HALF_HEIGHT - 12) * math.sin(angle)
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    return Node(short, round(x, 1), round(y, 1), round(x - _HALF_WIDTH, 1), round(y - _HALF_HEIGHT, 1))


def _arc(change: Change, nodes: dict[str, Node]) -> Arc:
    """Bent to its right, so that the way back is another line."""
    start, end = nodes[change.before], nodes[change.after]
    across, down = end.x - start.x, end.y - start.y
    bend = (start.x + across / 2 - down * _BEND, start.y + down / 2 + across * _BEND)
    tail, tip = _edge(start, bend), _edge(end, bend)
    middle = [(tail[axis] + 2 * bend[axis] + tip[axis]) / 4 for axis in (0, 1)]
    # The line ends where the head begins, so that its width does not show beside the tip.
    length = math.dist(bend, tip) or 1.0
    back = [(bend[axis] - tip[axis]) / length for axis in (0, 1)]
    base = [tip[axis] + _HEAD * back[axis] for axis in (0, 1)]
    sides = [(base[0] + turn * back[1] * _HEAD * 0.45, base[1] - turn * back[0] * _HEAD * 0.45) for turn in (1, -1)]
    line = f"M{_at(tail)}Q{_at(bend)} {_at(base)}"
    head = f"M{_at(tip)}L{_at(sides[0])} {_at(sides[1])}Z"
    return Arc(change, change.seen.name.lower(), line, head, round(middle[0], 1), round(middle[1], 1))


def _edge(node: Node, towards: Sequence[float]) -> tuple[float, float]:
    """Where the line from the middle of a box to a point leaves the box."""
    across, down = towards[0] - node.x, towards[1] - node.y
    part = min(
        (_HALF_WIDTH + 3) / abs(across) if across else math.inf, (_HALF_HEIGHT + 3) / abs(down) if down else math.inf
    )
    return node.x + across * part, node.y + down * part


def _at(point: Sequence[float]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"
