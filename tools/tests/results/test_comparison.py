# SPDX-License-Identifier: GPL-2.0-only
"""Two runs compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from stories import ended, told, waiver

from vfio_compliance.results.comparison import Comparison, Trend, compare
from vfio_compliance.results.events import Death, Event, Note
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.totals import Totals
from vfio_compliance.results.writers.difference import render


def compared(before: Sequence[Event], after: Sequence[Event], **more: Any) -> Comparison:
    """The runs of these events."""
    return compare(summarise(told(*before, **more)), summarise(told(*after, **more)))


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
    """Worse is what is graver, or judged no more; what was broken and is not judged is no better for it."""
    found = compared([ended("a[1]", before)], [ended("a[1]", after)])
    (change,) = found.rules
    assert change.trend is trend
    assert trend is not Trend.WORSE or found.worse
    assert trend not in (Trend.BETTER, Trend.SAME) or not found.worse


def test_case_of_a_rule_that_failed_before() -> None:
    """One more case that fails is worse, though the rule was broken already."""
    both = ended("a[1]", "fail", seen="x")
    found = compared([both, ended("a[2]", "pass")], [both, ended("a[2]", "fail", seen="y")])
    assert found.worse
    text = render(found, 100)
    assert "fail, in other cases" in text
    assert "test_it.py::test_a[2]: pass -> fail: doing it: seen y" in text
    assert text.splitlines()[-1] == "WORSE: 1 rule worse"


def test_waived_failure_that_is_waived_no_more() -> None:
    """The driver is as it was, and the run is worse."""
    events = [ended("one", "fail")]
    with_waiver, without = (summarise(told(*events, waivers=each)) for each in ([waiver()], []))
    assert compare(with_waiver, without).worse
    assert not compare(without, with_waiver).worse


def test_rule_that_is_gone() -> None:
    """Judged no more is worse; a new one that holds is better."""
    one, two = ended("a", "pass"), ended("b", "pass")
    assert compared([one, two], [one]).worse
    assert "not in the run -> pass" in render(compared([one], [one, two]), 100)


def test_run_that_ended_worse() -> None:
    """For a reason that is in no rule."""
    one = ended("a", "pass")
    died = Death("the server", "died", "at the end", True, None)
    found = compared([one], [one, died])
    assert found.worse
    assert render(found, 100).splitlines()[-1] == "WORSE: exit code 0 -> 1"
    assert not compared([one, died], [one]).worse


def test_same() -> None:
    """Nothing changed, and that is said; the numbers are there."""
    text = render(compared([ended("a", "pass")], [ended("a", "pass")]), 100)
    assert text.splitlines()[-1] == "NOT WORSE: all rules have the same verdict"
    assert "calls" in text


def test_versions_calls_and_time() -> None:
    """What differs of program, device, kernel, seed and rules; and rules that took other calls, or longer."""
    before = summarise(told(ended("a", "pass"), ended("b", "pass"), kernel="Linux 1", device={"driver": "x"}, seed=1))
    slow = replace(ended("a", "pass"), seconds=30.0)
    events = (slow, replace(ended("b", "pass"), totals=Totals()), Note("n"))
    rules = {"v1.a": {"says": "It does another."}}
    after = summarise(told(*events, rules=rules, kernel="Linux 2", device={}, seed=2, version="9"))
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


def test_words_of_the_device_do_not_steer_the_terminal() -> None:
    """Control characters are shown, not obeyed."""
    bad = "\x1b[2J\nNOT WORSE: all\x9b"
    text = render(compared([ended("a", "pass")], [ended("a", "fail", seen=bad)], kernel=bad), 100)
    assert all(letter == "\n" or letter.isprintable() for letter in text)
    assert text.splitlines()[-1] == "WORSE: 1 rule worse; exit code 0 -> 1"


def test_a_case_that_is_judged_no_more_is_worse() -> None:
    """Whatever became of the others; and a rule that is seen to be broken now is not better, waived or not."""
    before = summarise(told(ended("a[1]", "pass"), ended("a[2]", "pass")))
    after = summarise(told(ended("a[1]", "pass")))
    (change,) = compare(before, after).rules
    assert (change.trend, [(each.name, each.after) for each in change.cases]) == (
        Trend.WORSE,
        [("test_it.py::test_a[2]", None)],
    )
    assert "test_a[2]: pass -> not in the run: it is not in the later run" in render(compare(before, after), 100)
    assert compare(after, before).worse is False
    listed = [waiver(rule="v1.a")]
    skipped = summarise(told(ended("a", "n/a")))
    waived = summarise(told(ended("a", "fail"), waivers=listed))
    assert compare(skipped, waived).rules[0].trend is Trend.OTHER
