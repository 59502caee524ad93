# SPDX-License-Identifier: GPL-2.0-only
"""How much of a run's time was spent in calls."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from stories import FINISH, ended, run_of

from vfio_compliance.results.comparison import compare
from vfio_compliance.results.events import End, Event, Finish, Hang, Opening, Process, Resumed, Start
from vfio_compliance.results.merging import merged
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.spent import spent
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers import difference
from vfio_compliance.results.writers.json import render as as_json
from vfio_compliance.results.writers.merged import render as as_table
from vfio_compliance.results.writers.terminal import render

SECOND = 10**9
NEXT = Process(2, "the first one ended")


def finish(calls: int | float, resets: int | float = 0) -> Finish:
    """The end of a test process, with the given seconds in calls and in resets."""
    return replace(FINISH, call_ns=int(calls * SECOND), reset_ns=int(resets * SECOND))


def case(name: str, calls: int, resets: int = 0, **keys: Any) -> End:
    """The same for a case that passed."""
    return replace(ended(name, "pass"), call_ns=int(calls * SECOND), reset_ns=int(resets * SECOND), **keys)


def run(*events: Event, **keys: Any) -> Summary:
    """A run of these events, one a second, which end with the end of a test process."""
    *records, _ = run_of(*events, **keys)
    return summarise(records)


@pytest.mark.parametrize(
    ("calls", "resets", "text"),
    [
        (1.26, 1.06, "3.0 s, of which 1.3 s in calls to the device (1.1 s in resets)"),
        (2.0, 0.21, "3.0 s, of which 2.0 s in calls to the device (0.2 s in resets)"),
        (2.0, 0.2, "3.0 s, of which 2.0 s in calls to the device"),
        (0.06, 0.04, "3.0 s, of which 0.1 s in calls to the device"),
        (0.04, 0.04, "3.0 s"),
    ],
)
def test_as_text(calls: float, resets: float, text: str) -> None:
    """Resets are shown if they took more than a tenth; a time that rounds to 0.0 s is left out."""
    assert spent(run(case("a", 1), finish(calls, resets))) == text


@pytest.mark.parametrize("width", [60, 100])
def test_on_a_screen(width: int) -> None:
    """It follows the seconds, and lines are not too long."""
    lines = render(run(case("a", 1), finish(2, 1)), width).splitlines()
    assert max(map(len, lines)) <= width
    joined = " ".join(lines)
    assert "0 full save passes 3.0 s, of which 2.0 s in calls to the device (1.0 s in resets)" in joined


def test_of_several_processes() -> None:
    """The counts of each process; if one was ended, those of its cases."""
    events = (case("a", 2, 1), Start("b", "v1.b"), Hang("stuck", "wait", "b"), NEXT)
    made = run(Opening(()), *events, case("c", 7), finish(4, 0.5))
    assert (made.totals["call_ns"], made.totals["reset_ns"]) == (6 * SECOND, 1.5 * SECOND)
    made = run(case("a", 2), finish(3), Resumed(1), NEXT, case("c", 7, 2), finish(4))
    assert made.totals["call_ns"] == 7 * SECOND


@pytest.mark.parametrize(
    "events",
    [
        (ended("a", "pass"), FINISH),
        (ended("a", "pass"), FINISH, Resumed(1), NEXT, case("c", 1), finish(1)),
        (ended("a", "pass"), Start("b", "v1.b"), Hang("stuck", "wait", "b"), NEXT, case("c", 1), finish(1)),
    ],
    ids=["whole", "continued", "a process that was ended"],
)
def test_of_a_journal_without_times(events: tuple[Event, ...]) -> None:
    """An older journal, or one that an older version began: nothing is shown, as a part is not the whole."""
    made = run(*events)
    assert " s, of which" not in render(made, 100)
    assert made.totals["calls"]
    assert not {"call_ns", "reset_ns"} & set(json.loads(as_json(made))["totals"])
    assert "seconds in calls" not in difference.render(compare(made, made), 100)


def test_of_a_process_that_counted_nothing() -> None:
    """It made no calls, so nothing is missing."""
    nothing = Finish(calls=0, opens=0, resets=0, bytes_read=0, bytes_written=0, passes=0)
    made = run(case("a", 1), finish(1), NEXT, nothing)
    assert made.totals["call_ns"] == SECOND


def test_in_the_other_reports() -> None:
    """JSON in nanoseconds, as the journal; a comparison in seconds; a table of many runs in the same words."""
    made = run(case("a", 1), finish(2, 1))
    totals = json.loads(as_json(made))["totals"]
    assert (totals["call_ns"], totals["reset_ns"]) == (2 * SECOND, SECOND)
    compared = difference.render(compare(made, made), 100)
    assert re.findall(r"^  (seconds in .*?) +(.*)$", compared, re.M) == [
        ("seconds in calls", "2 -> 2"),
        ("seconds in resets", "1 -> 1"),
    ]
    assert "_ns" not in compared
    assert f"  time     {spent(made)}\n" in as_table([merged("a", made)], 0, 100)
