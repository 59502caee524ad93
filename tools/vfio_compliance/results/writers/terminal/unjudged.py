# SPDX-License-Identifier: GPL-2.0-only
"""What was not judged, and why; what was never meant to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ....common.words import counted
from ...case import Case
from ...conclusion import reason
from ...summary import Summary
from ...verdict import Verdict
from .faults import Faults
from .layout import MOST_RULES, OF_THE_SUITE, labelled, some

#: How many different ways are shown in which cases could not be judged because one rule failed.
_WAYS: Final = 3

_NOT_JUDGED: Final = "Not judged"
_TITLES: Final = {Verdict.NOT_RUN: _NOT_JUDGED, Verdict.NOT_APPLICABLE: "Not applicable"}


def unjudged(summary: Summary, faults: Faults, width: int) -> Iterator[str]:
    """First what says nothing about the device, then what says nothing about the suite itself."""
    cases = list(filter(summary.of_device, summary.cases.values()))
    yield from _because_of_rules(cases, summary, faults, width)
    yield from _for_want_of_keys(cases, summary, width)
    rest = [case for case in cases if not case.why.wants and not summary.hindrance(case)]
    own = [case for case in summary.cases.values() if not summary.of_device(case)]
    for verdict, title in _TITLES.items():
        yield from _grouped(verdict, title, rest, width)
    for verdict, title in _TITLES.items():
        yield from _grouped(verdict, f"{OF_THE_SUITE.capitalize()}, {title.lower()}", own, width)


def _because_of_rules(cases: Sequence[Case], summary: Summary, faults: Faults, width: int) -> Iterator[str]:
    failed: dict[str, list[Case]] = {}
    for case in cases:
        if rule := summary.hindrance(case):
            failed.setdefault(rule, []).append(case)
    for rule, hindered in failed.items():
        yield from _head(_NOT_JUDGED, hindered)
        yield from labelled("stands on", f"{rule}, which failed: {faults.where(rule)}", width)
        ways = list(dict.fromkeys(str(case.why) for case in hindered))
        for index, way in enumerate(ways[:_WAYS]):
            yield from labelled("" if index else "met by", way, width)
        if len(ways) > _WAYS:
            yield from labelled("", f"and in {counted(len(ways) - _WAYS, 'other way')}", width)
        yield from _names(hindered, width)


def _for_want_of_keys(cases: Sequence[Case], summary: Summary, width: int) -> Iterator[str]:
    silent: dict[str, list[Case]] = {}
    for case in cases:
        if case.verdict is Verdict.NOT_RUN and case.why.wants:
            silent.setdefault(case.why.wants, []).append(case)
    for wanting in silent.values():
        yield from _head(_NOT_JUDGED, wanting)
        yield from labelled("because", reason(summary, wanting[0]), width)
        add = f"add it to {summary.run.profile.path} (template: see `list --shipped`)"
        yield from labelled("remedy", f"{add}, or leave the rules out by a plan", width)
        yield from _names(wanting, width)


def _grouped(verdict: Verdict, title: str, cases: Sequence[Case], width: int) -> Iterator[str]:
    """Cases that say nothing about their rule, by the reason."""
    reasons: dict[str, list[Case]] = {}
    for case in cases:
        if case.verdict is verdict:
            reasons.setdefault(str(case.why), []).append(case)
    for text, alike in reasons.items():
        yield from _head(title, alike)
        yield from labelled("because", text, width)
        yield from _names(alike, width)


def _head(title: str, cases: Sequence[Case]) -> Iterator[str]:
    yield ""
    yield f"{title}: {counted(len(cases), 'case')} of {counted(len({case.rule for case in cases}), 'rule')}"


def _names(cases: Sequence[Case], width: int) -> Iterator[str]:
    yield from labelled("rules", some([*dict.fromkeys(case.rule for case in cases)]), width)


def left_out(summary: Summary, width: int) -> Iterator[str]:
    """What was never meant to be judged in this run."""
    scope = summary.scope
    for text, rules in scope.left_out.items():
        yield ""
        yield f"Left out by plan {scope.plan}: {counted(len(rules), 'rule')}"
        yield from labelled("because", text, width)
        yield from labelled("rules", some(rules), width)
    for text, rules in scope.not_blocking.items():
        yield ""
        yield f"Not blocking by plan {scope.plan}: {counted(len(rules), 'rule')}"
        yield from labelled("because", text, width)
        yield from labelled("rules", some(rules), width)
    if scope.only or scope.exclude:
        cases = summary.number_of_cases
        of_rules = f"{len(summary.device_verdicts)} of {counted(scope.rules, 'rule')}"
        yield ""
        yield f"Selected: {cases} of {counted(scope.cases, 'case')}, {of_rules}"
        for option, patterns in (("--only", scope.only), ("--exclude", scope.exclude)):
            for index, pattern in enumerate(patterns[:MOST_RULES]):
                yield from labelled("" if index else option, pattern, width)
            if len(patterns) > MOST_RULES:
                yield from labelled("", f"and {len(patterns) - MOST_RULES} more", width)
