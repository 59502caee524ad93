# SPDX-License-Identifier: GPL-2.0-only
"""A save as two plots over time: bytes pending, and bytes moved per second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ....flows import LIVE, STOPPED, Flow
from ....summary import Summary
from .scale import Scale, scale

WIDTH, HEIGHT = 560, 200
LEFT, RIGHT, TOP, BOTTOM = 92, 16, 28, 34

#: The fewest points of a save that are worth a plot.
_FEWEST: Final = 2


class Point(NamedTuple):
    """One moment of a save: milliseconds since it began, bytes pending, bytes moved by then."""

    at: float
    pending: int
    moved: int
    #: Bytes per second since the point before; None for the first one.
    rate: float | None


class Tick(NamedTuple):
    """A number beside an axis."""

    place: float
    text: str


class Plot(NamedTuple):
    """The layout of a plot."""

    title: str
    line: str
    dots: Sequence[tuple[float, float]]
    #: Left, top, width and height.
    bars: Sequence[tuple[float, float, float, float]]
    across: Sequence[Tick]
    up: Sequence[Tick]
    #: Where the device was stopped; None if it was not running before.
    stopped: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


class Save(NamedTuple):
    """A save, its case, and its plots."""

    kind: str
    case: str
    flow: Flow
    points: Sequence[Point]
    plots: Sequence[Plot]


def saves(summary: Summary) -> Iterable[Save]:
    """The complete save of each kind with the most points; of several, the one that moved the most bytes."""
    for kind in (LIVE, STOPPED):
        known = [(case.name, flow) for case in summary.cases.values() for flow in case.measures.of(kind)]
        name, flow = max(known, key=lambda each: (len(each[1].course), each[1].moved), default=("", None))
        if flow and len(flow.course) >= _FEWEST and flow.ended > flow.begun:
            points = [*_points(flow)]
            yield Save(kind, name, flow, points, _plots(flow, points))


def _points(flow: Flow) -> Iterable[Point]:
    """The points in the order of time, whatever their order in the journal."""
    course = sorted(flow.course)
    at, pending, moved = course[0]
    yield Point(at / 1e6, pending, moved, None)
    for (before, _, earlier), (at, pending, moved) in pairwise(course):
        rate = (moved - earlier) * 1e9 / (at - before) if at > before else None
        yield Point(at / 1e6, pending, moved, rate)


def _plots(flow: Flow, points: Sequence[Point]) -> Sequence[Plot]:
    end = max(point.at for point in points) or 1.0
    times = scale(end, "ms")
    pending = scale(max(point.pending for point in points), "bytes")
    rates = scale(max((point.rate or 0.0 for point in points), default=0.0), "bytes a second")
    stopped = None if flow.stopped is None else _x(max(flow.stopped - flow.begun, 0) / 1e6, times)
    dots = [(_x(point.at, times), _y(point.pending, pending)) for point in points]
    line = f"M{dots[0][0]} {dots[0][1]}" + "".join(f"H{x}V{y}" for x, y in dots[1:])
    bars = [
        (_x(before.at, times), _y(point.rate, rates), point.at, point.rate)
        for before, point in pairwise(points)
        if point.rate and point.rate > 0
    ]
    boxes = [(x, y, round(_x(at, times) - x, 1), round(HEIGHT - BOTTOM - y, 1)) for x, y, at, _ in bars]
    across = [Tick(_x(value, times), text) for value, text in times.ticks]
    return [
        Plot("Pending", line, dots, [], across, [Tick(_y(v, pending), t) for v, t in pending.ticks], stopped),
        Plot("Moved in a second", "", [], boxes, across, [Tick(_y(v, rates), t) for v, t in rates.ticks], stopped),
    ]


def _x(value: float, times: Scale) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * min(value / times.most, 1.0), 1)


def _y(value: float, values: Scale) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / values.most, 1.0), 1)
