# SPDX-License-Identifier: GPL-2.0-only
"""Rounds alternate; a row has their median and quartiles. No test here depends on how long anything takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from measuring import Clock, Cost, Effort, Row, Spread, beside, interleaved, repeated, spread


class Machine:
    """A clock that each way advances by its own seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.taken: list[str] = []

    def clock(self) -> float:
        return self.seconds

    def way(self, name: str, *seconds: float) -> Callable[..., Cost]:
        """A way that takes these seconds in turn, and then the last of them each time."""
        left = itertools.chain(seconds, itertools.repeat(seconds[-1]))

        def measure() -> Cost:
            took = next(left)
            self.taken.append(name)
            self.seconds += took
            return Cost(took, took / 2)

        return measure

    def rounds(self, effort: Effort, **ways: Any) -> dict[str, list[Cost]]:
        return interleaved(ways, effort, self.clock)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([3.0], Spread(3.0, 3.0, 3.0)),
        ([1.0, 2.0], Spread(1.5, 1.25, 1.75)),
        ([5.0, 1.0, 3.0, 2.0, 4.0], Spread(3.0, 2.0, 4.0)),
    ],
)
def test_median_and_quartiles(values: Sequence[float], found: Spread) -> None:
    """In any order of the values."""
    assert spread(values) == found


def test_no_values_have_no_median() -> None:
    """The error says so."""
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_rounds_alternate_their_order(machine: Machine) -> None:
    """Each way runs once in a round, and the last one is first in the next round."""
    machine.rounds(Effort(3, 3, 0.0), ours=machine.way("ours", 2.0), limit=machine.way("limit", 1.0))
    assert machine.taken == ["ours", "limit", "limit", "ours", "ours", "limit"]


def test_a_short_first_round_is_a_warm_up(machine: Machine) -> None:
    """It is dropped; a long one counts."""
    effort = Effort(2, 2, 0.0)
    assert machine.rounds(effort, ours=machine.way("ours", 0.5, 0.25)) == {"ours": [Cost(0.25, 0.125)] * 2}
    assert machine.rounds(effort, ours=machine.way("ours", 8.0, 4.0)) == {"ours": [Cost(8.0, 4.0), Cost(4.0, 2.0)]}


@pytest.mark.parametrize(
    ("effort", "count"), [(Effort(3, 9, 0.0), 3), (Effort(1, 4, 100.0), 4), (Effort(1, 9, 5.0), 5)]
)
def test_rounds_end(machine: Machine, effort: Effort, count: int) -> None:
    """When the time is up, but not before the least number of rounds nor after the most."""
    assert len(machine.rounds(effort, ours=machine.way("ours", 1.0))["ours"]) == count


def test_an_error_in_a_way_is_raised(machine: Machine) -> None:
    """It is not swallowed by the measurement."""

    def broken() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        machine.rounds(Effort(1, 1, 0.0), ours=broken)


def test_a_row_has_the_ratio_of_each_round() -> None:
    """Both values of the same round, by the chosen clock."""
    costs = {"ours": [Cost(2.0, 1.0), Cost(6.0, 9.0)], "C": [Cost(1.0, 1.0), Cost(2.0, 3.0)]}
    assert beside("read", costs, "ours", "C").ratios == [2.0, 3.0]
    row = beside("read", costs, "ours", "C", Clock.CPU, aim=2.0, note="twice")
    assert (row.ours, row.theirs, row.ratios) == ([1.0, 9.0], [1.0, 3.0], [1.0, 3.0])
    assert (row.case, row.limit, row.clock, row.note) == ("read", "C", Clock.CPU, "twice")


@pytest.mark.parametrize(
    ("aim", "ours", "met"), [(None, [1.0], None), (1.5, [], None), (1.5, [1.5, 1.5, 9.0], True), (1.5, [1.6], False)]
)
def test_an_aim_is_met_by_the_median(aim: float | None, ours: Sequence[float], met: bool | None) -> None:
    """A single slow round does not decide it; without an aim or a value, it is neither met nor missed."""
    assert Row("read", "C", ours=ours, theirs=[1.0] * len(ours), aim=aim).met is met


def test_calls_are_repeated() -> None:
    """The given number of times, and the final call once."""
    made = []
    cost = repeated(lambda: made.append("call"), 3, lambda: made.append("after"))
    assert made == ["call", "call", "call", "after"]
    assert cost.wall >= 0
    assert cost.cpu >= 0
