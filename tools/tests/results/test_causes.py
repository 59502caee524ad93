# SPDX-License-Identifier: GPL-2.0-only
"""What the report shows of failures that have a cause elsewhere, and of what was not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from stories import ended, told, waiver

from vfio_compliance.results.events import End
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import Selection
from vfio_compliance.results.writers.terminal import render

FAILED = {"expected": "x", "seen": "y"}


def lines(*events: End, width: int = 100, **more: Any) -> list[str]:
    """The report."""
    return render(summarise(told(*events, **more)), width).splitlines()


def block(report: Sequence[str], head: str) -> list[str]:
    """The lines below ``head`` up to an empty one."""
    at = report.index(head)
    return list(report[at + 1 : report.index("", at)])


def heads(report: Sequence[str]) -> list[str]:
    """The first lines of what failed."""
    return [line.partition("  (")[0] for line in report if line[:1].isdigit() and ") " in line[:4]]


CHAIN = {"v1.c": {"stands_on": ("v1.b",)}, "v1.d": {}, "v1.b": {"stands_on": ("v1.a",)}, "v1.a": {}}


def test_the_cause_comes_first() -> None:
    """What stands on it follows it, however far from it in the catalogue; others keep their places."""
    report = lines(*(ended(name, "fail", **FAILED) for name in "cdba"), rules=CHAIN)
    assert heads(report) == ["1) FAIL  v1.d", "2) FAIL  v1.a", "3) FAIL  v1.c", "4) FAIL  v1.b"]
    for name in ("3) FAIL  v1.c", "4) FAIL  v1.b"):
        shown = block(report, f"{name}  (1 of 1 case)")
        assert "   stands on v1.a, which failed: see 2)" in shown
        assert sum("read 8 bytes" in line for line in shown) == 4
    assert sum("read 8 bytes" in line for line in block(report, "2) FAIL  v1.a  (1 of 1 case)")) == 12
    assert report[-1] == "NOT CONFORMANT by plan default: 4 rules broken"


def test_a_rule_that_held_is_no_cause() -> None:
    """Alike as they look: only what a rule stands on, and what failed, is named."""
    report = lines(ended("c", "fail", **FAILED), ended("b", "pass"), ended("a", "pass"), rules=CHAIN)
    assert not [line for line in report if "stands on" in line]
    report = lines(ended("d", "fail", **FAILED), ended("a", "fail", **FAILED), rules=CHAIN)
    assert not [line for line in report if "stands on" in line]


def test_two_causes() -> None:
    """Both are named; the block stands after the first one."""
    rules = {"v1.c": {"stands_on": ("v1.b", "v1.a")}, "v1.a": {}, "v1.b": {}}
    report = lines(*(ended(name, "fail", **FAILED) for name in "cab"), rules=rules)
    assert heads(report) == ["1) FAIL  v1.a", "2) FAIL  v1.c", "3) FAIL  v1.b"]
    assert block(report, "2) FAIL  v1.c  (1 of 1 case)")[2:4] == [
        "   stands on v1.a, which failed: see 1)",
        "   stands on v1.b, which failed: see 3)",
    ]


def test_a_waived_cause() -> None:
    """What stands on it counts, and says why it may have failed."""
    report = lines(*(ended(name, "fail", **FAILED) for name in "ba"), rules=CHAIN, waivers=[waiver(rule="v1.a")])
    assert heads(report) == ["1) FAIL  v1.b"]
    assert "   stands on v1.a, which failed: as its waiver says" in report
    assert "waived: v1.a  (1 of 1 case)" in report


def test_a_waiver_that_is_not_needed() -> None:
    """The block says so; there is no call to look at, and a rerun of the case would not show it."""
    report = lines(ended("a", "pass"), ended("b", "pass"), waivers=[waiver(rule="v1.a")])
    assert block(report, "1) STALE  v1.a  (1 of 1 case)")[-1] == "   seen      the rule held; remove the waiver"


def test_rules_that_stand_on_each_other() -> None:
    """No catalogue has them, but a damaged journal may: each is shown."""
    rules = {"v1.a": {"stands_on": ("v1.b",)}, "v1.b": {"stands_on": ("v1.a",)}}
    assert len(heads(lines(ended("a", "fail"), ended("b", "fail"), rules=rules))) == 2


def test_what_was_done_in_other_cases() -> None:
    """It is said where it is not what was done in the first one, and not when the name says it."""
    report = lines(
        ended("a[run]", "fail", what="writing 0x1", **FAILED),
        ended("a[stop]", "fail", what="writing 0x5", expected="x", seen="EINVAL"),
        ended("a[copy]", "fail", what="writing 0x1", expected="x", seen="EIO"),
        ended("a[map 3]", "fail", what="map 3; read", expected="x", seen="z"),
        ended("a[late]", "fail", what="it came late"),
    )
    at = report.index("   also in   stop: writing 0x5: EINVAL")
    assert report[at + 1 : at + 4] == [
        "             copy: EIO",
        "             map 3; read: z",
        "             late: it came late",
    ]


STANDS = {"v1.b": {"stands_on": ("v1.a",)}, "v1.a": {}}


def test_not_judged_because_of_a_rule() -> None:
    """The rule that failed is named once, with the ways in which that was met."""
    seen = [ended(f"b[{number}]", "not-run", what=f"going to {number}", **FAILED) for number in range(5)]
    report = lines(ended("a", "fail", **FAILED), *seen, rules=STANDS)
    assert block(report, "Not judged: 5 cases of 1 rule") == [
        "   stands on v1.a, which failed: see 1)",
        "   met by    going to 0: expected x, seen y",
        "             going to 1: expected x, seen y",
        "             going to 2: expected x, seen y",
        "             and in 2 other ways",
        "   rules     v1.b",
    ]


@pytest.mark.parametrize(("found", "more"), [("pass", {}), ("fail", {"skipped": True})])
def test_not_judged_for_another_reason(found: str, more: Mapping[str, bool]) -> None:
    """What was seen, or the choice of the user, is the reason then."""
    report = lines(ended("a", found, **FAILED), ended("b", "not-run", **FAILED, **more), rules=STANDS)
    assert block(report, "Not judged: 1 case of 1 rule")[0] == "   because   doing it: expected x, seen y"


def test_not_judged_for_want_of_a_key() -> None:
    """By the key, whatever else was said; with what to do about it."""
    wants = [
        ended(f"{name}[{number}]", "not-run", what=f"{name} {number}", wants="stimulus.running")
        for name in "ab"
        for number in range(2)
    ]
    assert block(lines(*wants), "Not judged: 4 cases of 2 rules") == [
        "   because   the profile says nothing about stimulus.running",
        "   remedy    add it to p.yaml (template: see `list --shipped`), or leave the rules out with a plan",
        "   rules     v1.a, v1.b",
    ]


def test_not_judged_because_the_profile_skips_it() -> None:
    """With the reason of the profile."""
    report = lines(ended("a", "not-run", what="skipped by the profile: it takes an hour"))
    assert block(report, "Not judged: 1 case of 1 rule")[0] == "   because   skipped by the profile: it takes an hour"


def test_what_was_selected() -> None:
    """By which words, and of how much."""
    chosen = Selection(("v1.a", "DS"), ("v1.b",), 9, 99)
    report = lines(ended("a", "pass"), selection=chosen)
    assert block(report, "Selected: 1 of 99 cases, 1 of 9 rules") == [
        "   --only    v1.a",
        "             DS",
        "   --exclude v1.b",
    ]


@pytest.mark.parametrize("width", [60, 100])
def test_width(width: int) -> None:
    """Neither a table of rules nor a call is wider than the screen, if words allow it."""
    cases = [ended(f"{name * 36}[{name}]", "fail" if name == "a" else "pass", **FAILED) for name in "ab"]
    cases[0] = replace(cases[0], observed={"what a device does on a long question": "one of several answers " * 3})
    *report, _ = lines(*cases, width=width)
    assert not [line for line in report if len(line) > width and not line.startswith(("   rerun", "   case"))]
