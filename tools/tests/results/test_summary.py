# SPDX-License-Identifier: GPL-2.0-only
"""From records to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import pytest
from stories import waiver

from vfio_compliance.results.conclusion import conclude
from vfio_compliance.results.events import Broken, Hang, Kernel
from vfio_compliance.results.journal import Recorded
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import Waiver
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers.terminal import render

TODAY = date(2027, 1, 15)
CASE = "suites/s/test_it.py::test_it[case 0]"


def verdict(records: Sequence[Recorded]) -> tuple[str, int]:
    """The verdict on the only rule, and the exit code."""
    made = summarise(records, TODAY)
    return made.verdicts["v1.one"].value, made.exit_code


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "pass"], ("pass", 0)),
        (["pass", "fail"], ("fail", 1)),
        (["pass", "n/a"], ("pass", 0)),
        (["n/a", "n/a"], ("n/a", 4)),
        (["pass", "not-run"], ("not-run", 2)),
        (["fail", "broken"], ("fail", 1)),
        (["hang", "fail"], ("fail", 1)),
        (["hang", "broken"], ("hang", 3)),
    ],
)
def test_cases_add_up(
    records: Callable[..., list[Recorded]], verdicts: Sequence[str], expected: tuple[str, int]
) -> None:
    """The gravest case decides the rule."""
    assert verdict(records(*verdicts)) == expected


@pytest.mark.parametrize(
    ("listed", "verdicts", "expected"),
    [
        (waiver(), ["fail", "pass"], ("waived", 0)),
        (waiver(shows="another"), ["fail"], ("waived", 0)),
        (waiver(shows="a third"), ["fail"], ("fail", 1)),
        (waiver(case="case 0"), ["fail"], ("waived", 0)),
        (waiver(case="case 1"), ["fail"], ("fail", 1)),
        (waiver(expires=date(2027, 1, 15)), ["fail"], ("waived", 0)),
        (waiver(expires=date(2027, 1, 14)), ["fail"], ("stale", 1)),
        (waiver(), ["pass", "pass"], ("stale", 1)),
        (waiver(sometimes=True), ["pass", "pass"], ("pass", 0)),
        (waiver(), ["pass", "not-run"], ("not-run", 2)),
        (waiver(), ["n/a"], ("n/a", 4)),
        (waiver(), ["broken", "fail"], ("broken", 2)),
        (waiver(), ["hang"], ("hang", 3)),
        (waiver(rule="v1.other"), ["fail"], ("fail", 1)),
    ],
)
def test_waivers(
    records: Callable[..., list[Recorded]], listed: Waiver, verdicts: Sequence[str], expected: tuple[str, int]
) -> None:
    """A waiver excuses only the listed fault, up to its date; an unneeded one is stale."""
    assert verdict(records(*verdicts, waivers=(listed,))) == expected


def test_the_day_of_the_run_decides(records: Callable[..., list[Recorded]]) -> None:
    """A run gives the same result if it is shown again after the waiver has expired."""
    assert summarise(records("fail", waivers=(waiver(expires=date(2027, 1, 15)),))).exit_code == 0


def kernel(case: str | None = CASE) -> Kernel:
    """The kernel complains."""
    return Kernel(("BUG: it",), case)


def test_a_waiver_of_a_fault_does_not_cover_a_kernel_complaint(records: Callable[..., list[Recorded]]) -> None:
    """Neither one without ``shows``, nor one with the words of a fault in the same case."""
    for begins, listed, expected in (
        ("pass", waiver(), Verdict.KERNEL),
        ("fail", waiver(shows="another"), Verdict.FAIL),
    ):
        summary = summarise(records(begins, waivers=(listed,), events=(kernel(),)))
        assert set(summary.verdicts.values()) == {expected}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pass", "kernel"),
        ("n/a", "kernel"),
        ("not-run", "kernel"),
        ("fail", "fail"),
        ("hang", "kernel"),
        ("broken", "kernel"),
    ],
)
def test_the_kernel_complains(records: Callable[..., list[Recorded]], before: str, after: str) -> None:
    """A case during which it does has not passed; one that failed for another reason also shows the complaint."""
    made = summarise(records(before, events=(kernel(), kernel())))
    case = made.cases[CASE]
    assert case.verdict is Verdict(after)
    assert "BUG: it" in repr(case.failure)
    assert made.exit_code == 1


def test_the_kernel_complains_in_an_unfinished_case(records: Callable[..., list[Recorded]]) -> None:
    """The complaint may be why it did not finish; the report can still be rendered."""
    *others, _, complaint, finish = records("pass", events=(kernel(),))
    made = summarise([*others, complaint, finish])
    assert made.cases[CASE].verdict is Verdict.KERNEL
    assert "BUG: it" in render(made)


def test_the_kernel_complains_between_cases(records: Callable[..., list[Recorded]]) -> None:
    """No rule is broken, but the device does not conform."""
    made = summarise(records("pass", events=(kernel(None),)))
    assert "   kernel    BUG: it" in render(made).splitlines()
    assert made.verdicts["v1.one"] is Verdict.PASS
    assert (conclude(made).word, made.exit_code) == ("NOT CONFORMANT", 1)


def hang(case: str | None) -> Hang:
    """The event that the watcher records."""
    return Hang("no progress", "find out why", case)


def test_hang(records: Callable[..., list[Recorded]]) -> None:
    """The case in which it happened has the verdict hang; the cases after it were not run."""
    case = "suites/s/test_it.py::test_it[case 1]"
    made = summarise(records("pass", planned=3, events=(hang(case),), finished=False))
    assert [case.verdict.value for case in made.cases.values()] == ["pass", "hang", "not-run"]
    assert made.exit_code == 3


def test_hang_outside_of_cases(records: Callable[..., list[Recorded]]) -> None:
    """It decides the result, although every case passed."""
    assert summarise(records("pass", events=(hang(None),), finished=False)).exit_code == 3


def test_stopped(records: Callable[..., list[Recorded]]) -> None:
    """A run that could not continue does not pass; a rule that was broken before stays broken."""
    stop = Broken("the cable is out", "put it in", None)
    assert summarise(records("pass", events=(stop,))).exit_code == 2
    assert summarise(records("fail", events=(stop,))).exit_code == 1


def test_without_an_end(records: Callable[..., list[Recorded]]) -> None:
    """A run that just stops is not mistaken for one that finished."""
    made = summarise(records("pass", finished=False))
    assert [stop.message for stop in made.stops] == ["the journal ends before the run did"]
    assert made.exit_code == 2


def test_nothing_selected(records: Callable[..., list[Recorded]]) -> None:
    """A run without a case judged nothing."""
    assert summarise(records()).exit_code == 4


def test_observations_are_counted(records: Callable[..., list[Recorded]]) -> None:
    """Equal answers to a question become one line with a count."""
    assert summarise(records("pass", "pass")).observed == {"how": {"so": 2}}


@pytest.mark.parametrize(
    ("verdicts", "others", "works", "because", "code"),
    [
        (["pass"], ("pass", "pass"), True, [], 0),
        (["pass"], ("pass", "fail"), False, ["q.two"], 0),
        (["pass"], ("not-run", "fail"), False, ["q.two"], 0),
        (["pass"], ("n/a", "pass"), None, ["q.one"], 0),
        (["pass"], ("not-run", "not-run"), None, ["q.one", "q.two"], 0),
        (["pass"], ("pass",), None, ["q.two"], 0),
        (["fail"], ("pass", "pass"), True, [], 1),
        (["not-run"], ("pass", "fail"), False, ["q.two"], 2),
        (["n/a"], ("pass", "pass"), True, [], 4),
        (["pass"], ("hang", "pass"), False, ["q.one"], 3),
        (["pass"], ("kernel", "pass"), False, ["q.one"], 1),
        (["pass"], ("broken", "pass"), None, ["q.one"], 2),
        ([], ("pass", "fail"), False, ["q.two"], 1),
        ([], ("pass", "pass"), True, [], 0),
    ],
)
def test_rules_that_do_not_block(
    records: Callable[..., list[Recorded]],
    verdicts: Sequence[str],
    others: tuple[str, ...],
    works: bool | None,
    because: Sequence[str],
    code: int,
) -> None:
    """They answer a question. A device may break them, but not hang or upset the kernel. Selected alone, they count."""
    made = summarise(records(*verdicts, others=others))
    assert [(answer.works, answer.because) for answer in made.answers()] == [(works, because)]
    assert made.exit_code == code


def test_no_answer_without_cases(records: Callable[..., list[Recorded]]) -> None:
    """A question whose rules had no case has no answer."""
    assert list(summarise(records("pass")).answers()) == []


def test_waived_rule_that_does_not_block(records: Callable[..., list[Recorded]]) -> None:
    """A known fault is still a fault to anyone who depends on the answer."""
    made = summarise(records("pass", others=("fail", "pass"), waivers=(waiver(rule="q.one"),)))
    assert [(answer.works, answer.because) for answer in made.answers()] == [(False, ["q.one"])]
