# SPDX-License-Identifier: GPL-2.0-only
"""Runs that repeat all their cases: differences are named, and the gravest verdict counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from stories import FINISH, case, ended, run_of, waiver

from vfio_compliance.results.conclusion import conclude
from vfio_compliance.results.events import Broken, Event, Kernel, Process, Start
from vfio_compliance.results.journal import Recorded
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers.terminal import render

FAILED = {"expected": "x", "seen": "y"}


def begin(number: int, process: int | None = None) -> Process:
    """The first test process of a round."""
    return Process(process or number, f"round {number} of 3", number)


def of_rounds(*verdicts: str, name: str = "a", **run: Any) -> Summary:
    """A run of one case with these verdicts, round by round."""
    events: list[Event] = []
    for number, verdict in enumerate(verdicts, 1):
        events += [begin(number)] if number > 1 else []
        events += [ended(name, verdict, **(FAILED if verdict == "fail" else {})), FINISH]
    return summarise(run_of(*events[:-1], **{"rounds": len(verdicts), **run}))


@pytest.mark.parametrize(
    ("verdicts", "word", "detail", "code"),
    [
        (["pass", "pass", "pass"], "CONFORMANT", "1 rule held", 0),
        (["pass", "fail", "pass"], "NOT CONFORMANT", "1 rule broken; 1 case flaky in 3 rounds", 1),
        (["fail", "fail", "pass"], "NOT CONFORMANT", "1 rule broken; 1 case flaky in 3 rounds", 1),
        (["fail", "fail", "fail"], "NOT CONFORMANT", "1 rule broken", 1),
        (["pass", "hang", "pass"], "INCOMPLETE", "a call hung in 1 rule; 1 case flaky in 3 rounds", 3),
        (["n/a", "pass", "pass"], "CONFORMANT", "1 rule held; 1 case flaky in 3 rounds", 0),
    ],
)
def test_the_gravest_counts(verdicts: Sequence[str], word: str, detail: str, code: int) -> None:
    """Rounds that pass do not make up for one that does not."""
    made = of_rounds(*verdicts)
    assert (conclude(made)[:2], made.exit_code) == ((word, detail), code)
    assert [[each.verdict.value for each in cases] for cases in made.flaky] == ([verdicts] if "flaky" in detail else [])


def test_flaky_cases_are_named() -> None:
    """With their verdicts in the order of the rounds, and the round of the failure that is shown."""
    lines = render(of_rounds("pass", "fail", "pass")).splitlines()
    at = lines.index("Flaky: 1 case had different verdicts in 3 rounds; the gravest counts")
    assert lines[at + 1 : at + 3] == ["   v1.a", "      test_it.py::test_a: pass, fail, pass"]
    assert "   case      test_it.py::test_a (round 2)" in lines
    assert "1) FAIL  v1.a  (1 of 3 cases)" in lines
    assert any(line.endswith(f"--only {case('a')}") for line in lines)
    assert any(line.startswith("3 of 3 cases in 3 rounds, ") for line in lines)


def test_a_complaint_of_the_kernel_belongs_to_its_round() -> None:
    """It changes the verdict of the case in that round alone."""
    made = summarise(
        run_of(ended("a", "pass"), FINISH, begin(2), ended("a", "pass"), Kernel(("BUG: it",), case("a")), rounds=2)
    )
    assert [each.verdict.value for each in made.cases.values()] == ["pass", "kernel"]


def test_a_waiver_is_for_every_round() -> None:
    """It excuses a failure in any of them, and is stale only if the rule held in all."""
    listed = [waiver(rule="v1.a")]
    made = of_rounds("pass", "fail", waivers=listed)
    assert [each.verdict.value for each in made.cases.values()] == ["pass", "waived"]
    assert str(conclude(made)) == (
        "CONFORMANT WITH WAIVERS (1) by plan default (no certificate): 0 rules held, 1 broken as waived; "
        "1 case flaky in 2 rounds"
    )
    assert of_rounds("pass", "pass", waivers=listed).exit_code == 1


def test_missing_rounds() -> None:
    """A run that ended between two rounds or within one is incomplete, and says so."""
    made = of_rounds("pass", "pass", rounds=3)
    assert [stop.message for stop in made.stops] == ["the journal ends after round 2 of 3"]
    assert made.exit_code == 2
    stop = Broken("the time is up", "raise limits.run", None)
    made = summarise(run_of(ended("a", "pass"), FINISH, begin(2), Start(case("a"), "v1.a"), stop, rounds=3))
    assert [stop.message for stop in made.stops] == ["the time is up"]
    assert [each.verdict.value for each in made.cases.values()] == ["pass", "not-run"]


def test_a_new_process_in_a_round() -> None:
    """It runs the rest of the same round, and is listed as a restart; a new round is not."""
    events: list[Event] = [ended("a", "pass"), FINISH, begin(2), Start(case("a"), "v1.a")]
    cut = Broken("the process ended", "see the log", case("a"))
    made = summarise(
        run_of(*events, cut, Process(3, "the process ended", 2), ended("b", "pass"), rounds=2, planned=("b",))
    )
    assert made.processes == ["the process ended"]
    assert [(each.name, each.verdict.value) for each in made.cases.values()] == [
        ("test_it.py::test_a", "pass"),
        ("test_it.py::test_b", "not-run"),
        ("test_it.py::test_a (round 2)", "broken"),
        ("test_it.py::test_b (round 2)", "pass"),
    ]


def test_a_case_of_a_missing_rule() -> None:
    """Only in a journal that was edited: the run is incomplete, and every report can still be rendered."""
    odd = replace(ended("a", "fail"), rule="no.such")
    *lines, end = run_of(ended("b", "pass"))
    made = summarise([*lines, Recorded(end.time, odd), end])
    assert made.exit_code == 2
    assert "the journal has cases of 'no.such', and no such rule" in [stop.message for stop in made.stops]
    assert "no such rule" in render(made)
