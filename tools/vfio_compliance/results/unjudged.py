# SPDX-License-Identifier: GPL-2.0-only
"""What was not judged, and why; what was not to be judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ..common.words import counted
from .case import Case
from .conclusion import reason
from .faults import OF_THE_SUITE
from .summary import Summary
from .verdict import Verdict

_NOT_JUDGED: Final = "Not judged"
_TITLES: Final = {Verdict.NOT_RUN: _NOT_JUDGED, Verdict.NOT_APPLICABLE: "Not applicable"}


class Group(NamedTuple):
    """Rules, or cases of rules, without a verdict for the same reason."""

    title: str
    #: Their number, in words.
    number: str
    rules: list[str]
    #: Why; or, if they depend on a rule that failed, the ways in which the failure was met.
    because: list[str]
    #: How to fix it.
    remedy: str = ""
    #: The failed rule without which these cannot be judged.
    cause: str = ""
    #: The key of the profile that they need.
    wants: str = ""


def unjudged(summary: Summary) -> Iterator[Group]:
    """First what says nothing about the device, then what says nothing about the suite itself."""
    cases = list(filter(summary.of_device, summary.cases.values()))
    yield from _because_of_rules(cases, summary)
    yield from _for_want_of_keys(cases, summary)
    rest = [case for case in cases if not case.why.wants and not summary.hindrance(case)]
    own = [case for case in summary.cases.values() if not summary.of_device(case)]
    for verdict, title in _TITLES.items():
        yield from _grouped(verdict, title, rest)
    for verdict, title in _TITLES.items():
        yield from _grouped(verdict, f"{OF_THE_SUITE.capitalize()}, {title.lower()}", own)


def _because_of_rules(cases: Sequence[Case], summary: Summary) -> Iterator[Group]:
    failed: dict[str, list[Case]] = {}
    for case in cases:
        if rule := summary.hindrance(case):
            failed.setdefault(rule, []).append(case)
    for rule, hindered in failed.items():
        ways = list(dict.fromkeys(str(case.why) for case in hindered))
        yield _group(_NOT_JUDGED, hindered, ways)._replace(cause=rule)


def _for_want_of_keys(cases: Sequence[Case], summary: Summary) -> Iterator[Group]:
    silent: dict[str, list[Case]] = {}
    for case in cases:
        if case.verdict is Verdict.NOT_RUN and case.why.wants:
            silent.setdefault(case.why.wants, []).append(case)
    for key, wanting in silent.items():
        add = f"add it to {summary.run.profile.path} (template: see `list --shipped`)"
        group = _group(_NOT_JUDGED, wanting, [reason(summary, wanting[0])])
        yield group._replace(remedy=f"{add}, or leave the rules out with a plan", wants=key)


def _grouped(verdict: Verdict, title: str, cases: Sequence[Case]) -> Iterator[Group]:
    """Cases without a verdict on their rule, by reason."""
    reasons: dict[str, list[Case]] = {}
    for case in cases:
        if case.verdict is verdict:
            reasons.setdefault(str(case.why), []).append(case)
    for text, alike in reasons.items():
        yield _group(title, alike, [text])


def _group(title: str, cases: Sequence[Case], because: list[str]) -> Group:
    rules = list(dict.fromkeys(case.rule for case in cases))
    return Group(title, f"{counted(len(cases), 'case')} of {counted(len(rules), 'rule')}", rules, because)


def left_out(summary: Summary) -> Iterator[Group]:
    """What the plan leaves out, or does not let count."""
    scope = summary.scope
    for title, groups in (("Left out", scope.left_out), ("Not blocking", scope.not_blocking)):
        for text, rules in groups.items():
            yield Group(f"{title} by plan {scope.plan}", counted(len(rules), "rule"), rules, [text])


def selected(summary: Summary) -> str:
    """How much ``--only`` and ``--exclude`` left, in words; empty if neither was given."""
    scope = summary.scope
    if not scope.only and not scope.exclude:
        return ""
    of_rules = f"{len(summary.device_verdicts)} of {counted(scope.rules, 'rule')}"
    return f"{summary.number_of_cases} of {counted(scope.cases, 'case')}, {of_rules}"
