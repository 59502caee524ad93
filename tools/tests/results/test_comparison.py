# SPDX-License-Identifier: GPL-2.0-only
"""Comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from stories import ended, run_of, waiver

from vfio_compliance.results.comparison import Comparison, Trend, compare
from vfio_compliance.results.events import Death, Event, Note
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.totals import Totals
from vfio_compliance.results.writers.difference import render


def compared(before: Sequence[Event], after: Sequence[Event], **more: Any) -> Comparison:
    """The comparison of two runs of these events."""
    return compare(summarise(run_of(*before, **more)), summarise(run_of(*after, **more)))


@pytest.mark.parametrize(
    ("before", "after", "trend"),
    [
        ("pass", "fail", Trend.WORSE),
        ("pass", "hang", Trend.WORSE),
        ("pass", "not-run", Trend.WORSE),
        ("pass", "n/a", Trend.WORSE),
        ("pass", "broken", Trend.WORSE),
        ("not-run", "fail", Trend.WORSE),
        ("fail", "pass", Trend.BETTER),
        ("n/a", "pass", Trend.BETTER),
        ("not-run", "pass", Trend.BETTER),
        ("fail", "not-run", Trend.OTHER),
        ("not-run", "n/a", Trend.OTHER),
        ("fail", "hang", Trend.OTHER),
        ("pass", "pass", Trend.SAME),
        ("fail", "fail", Trend.SAME),
    ],
)
def test_trend(before: str, after: str, trend: Trend) -> None:
    """A graver verdict or a missing one is worse; a broken rule that is not judged now has not become better."""
    found = compared([ended("a[1]", before)], [ended("a[1]", after)])
    (change,) = found.rules
    assert change.trend is trend
    assert trend is not Trend.WORSE or found.worse
    assert trend not in (Trend.BETTER, Trend.SAME) or not found.worse


def test_one_more_failed_case_of_a_rule_that_failed_before() -> None:
    """It is worse, although the rule was broken before."""
    both = ended("a[1]", "fail", seen="x")
    found = compared([both, ended("a[2]", "pass")], [both, ended("a[2]", "fail", seen="y")])
    assert found.worse
    text = render(found, 100)
    assert "fail, in other cases" in text
    assert "test_it.py::test_a[2]: pass -> fail: doing it: seen y" in text
    assert text.splitlines()[-1] == "WORSE: 1 rule worse"


def test_a_failure_without_its_former_waiver() -> None:
    """The driver has not changed, but the run is worse."""
    events = [ended("one", "fail")]
    with_waiver, without = (summarise(run_of(*events, waivers=each)) for each in ([waiver()], []))
    assert compare(with_waiver, without).worse
    assert not compare(without, with_waiver).worse


def test_a_missing_rule() -> None:
    """A rule that is missing now is worse; a new one that holds is better."""
    one, two = ended("a", "pass"), ended("b", "pass")
    assert compared([one, two], [one]).worse
    assert "not in the run -> pass" in render(compared([one], [one, two]), 100)


def test_a_worse_end_of_the_run() -> None:
    """For a reason outside of any rule."""
    one = ended("a", "pass")
    died = Death("the server", "died", "at the end", True, None)
    found = compared([one], [one, died])
    assert found.worse
    assert render(found, 100).splitlines()[-1] == "WORSE: exit code 0 -> 1"
    assert not compared([one, died], [one]).worse


def test_equal_runs() -> None:
    """The report says that nothing changed, and has the numbers."""
    text = render(compared([ended("a", "pass")], [ended("a", "pass")]), 100)
    assert text.splitlines()[-1] == "NOT WORSE: all rules have the same verdict"
    assert "calls" in text


def test_versions_calls_and_time() -> None:
    """Differences in program, device, kernel, seed and rules; and rules with different calls or times."""
    before = summarise(run_of(ended("a", "pass"), ended("b", "pass"), kernel="Linux 1", device={"driver": "x"}, seed=1))
    slow = replace(ended("a", "pass"), seconds=30.0)
    events = (slow, replace(ended("b", "pass"), totals=Totals()), Note("n"))
    rules = {"v1.a": {"says": "It does another."}}
    after = summarise(run_of(*events, rules=rules, kernel="Linux 2", device={}, seed=2, version="9"))
    text = render(compare(before, after), 100)
    for words in (
        "  kernel            Linux 1 -> Linux 2\n",
        "  driver            x -> -\n",
        "  program           0 -> 9\n",
        "  seed              1 -> 2\n",
        "  rules             2 -> 2 (1 say something else)\n",
        "Different calls or time: 2 rules\n  DS-01   v1.a  calls 45 -> 45, 0.10 s -> 30.00 s\n",
        "  DS-01   v1.b  calls 45 -> 0, 0.10 s -> 0.10 s\n",
    ):
        assert words in text
    assert "1 say" not in render(compare(before, before), 100)


def test_no_text_of_a_device_controls_the_terminal() -> None:
    """Control characters are escaped."""
    bad = "\x1b[2J\nNOT WORSE: all\x9b"
    text = render(compared([ended("a", "pass")], [ended("a", "fail", seen=bad)], kernel=bad), 100)
    assert all(letter == "\n" or letter.isprintable() for letter in text)
    assert text.splitlines()[-1] == "WORSE: 1 rule worse; exit code 0 -> 1"


def test_a_case_that_is_no_longer_judged_is_worse() -> None:
    """Whatever the other cases did; and a rule that is now seen to be broken is not better, even if it is waived."""
    before = summarise(run_of(ended("a[1]", "pass"), ended("a[2]", "pass")))
    after = summarise(run_of(ended("a[1]", "pass")))
    (change,) = compare(before, after).rules
    assert (change.trend, [(each.name, each.after) for each in change.cases]) == (
        Trend.WORSE,
        [("test_it.py::test_a[2]", None)],
    )
    assert "test_a[2]: pass -> not in the run: it is not in the later run" in render(compare(before, after), 100)
    assert compare(after, before).worse is False
    listed = [waiver(rule="v1.a")]
    skipped = summarise(run_of(ended("a", "n/a")))
    waived = summarise(run_of(ended("a", "fail"), waivers=listed))
    assert compare(skipped, waived).rules[0].trend is Trend.OTHER
