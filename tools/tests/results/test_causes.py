# SPDX-License-Identifier: GPL-2.0-only
"""How the report shows failures with a cause elsewhere, and cases that were not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from stories import ended, run_of, waiver

from vfio_compliance.results.events import End
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import Selection
from vfio_compliance.results.writers.terminal import render

FAILED = {"expected": "x", "seen": "y"}


def lines(*events: End, width: int = 100, **more: Any) -> list[str]:
    """The report."""
    return render(summarise(run_of(*events, **more)), width).splitlines()


def block(report: Sequence[str], head: str) -> list[str]:
    """The lines below ``head``, up to an empty one."""
    at = report.index(head)
    return list(report[at + 1 : report.index("", at)])


def heads(report: Sequence[str]) -> list[str]:
    """The first line of each failure."""
    return [line.partition("  (")[0] for line in report if line[:1].isdigit() and ") " in line[:4]]


CHAIN = {"v1.c": {"stands_on": ("v1.b",)}, "v1.d": {}, "v1.b": {"stands_on": ("v1.a",)}, "v1.a": {}}


def test_the_cause_comes_first() -> None:
    """Rules that depend on it follow it, however far away in the catalogue; others keep their places."""
    report = lines(*(ended(name, "fail", **FAILED) for name in "cdba"), rules=CHAIN)
    assert heads(report) == ["1) FAIL  v1.d", "2) FAIL  v1.a", "3) FAIL  v1.c", "4) FAIL  v1.b"]
    for name in ("3) FAIL  v1.c", "4) FAIL  v1.b"):
        shown = block(report, f"{name}  (1 of 1 case)")
        assert "   needs     v1.a, which failed: see 2)" in shown
        assert sum("read 8 bytes" in line for line in shown) == 4
    assert sum("read 8 bytes" in line for line in block(report, "2) FAIL  v1.a  (1 of 1 case)")) == 12
    assert report[-1] == "NOT CONFORMANT by plan default: 4 rules broken"


def test_a_rule_that_held_is_not_a_cause() -> None:
    """Only rules that failed, and that this one depends on, are named, even if two failures look the same."""
    report = lines(ended("c", "fail", **FAILED), ended("b", "pass"), ended("a", "pass"), rules=CHAIN)
    assert not [line for line in report if "needs  " in line]
    report = lines(ended("d", "fail", **FAILED), ended("a", "fail", **FAILED), rules=CHAIN)
    assert not [line for line in report if "needs  " in line]


def test_two_causes() -> None:
    """Both are named; the failure comes after the first of them."""
    rules = {"v1.c": {"stands_on": ("v1.b", "v1.a")}, "v1.a": {}, "v1.b": {}}
    report = lines(*(ended(name, "fail", **FAILED) for name in "cab"), rules=rules)
    assert heads(report) == ["1) FAIL  v1.a", "2) FAIL  v1.c", "3) FAIL  v1.b"]
    assert block(report, "2) FAIL  v1.c  (1 of 1 case)")[2:4] == [
        "   needs     v1.a, which failed: see 1)",
        "   needs     v1.b, which failed: see 3)",
    ]


def test_a_waived_cause() -> None:
    """A failure that depends on it counts, and says why it may have failed."""
    report = lines(*(ended(name, "fail", **FAILED) for name in "ba"), rules=CHAIN, waivers=[waiver(rule="v1.a")])
    assert heads(report) == ["1) FAIL  v1.b"]
    assert "   needs     v1.a, which failed: as its waiver says" in report
    assert "waived: v1.a  (1 of 1 case)" in report


def test_an_unneeded_waiver_is_stale() -> None:
    """The block says so. It has no call and no rerun command: neither would show anything."""
    report = lines(ended("a", "pass"), ended("b", "pass"), waivers=[waiver(rule="v1.a")])
    assert block(report, "1) STALE  v1.a  (1 of 1 case)")[-1] == "   seen      the rule held; remove the waiver"


def test_rules_that_stand_on_each_other() -> None:
    """A catalogue never has them, but a damaged journal may: each is shown."""
    rules = {"v1.a": {"stands_on": ("v1.b",)}, "v1.b": {"stands_on": ("v1.a",)}}
    assert len(heads(lines(ended("a", "fail"), ended("b", "fail"), rules=rules))) == 2


def test_differences_of_other_cases() -> None:
    """What another case did is shown if it differs from the first one and is not already in the name."""
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
    """The rule that failed is named once, with the ways in which the cases met it."""
    seen = [ended(f"b[{number}]", "not-run", what=f"going to {number}", **FAILED) for number in range(5)]
    report = lines(ended("a", "fail", **FAILED), *seen, rules=STANDS)
    assert block(report, "Not judged: 5 cases of 1 rule") == [
        "   needs     v1.a, which failed: see 1)",
        "   met by    going to 0: expected x, seen y",
        "             going to 1: expected x, seen y",
        "             going to 2: expected x, seen y",
        "             and in 2 other ways",
        "   rules     v1.b",
    ]


@pytest.mark.parametrize(("found", "more"), [("pass", {}), ("fail", {"skipped": True})])
def test_not_judged_for_another_reason(found: str, more: Mapping[str, bool]) -> None:
    """The reason is what was seen, or the user's choice."""
    report = lines(ended("a", found, **FAILED), ended("b", "not-run", **FAILED, **more), rules=STANDS)
    assert block(report, "Not judged: 1 case of 1 rule")[0] == "   because   doing it: expected x, seen y"


def test_not_judged_for_lack_of_a_key() -> None:
    """Grouped by the key, whatever else the cases say; with a remedy."""
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
    """The reason is the profile's."""
    report = lines(ended("a", "not-run", what="skipped by the profile: it takes an hour"))
    assert block(report, "Not judged: 1 case of 1 rule")[0] == "   because   skipped by the profile: it takes an hour"


def test_the_selection() -> None:
    """The words of the options, and how much they leave of the whole."""
    chosen = Selection(("v1.a", "DS"), ("v1.b",), 9, 99)
    report = lines(ended("a", "pass"), selection=chosen)
    assert block(report, "Selected: 1 of 99 cases, 1 of 9 rules") == [
        "   --only    v1.a",
        "             DS",
        "   --exclude v1.b",
    ]


@pytest.mark.parametrize("width", [60, 100])
def test_width(width: int) -> None:
    """Neither a table of rules nor a call is wider than the screen, if it can be broken between words."""
    cases = [ended(f"{name * 36}[{name}]", "fail" if name == "a" else "pass", **FAILED) for name in "ab"]
    cases[0] = replace(cases[0], observed={"what a device does on a long question": "one of several answers " * 3})
    *report, _ = lines(*cases, width=width)
    assert not [line for line in report if len(line) > width and not line.startswith(("   rerun", "   case"))]
