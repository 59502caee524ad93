# SPDX-License-Identifier: GPL-2.0-only
"""Rules that judge the suite itself: shown separately, and never counted for or against a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from stories import case, ended, run_of, waiver

from vfio_compliance.results.conclusion import conclude
from vfio_compliance.results.events import Death, Event, Kernel
from vfio_compliance.results.matrix import column
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers.terminal import render

RULES = {"v1.a": {}, "v1.own": {"side": "client"}}


def made(*events: Event, **more: Any) -> Summary:
    """A run of a rule of the device and of one of the suite itself."""
    return summarise(run_of(*events, rules=RULES, **more))


def test_they_are_shown_separately() -> None:
    """In their own table and their own line; they do not affect the verdict."""
    summary = made(ended("a", "pass"), ended("own", "pass"))
    lines = render(summary).splitlines()
    device, own = (lines.index(next(line for line in lines if line.startswith(title))) for title in ("Dev", "The s"))
    assert ["v1.a" in line for line in lines[device + 1 : own]] == [True, False]
    assert "v1.own" in lines[own + 1]
    assert "1 rule: 1 pass" in lines
    assert "1 rule of the suite itself, not counted: 1 pass" in lines
    assert lines[-1] == "CONFORMANT by plan default (no certificate): 1 rule held"
    assert summary.exit_code == 0
    assert column("6.1", summary).verdicts == {"v1.a": Verdict.PASS}


@pytest.mark.parametrize("verdict", ["broken", "fail"])
def test_a_fault_of_the_suite(verdict: str) -> None:
    """It is shown in full; the run is incomplete, but the device broke nothing."""
    summary = made(ended("a", "pass"), ended("own", verdict, expected="x", seen="y"))
    assert conclude(summary)[:2] == ("INCOMPLETE", "a rule of the suite itself came out broken")
    assert summary.exit_code == 2
    assert "   about     the suite itself: it says nothing about the device" in render(summary).splitlines()


def test_a_fault_of_the_suite_does_not_excuse_the_device() -> None:
    """A broken rule stays broken, and comes first in the report."""
    summary = made(ended("own", "broken", expected="x", seen="y"), ended("a", "fail", expected="x", seen="y"))
    assert conclude(summary)[:2] == ("NOT CONFORMANT", "1 rule broken, a rule of the suite itself came out broken")
    assert summary.exit_code == 1
    assert [line for line in render(summary).splitlines() if line[:3] in ("1) ", "2) ")] == [
        "1) FAIL  v1.a  (1 of 1 case)",
        "2) BROKEN  v1.own  (1 of 1 case)",
    ]


@pytest.mark.parametrize(("verdict", "title"), [("not-run", "not judged"), ("n/a", "not applicable")])
def test_a_rule_of_the_suite_that_was_not_judged(verdict: str, title: str) -> None:
    """If the device could not be made to do something, this is a fault of neither the device nor the suite."""
    summary = made(ended("a", "pass"), ended("own", verdict, what="no error to provoke"))
    assert conclude(summary)[:2] == ("CONFORMANT", "1 rule held")
    lines = render(summary).splitlines()
    at = lines.index(f"The suite itself, {title}: 1 case of 1 rule")
    assert lines[at + 1 : at + 3] == ["   because   no error to provoke", "   rules     v1.own"]


def test_only_rules_of_the_suite_were_selected() -> None:
    """Then nothing about the device was judged."""
    summary = summarise(run_of(ended("own", "pass"), rules={"v1.own": RULES["v1.own"]}))
    assert conclude(summary)[:2] == ("NOTHING JUDGED", "no rule of the device was selected")
    assert summary.exit_code == 4


@pytest.mark.parametrize(
    ("events", "detail", "code"),
    [
        ([ended("own", "hang")], "a call hung outside of any rule", 3),
        (
            [ended("own", "pass"), Death("the server", "ended", "during a read", True, case("own"))],
            *("a server died outside of any rule", 1),
        ),
        (
            [ended("own", "pass"), Kernel(("BUG: it",), case("own"))],
            *("the kernel complained outside of any rule", 1),
        ),
        (
            [ended("own", "broken"), Kernel(("BUG: it",), case("own"))],
            *("the kernel complained outside of any rule", 1),
        ),
    ],
    ids=["hang", "death", "kernel", "oops"],
)
def test_what_happens_to_the_device_during_such_a_case_counts(events: Sequence[Event], detail: str, code: int) -> None:
    """It counts against the device, although none of its rules was being judged; no waiver of the rule covers it."""
    summary = made(ended("a", "pass"), *events, waivers=[waiver(rule="v1.own")])
    assert (conclude(summary).detail, summary.exit_code) == (detail, code)
    assert summary.verdicts["v1.own"] in (Verdict.PASS, Verdict.HANG, Verdict.KERNEL)


def test_a_waiver_of_such_a_rule_has_no_effect() -> None:
    """It excuses nothing, and is never stale."""
    listed = [waiver(rule="v1.own")]
    assert conclude(made(ended("a", "pass"), ended("own", "pass"), waivers=listed)).word == "CONFORMANT"
    assert made(ended("a", "pass"), ended("own", "broken"), waivers=listed).exit_code == 2
