# SPDX-License-Identifier: GPL-2.0-only
"""What the reader has to act on: a numbered block for each rule that failed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from ....common.words import counted
from ....common.wrap import wrap
from ....rules import Rule
from ...case import Case
from ...excerpt import excerpt
from ...faults import (
    MOST_CASES,
    OF_THE_SUITE,
    Entry,
    Fault,
    explained,
    faults,
    numbers,
    programs,
    seen,
    unlike,
    waiving,
    waiving_warning,
)
from ...rerun import again, rerun
from ...summary import Summary
from .layout import LABEL, labelled


class Faults:
    """The faults of a run; a rule comes before the rules that depend on it."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._faults = faults(summary)
        self._numbers = numbers(self._faults)

    def where(self, rule: str) -> str:
        """Where the details of a failed rule are."""
        return f"see {self._numbers[rule]})" if rule in self._numbers else "as its waiver says"

    def lines(self, width: int) -> Iterator[str]:
        """Each fault, then what was waived."""
        for number, fault in enumerate(self._faults, 1):
            yield ""
            yield from self._fault(f"{number}) ", fault, width)
        yield from _waived(self._summary, width)
        yield from _waived_warnings(self._summary, width)

    def _fault(self, number: str, fault: Fault, width: int) -> Iterator[str]:
        """A fault in full."""
        summary, rule = self._summary, self._summary.rules[fault.rule]
        all_cases = counted(len(summary.cases_of(rule.id)), "case")
        head = f"{number}{fault.verdict.value.upper()}  "
        yield from wrap(head, f"{rule.id}  ({len(fault.cases)} of {all_cases})", width)
        if rule.of_the_suite:
            yield from labelled("about", f"{OF_THE_SUITE}: it says nothing about the device", width)
        yield from explanation(rule, width)
        for cause in fault.causes:
            yield from labelled("needs", f"{cause}, which failed: {self.where(cause)}", width)
        yield from in_full(fault.cases[0], summary, fault.calls, width)
        yield from _lines_of(fault.cases[1:], fault.cases[0], fault.others, "also in", width)


def _waived(summary: Summary, width: int) -> Iterator[str]:
    """Every waiver of a rule that was judged, in full, and its effect."""
    for waiver, cases, unused in ((each.waiver, each.cases, each.unused) for each in summary.waivers):
        if not summary.cases_of(waiver.rule):
            continue
        yield ""
        if cases:
            yield f"waived: {waiver.rule}  ({len(cases)} of {counted(len(summary.cases_of(waiver.rule)), 'case')})"
        else:
            yield from wrap(f"waiver not used: {waiver.rule}, because ", unused or "no failure is what it lists", width)
        yield from _entries(waiving(waiver), width)
        if cases:
            yield from _lines_of(cases, cases[0], MOST_CASES, "in", width)


def _waived_warnings(summary: Summary, width: int) -> Iterator[str]:
    """Every waiver of a kernel warning, in full, and its effect."""
    for used in summary.warnings:
        yield ""
        if used.unused:
            head = "stale" if used.stale else "waiver not used"
            yield from wrap(f"{head}: {used.waiver}, because ", used.unused, width)
        else:
            outside = ", and outside of any rule" if used.outside else ""
            yield from wrap("waived: ", f"{used.waiver}  ({counted(len(used.cases), 'case')}{outside})", width)
        yield from _entries(waiving_warning(used.waiver), width)
        for index, case in enumerate(used.cases[:MOST_CASES]):
            yield from labelled("" if index else "in", case.name, width)
        if len(used.cases) > MOST_CASES:
            yield from labelled("", f"and {counted(len(used.cases) - MOST_CASES, 'more case')}", width)


def explanation(rule: Rule, width: int) -> Iterator[str]:
    """What the rule says, and its source."""
    return _entries(explained(rule), width)


def in_full(case: Case, summary: Summary, most: int, width: int) -> Iterator[str]:
    """A case in full, with at most ``most`` of its calls."""
    yield from labelled("case", case.name, width)
    yield from _entries(seen(case.why), width)
    if case.needless:
        return  # nothing went wrong in it, and alone it would not show that the waiver is stale
    yield from _calls(case, summary, most, width)
    if text := again(summary, case):
        yield from labelled("again", text, width)
    yield f"   {'rerun':{LABEL}}{rerun(summary, case)}"
    if made := programs(summary, case):
        for index, file in enumerate(made.files):
            yield f"   {'' if index else 'program':{LABEL}}{file}"
        yield from labelled("" if made.files else "program", made.remark, width)


def _entries(those: Iterable[Entry], width: int) -> Iterator[str]:
    for label, text, kept in those:
        if not kept:
            yield from labelled(label, text, width)
        elif not label:
            yield textwrap.indent(text, " " * (LABEL + 1))
        else:
            for index, line in enumerate(text.splitlines()):
                yield f"   {'' if index else label:{LABEL}}{line}"


def _calls(case: Case, summary: Summary, most: int, width: int) -> Iterator[str]:
    for index, line in enumerate(excerpt(case, summary, most)):
        yield from wrap(f"   {'' if index else 'calls':{LABEL}}{line.mark}", line.text, width, hanging="  ")


def _lines_of(cases: Sequence[Case], first: Case, most: int, label: str, width: int) -> Iterator[str]:
    """Cases in which a rule failed, a line each, at most ``most``: how they differ from the ``first`` one."""
    for index, case in enumerate(cases[:most]):
        yield from labelled("" if index else label, unlike(case, first), width)
    if len(cases) > most:
        yield from labelled("", f"and {counted(len(cases) - most, 'more case')}", width)
