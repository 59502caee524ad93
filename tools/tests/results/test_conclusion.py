# SPDX-License-Identifier: GPL-2.0-only
"""The verdict of a run, which claims no more than was judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from stories import case, ended, run_of, waiver

from vfio_compliance.results.conclusion import conclude
from vfio_compliance.results.events import Broken, Death, End, Event, Hang, Kernel
from vfio_compliance.results.journal import Recorded
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import ChosenPlan, LeftOut, NotBlocking, Selection
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers.terminal import render

SILENT = {"what": "the profile says nothing about stimulus.running", "wants": "stimulus.running"}
SELECTED = Selection(("v1.a",), (), 9, 99)


def verdict(records: Sequence[Recorded]) -> tuple[str, str, int]:
    """Word, detail and exit code; the last line of the report has the same verdict."""
    made = summarise(records)
    assert render(made).splitlines()[-1] == str(conclude(made))
    return conclude(made).word, conclude(made).detail, made.exit_code


@pytest.mark.parametrize(
    ("events", "word", "detail", "code"),
    [
        ([ended("a", "pass"), ended("b", "pass")], "CONFORMANT", "2 rules held", 0),
        ([ended("a", "pass"), ended("b", "n/a")], "CONFORMANT", "1 rule held (1 not applicable)", 0),
        ([ended("a", "fail"), ended("b", "fail")], "NOT CONFORMANT", "2 rules broken", 1),
        ([ended("a", "kernel"), ended("b", "pass")], "NOT CONFORMANT", "1 rule broken", 1),
        (
            [ended("a", "fail"), ended("b", "hang"), ended("c", "broken"), ended("d", "not-run")],
            *("NOT CONFORMANT", "1 rule broken, a call hung in 1, 2 not judged", 1),
        ),
        ([ended("a", "hang"), ended("b", "pass")], "INCOMPLETE", "a call hung in 1 rule", 3),
        (
            [ended("a", "hang"), ended("b", "not-run", what="it is late")],
            *("INCOMPLETE", "a call hung in 1 rule; 1 rule not judged, because it is late", 3),
        ),
        (
            [ended("a", "not-run", **SILENT), ended("b", "not-run", **SILENT), ended("c", "not-run", what="no cable")],
            *("INCOMPLETE", "3 rules not judged, because the profile says nothing about stimulus.running"),
            2,
        ),
        (
            [ended("a", "broken", what="no memory"), ended("b", "pass")],
            "INCOMPLETE",
            "1 rule not judged, because no",
            2,
        ),
        ([ended("a", "n/a"), ended("b", "n/a")], "NOTHING JUDGED", "2 not applicable", 4),
        ([], "NOTHING JUDGED", "no case was run", 4),
    ],
)
def test_the_word_and_its_exit_code(events: Sequence[End], word: str, detail: str, code: int) -> None:
    """A word, its exit code, and the number of rules that it is about."""
    found = verdict(run_of(*events))
    assert (found[0], found[2]) == (word, code)
    assert found[1].startswith(detail)


def test_the_most_frequent_reason_is_named() -> None:
    """Other reasons are counted."""
    silent = [ended(name, "not-run", **SILENT) for name in ("b", "c")]
    _, detail, _ = verdict(run_of(ended("a", "not-run", what="no cable"), *silent))
    assert detail.endswith("because the profile says nothing about stimulus.running (and 1 other reason)")


def test_a_rule_that_failed_is_a_reason() -> None:
    """A rule that could not be judged because of it names it instead of what was seen."""
    rules = {"v1.b": {"stands_on": ("v1.a",)}, "v1.a": {}}
    events = [ended("a", "hang"), ended("b", "not-run", expected="x", seen="y")]
    assert verdict(run_of(*events, rules=rules))[1] == "a call hung in 1 rule; 1 rule not judged, because v1.a failed"
    other = [ended("a", "pass"), ended("b", "not-run", expected="x", seen="y")]
    assert verdict(run_of(*other, rules=rules))[1] == "1 rule not judged, because doing it: y"


@pytest.mark.parametrize(
    ("happened", "detail", "code"),
    [
        (Broken("no cable", "", None), "the run ended early: no cable", 2),
        (Hang("m", "", None), "a call hung outside of any rule", 3),
        (Death("the server", "ended", "at close", True, None), "a server died outside of any rule", 1),
        (Kernel(("BUG: it",), None), "the kernel complained outside of any rule", 1),
    ],
)
def test_an_event_outside_of_any_rule_counts(happened: Event, detail: str, code: int) -> None:
    """Although every case passed; a selection reports it, too."""
    word = "NOT CONFORMANT" if code == 1 else "INCOMPLETE"
    assert verdict(run_of(ended("a", "pass"), happened)) == (word, detail, code)
    selected = verdict(run_of(ended("a", "pass"), happened, selection=SELECTED))
    assert selected == ("SELECTION", f"1 of 9 rules (1 of 99 cases): 1 held, {detail}", code)


@pytest.mark.parametrize(
    ("events", "detail", "code"),
    [
        ([ended("a", "pass"), ended("b", "fail")], "2 of 9 rules (2 of 99 cases): 1 broken, 1 held", 1),
        ([ended("a", "n/a")], "1 of 9 rules (1 of 99 cases): 1 not applicable", 4),
        ([ended("a[1]", "not-run"), ended("a[2]", "pass")], "1 of 9 rules (2 of 99 cases): 1 not judged", 2),
        ([ended("a", "hang")], "1 of 9 rules (1 of 99 cases): 1 with a call that hung", 3),
    ],
)
@pytest.mark.parametrize("option", ["only", "exclude"])
def test_a_selection_is_never_a_certificate(events: Sequence[End], detail: str, code: int, option: str) -> None:
    """It gives the number of its rules and cases, whichever option made it."""
    chosen_by: dict[str, Any] = {option: ("v1.a",)}
    chosen = replace(replace(SELECTED, only=(), exclude=()), **chosen_by)
    assert verdict(run_of(*events, selection=chosen)) == ("SELECTION", detail, code)


def test_an_exploration_is_not_a_certificate() -> None:
    """Rules that are judged only on request do not belong to a plan."""
    found = verdict(run_of(ended("a", "pass"), rules={"v1.a": {"on_request": True}}))
    assert found == ("SELECTION", "1 rule of --stress: 1 held", 0)


def test_rules_of_other_interfaces_were_not_left_out() -> None:
    """They were never going to be judged, whatever the plan says about them."""
    made = run_of(
        ended("a", "pass"),
        rules={"v1.a": {}, "v1.b": {"interface": "another"}},
        plan=ChosenPlan("quick", "", (LeftOut("v1.b", "it is slow"),)),
    )
    assert verdict(made) == ("CONFORMANT", "1 rule held", 0)


def test_the_plan_is_named() -> None:
    """With what it leaves out: rules by id or by prefix; the longest matching entry gives the reason."""
    left_out = (LeftOut("v1.slow", "it is slow"), LeftOut("v1.slow.least", "it is slowest"))
    rules: dict[str, dict[str, Any]] = {name: {} for name in ("v1.slow.one", "v1.slow.least", "v1.slower")}
    made = run_of(ended("a", "pass"), rules=rules, plan=ChosenPlan("quick", "q.yaml", left_out))
    summary = summarise(made)
    assert summary.scope.left_out == {"it is slow": ["v1.slow.one"], "it is slowest": ["v1.slow.least"]}
    lines = render(summary).splitlines()
    assert lines[-1] == "CONFORMANT by plan quick (no certificate): 1 rule held (2 left out by the plan)"
    at = lines.index("Left out by plan quick: 1 rule")
    assert lines[at + 1 : at + 3] == ["   because   it is slow", "   rules     v1.slow.one"]


@pytest.mark.parametrize(
    ("chosen", "certifies"),
    [
        ({"depth": "full"}, True),
        ({"depth": "full", "name": "lab"}, True),
        ({"depth": "default", "name": "certification"}, False),
        ({"depth": "quick"}, False),
        ({"depth": "full", "left_out": (LeftOut("v1.b", "it is slow"),)}, False),
        ({"depth": "full", "not_blocking": (NotBlocking("it is known", "v1.b"),)}, False),
    ],
)
def test_which_plans_make_a_certificate(chosen: Mapping[str, Any], certifies: bool) -> None:
    """A plan certifies by its depth, whatever its name, unless it leaves out or excuses anything."""
    plan = ChosenPlan(**{"name": "certification", "given": "", "left_out": (), **chosen})
    summary = summarise(run_of(ended("a", "pass"), plan=plan))
    assert summary.scope.certifies is certifies
    no_certificate = "" if certifies else " (no certificate)"
    assert str(conclude(summary)) == f"CONFORMANT by plan {plan.name}{no_certificate}: 1 rule held"


def excused_run(excuse: NotBlocking, verdicts: Sequence[str]) -> Summary:
    """A run of v1.a, which is a ``should`` rule, and v1.b, by a plan with this excuse."""
    plan = ChosenPlan("ci", "", (), (excuse,))
    return summarise(run_of(*map(ended, "ab", verdicts), rules={"v1.a": {"level": "should"}, "v1.b": {}}, plan=plan))


@pytest.mark.parametrize(
    ("excuse", "verdicts", "line", "code"),
    [
        (
            NotBlocking("--no-should", level="should"),
            *(["fail", "pass"], "CONFORMANT by plan ci --no-should (no certificate): 1 rule held", 0),
        ),
        (
            NotBlocking("known", rule="v1.a"),
            *(["fail", "pass"], "CONFORMANT by plan ci (no certificate): 1 rule held", 0),
        ),
        (
            NotBlocking("--no-should", level="should"),
            *(["pass", "fail"], "NOT CONFORMANT by plan ci --no-should: 1 rule broken", 1),
        ),
        (
            NotBlocking("--no-should", level="should"),
            *(["kernel", "pass"], "NOT CONFORMANT by plan ci --no-should: 1 rule broken", 1),
        ),
    ],
)
def test_rules_that_do_not_block(excuse: NotBlocking, verdicts: Sequence[str], line: str, code: int) -> None:
    """They are judged and shown, but count only if the kernel complained; the verdict names the option."""
    made = excused_run(excuse, verdicts)
    excused = " (1 non-blocking broken)" if line.startswith("CONFORMANT") else ""
    assert (render(made).splitlines()[-1], made.exit_code) == (line + excused, code)
    lines = render(made).splitlines()
    at = lines.index("Not blocking by plan ci: 1 rule")
    assert lines[at + 1 : at + 3] == [f"   because   {excuse.reason}", "   rules     v1.a"]


def test_an_excuse_for_another_level_has_no_effect() -> None:
    made = excused_run(NotBlocking("known", level="may"), ["fail", "pass"])
    assert render(made).splitlines()[-1] == "NOT CONFORMANT by plan ci: 1 rule broken"
    assert made.exit_code == 1


def test_the_word_counts_waived_rules() -> None:
    """The number of waived rules is in the word."""
    events = [ended("a", "fail", expected="x", seen="y"), ended("b", "pass")]
    found = verdict(run_of(*events, waivers=[waiver(rule="v1.a")]))
    assert found == ("CONFORMANT WITH WAIVERS (1)", "1 rule held, 1 broken as waived", 0)


def test_a_waiver_that_is_not_needed() -> None:
    """Its rule held, so the verdict says that no rule is broken; an expired waiver of a broken rule excuses nothing."""
    events = [ended("a", "fail", expected="x", seen="y"), ended("b", "pass")]
    needless, expired = waiver(rule="v1.b"), waiver(rule="v1.a", expires=date(2020, 1, 1))
    found = verdict(run_of(*events[1:], waivers=[needless]))
    assert found == ("NOT CONFORMANT", "no rule broken, but 1 waiver is stale: its rule holds", 1)
    assert verdict(run_of(*events, waivers=[expired]))[1] == "1 rule broken"
    both = verdict(run_of(*events, waivers=[expired, needless]))
    assert both[1] == "1 rule broken, 1 waiver is stale: its rule holds"


def test_a_server_that_dies_counts_even_if_the_rule_does_not_block() -> None:
    """Like a hang, it counts whatever the rule says."""
    death = Death("the server", "ended", "during a read", True, case("q"))
    events: list[Event] = [ended("a", "pass"), ended("q", "pass"), death]
    assert verdict(run_of(*events, rules={"v1.q": {"blocking": False}})) == ("NOT CONFORMANT", "1 rule broken", 1)


def test_a_kernel_complaint_counts_beside_a_failure_that_does_not() -> None:
    """One case of a non-blocking rule fails, and the kernel complains in another."""
    events: list[Event] = [ended("a", "pass"), ended("q[1]", "fail"), ended("q[2]", "pass")]
    events.append(Kernel(("BUG: it",), case("q[2]")))
    assert verdict(run_of(*events, rules={"v1.q": {"blocking": False}}))[2] == 1
