# SPDX-License-Identifier: GPL-2.0-only
"""Measuring in turn: ours, the limit, ours, the limit; and the result of such rounds.

A machine also does other things, and not evenly. Two measurements side by side are disturbed alike: the ratio of each
round says more than the two figures do. A row has the median of the ratios, and their quartiles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

#: A first round shorter than this number of seconds is a warm-up, and does not count.
_WARM_UP = 1.0


class Clock(Enum):
    """The clock of a measurement."""

    #: The elapsed time.
    WALL = "wall"
    #: The processor time of the measured thread or processes.
    CPU = "cpu"


class Cost(NamedTuple):
    """Seconds of one operation, by each clock."""

    wall: float
    cpu: float

    def by(self, clock: Clock) -> float:
        """The seconds by one clock."""
        return self.wall if clock is Clock.WALL else self.cpu


class Effort(NamedTuple):
    """For how long one case is measured."""

    #: The least and the greatest number of rounds.
    least: int
    most: int
    #: No further round begins after this time, in seconds.
    seconds: float


#: Measures one operation once.
Way: TypeAlias = Callable[[], Cost]


class Spread(NamedTuple):
    """The median and the quartiles of some values."""

    median: float
    lower: float
    upper: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; for a single value, that value three times. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper)


@dataclass(frozen=True)
class Row:
    """One line of the table: our figures and the limit's, round by round, or why they are missing."""

    case: str
    #: What the limit is: "C", "bare", "python -c pass".
    limit: str
    clock: Clock = Clock.WALL
    #: Seconds of one operation, of each round.
    ours: Sequence[float] = ()
    theirs: Sequence[float] = ()
    #: The largest ratio that meets the aim; None without an aim.
    aim: float | None = None
    #: A remark for the reader.
    note: str = ""

    @property
    def measured(self) -> bool:
        """Whether there is a ratio."""
        return bool(self.ours)

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the limit, for each round."""
        return [one / other for one, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def met(self) -> bool | None:
        """Whether the median of the ratios meets the aim; None without an aim or a measurement."""
        if self.aim is None or not self.measured:
            return None
        return spread(self.ratios).median <= self.aim


@dataclass(frozen=True)
class Case:
    """Something to measure: its name, by which it is chosen, and the function that returns its rows."""

    name: str
    measure: Callable[[], Sequence[Row]] = field(compare=False)


def interleaved(
    ways: Mapping[str, Way], effort: Effort, clock: Callable[[], float] = time.monotonic
) -> dict[str, list[Cost]]:
    """The costs of each way, round by round: every round measures all of them in turn, every second round backwards.

    A short first round is a warm-up. ``clock`` returns the seconds that count towards the effort.
    """
    names = list(ways)
    found: dict[str, list[Cost]] = {name: [] for name in names}
    began = clock()
    count = 0
    warm = False
    while count < effort.least or (count < effort.most and clock() - began < effort.seconds):
        started = clock()
        costs = {name: ways[name]() for name in (names if count % 2 == 0 else reversed(names))}
        if not warm:
            warm = True
            if clock() - started < _WARM_UP:
                continue
        for name, cost in costs.items():
            found[name].append(cost)
        count += 1
    return found


def beside(
    case: str,
    costs: Mapping[str, Sequence[Cost]],
    ours: str,
    limit: str,
    clock: Clock = Clock.WALL,
    *,
    aim: float | None = None,
    note: str = "",
) -> Row:
    """The row that compares one of the ways with another one, from the result of ``interleaved``."""
    mine, its = ([cost.by(clock) for cost in costs[name]] for name in (ours, limit))
    return Row(case, limit, clock, mine, its, aim, note)


def repeated(way: Callable[[], object], times: int, after: Callable[[], object] = lambda: None) -> Cost:
    """The cost of one call of ``way`` in this thread, averaged over ``times``; ``after`` is not counted."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    for _ in range(times):
        way()
    cost = Cost((time.perf_counter_ns() - wall) / 1e9 / times, (time.thread_time_ns() - cpu) / 1e9 / times)
    after()
    return cost
