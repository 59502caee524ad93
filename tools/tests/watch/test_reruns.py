# SPDX-License-Identifier: GPL-2.0-only
"""Reruns of failed cases, on devices that remember earlier cases."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from stories import case, ended, run_of

from vfio_compliance.results.events import End, Rerun
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.rerun import rerun
from vfio_compliance.results.setting import ChosenPlan
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers.terminal import render
from vfio_compliance.watch import reruns
from vfio_compliance.watch.reruns import Reruns

PASS, FAIL = Verdict.PASS, Verdict.FAIL

#: A short run, whose time does not limit the reruns.
SECONDS = 1.0

#: Forty cases, one of which fails.
ORDER = [f"a[{number}]" for number in range(30)] + ["b[0]"] + [f"a[{number}]" for number in range(31, 40)]


def judged(play: Callable[..., Verdict | None], **run: Any) -> tuple[Summary, list[Rerun]]:
    """A run in which ``b[0]`` failed, with its reruns."""
    summary = summarise(run_of(*(ended(name, "fail" if name == "b[0]" else "pass") for name in ORDER), **run))
    summary.seconds = SECONDS
    made = list(Reruns(summary, play))
    summary.cases[case("b[0]")].reruns.extend(made)
    return summary, made


def remembering(*names: str) -> Callable[..., Verdict]:
    """A device on which ``b[0]`` fails after all of these cases, in this order."""
    needed = [case(name) for name in names]

    def play(cases: Sequence[str]) -> Verdict:
        return FAIL if [each for each in cases if each in needed] == needed else PASS

    return play


def command(summary: Summary) -> tuple[str, list[str]]:
    """The report of the case, and the words of its rerun command."""
    text = " ".join(render(summary, 100).split())
    return text, shlex.split(rerun(summary, summary.cases[case("b[0]")]))


def only(*names: str) -> list[str]:
    """The options that name these cases."""
    return [word for name in names for word in ("--only", case(name))]


def test_fails_alone() -> None:
    """A case that also fails alone is rerun once, and the report does not mention it."""
    summary, made = judged(remembering())
    assert [(rerun.after, rerun.verdict) for rerun in made] == [((), FAIL)]
    text, words = command(summary)
    assert " again " not in text
    assert words == ["vfio-compliance", "run", "p.yaml", *only("b[0]")]


@pytest.mark.parametrize("earlier", ["a[29]", "a[28]", "a[17]", "a[0]"])
def test_earlier_case_is_named(earlier: str) -> None:
    """The case that is needed is found, wherever it was, and the command runs both in this order."""
    summary, made = judged(remembering(earlier))
    assert len(made) <= 16
    text, words = command(summary)
    assert f"it passed alone, and failed after test_it.py::test_{earlier}" in text
    assert words[3:] == only(earlier, "b[0]")


def test_two_earlier_cases() -> None:
    """If several adjacent cases are needed, the command runs all of them."""
    summary, _ = judged(remembering("a[28]", "a[29]"))
    assert command(summary)[1][3:] == only("a[28]", "a[29]", "b[0]")


def test_many_earlier_cases() -> None:
    """If too many are needed to be named, the command repeats the run."""
    summary, _ = judged(remembering("a[3]", "a[25]"), seed=7, shuffled=True)
    text, words = command(summary)
    assert "it passed alone, and failed after 26 earlier cases" in text
    assert words[3:] == ["--shuffle", "--seed", "7"]


def test_never_again() -> None:
    """The report says that the case did not fail again."""
    text, words = command(judged(lambda cases: PASS, seed=7)[0])
    assert "it did not fail again when run alone, nor after 30 cases before it" in text
    assert words[3:] == ["--seed", "7"]


def test_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rerun is started that would exceed the time."""
    monkeypatch.setattr(reruns, "_LOOKING", 0.5)
    summary, made = judged(remembering("a[0]"))
    assert max(len(rerun.after) for rerun in made) == 4
    assert "after 4 cases before it" in command(summary)[0]


@pytest.mark.parametrize("verdict", [None, Verdict.BROKEN])
def test_nothing_can_be_run(verdict: Verdict | None) -> None:
    """Then the reruns end."""
    summary, made = judged(lambda cases: verdict)
    assert not made
    assert " again " not in command(summary)[0]


def test_hang_is_not_repeated() -> None:
    """A case that hung is not run again, neither for itself nor before another one."""
    events = [ended("a[0]", "pass"), ended("a[1]", "hang"), ended("b[0]", "fail"), ended("c[0]", "hang")]
    ran = []
    list(Reruns(summarise(run_of(*events)), lambda cases: ran.append(cases) or PASS))
    assert ran == [[case("b[0]")], [case("a[0]"), case("b[0]")]]


def test_first_case() -> None:
    """It had no case before it, so a rerun would be the same."""
    assert not list(Reruns(summarise(run_of(ended("b[0]", "fail"), ended("a[0]", "pass"))), lambda cases: PASS))


@pytest.mark.parametrize("seeded", [True, False])
def test_seed(seeded: bool) -> None:
    """The seed is in the command if the case depends on it."""
    lines = run_of(ended("b[0]", "fail"), seed=7)
    lines = [
        line._replace(event=replace(line.event, seeded=seeded)) if isinstance(line.event, End) else line
        for line in lines
    ]
    assert ("--seed" in command(summarise(lines))[1]) == seeded


def test_plan() -> None:
    """A run by another plan is rerun by that plan."""
    summary = summarise(run_of(ended("b[0]", "fail"), plan=ChosenPlan("lab", "plans/lab.yaml", ())))
    assert command(summary)[1][3:] == ["--plan", "plans/lab.yaml", *only("b[0]")]
