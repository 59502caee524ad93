# SPDX-License-Identifier: GPL-2.0-only
"""What the reader has to do something about: a numbered block for each rule that failed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ....common.words import counted
from ....common.wrap import wrap
from ....rules import Rule
from ...case import Case
from ...excerpt import excerpt
from ...failure import Failure
from ...rerun import again, rerun
from ...setting import KernelWarning, Waiver
from ...summary import TROUBLE, Summary
from ...verdict import Verdict
from .layout import LABEL, OF_THE_SUITE, labelled

#: How many of the calls of a failing case are shown, and how many of a rule's other failing cases.
MOST_CALLS: Final = 12
_CASES: Final = 8

#: The same for a rule that stands on one that failed.
_DEPENDENT_CALLS: Final = 4
_DEPENDENT_CASES: Final = 2


class _Fault(NamedTuple):
    """Cases of a rule that ended in the same verdict."""

    rule: str
    verdict: Verdict
    cases: list[Case]


class Faults:
    """The faults of a run, what others stand on first, each followed by those others."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._faults = _in_order(summary)
        self._numbers: dict[str, int] = {}
        for number, fault in enumerate(self._faults, 1):
            self._numbers.setdefault(fault.rule, number)

    def where(self, rule: str) -> str:
        """Where more is said of a rule that failed."""
        return f"see {self._numbers[rule]})" if rule in self._numbers else "as its waiver says"

    def lines(self, width: int) -> Iterator[str]:
        """Each fault, then what was waived."""
        for number, fault in enumerate(self._faults, 1):
            yield ""
            yield from self._fault(f"{number}) ", fault, width)
        yield from _waived(self._summary, width)
        yield from _waived_warnings(self._summary, width)

    def _fault(self, number: str, fault: _Fault, width: int) -> Iterator[str]:
        """All about a fault. Of one that has its cause elsewhere, less."""
        summary, rule = self._summary, self._summary.rules[fault.rule]
        all_cases = counted(len(summary.cases_of(rule.id)), "case")
        causes = summary.causes(rule.id)
        head = f"{number}{fault.verdict.value.upper()}  "
        yield from wrap(head, f"{rule.id}  ({len(fault.cases)} of {all_cases})", width)
        if rule.of_the_suite:
            yield from labelled("about", f"{OF_THE_SUITE}: it says nothing about the device", width)
        yield from explanation(rule, width)
        for cause in causes:
            yield from labelled("stands on", f"{cause}, which failed: {self.where(cause)}", width)
        yield from in_full(fault.cases[0], summary, _DEPENDENT_CALLS if causes else MOST_CALLS, width)
        most = _DEPENDENT_CASES if causes else _CASES
        yield from _lines_of(fault.cases[1:], fault.cases[0], most, "also in", width)


def _in_order(summary: Summary) -> list[_Fault]:
    by_rule = {
        rule: [
            _Fault(rule, troubled, cases)
            for troubled in TROUBLE
            if (cases := [case for case in summary.cases_of(rule) if case.verdict is troubled])
        ]
        for rule in (*summary.device_verdicts, *summary.suite_verdicts)
    }
    causes = {rule: [cause for cause in summary.causes(rule) if by_rule.get(cause)] for rule in by_rule}
    first = [rule for rule in by_rule if not causes[rule]]
    order = [rule for root in first for rule in (root, *(each for each in by_rule if causes[each][:1] == [root]))]
    order += [rule for rule in by_rule if rule not in order]  # rules that stand on each other, in a damaged journal
    return [fault for rule in order for fault in by_rule[rule]]


def _waived(summary: Summary, width: int) -> Iterator[str]:
    """Every waiver of a rule that was judged, with all that it says, and what came of it."""
    for waiver, cases, unused in ((each.waiver, each.cases, each.unused) for each in summary.waivers):
        if not summary.cases_of(waiver.rule):
            continue
        yield ""
        if cases:
            yield f"waived: {waiver.rule}  ({len(cases)} of {counted(len(summary.cases_of(waiver.rule)), 'case')})"
        else:
            yield from wrap(f"waiver not used: {waiver.rule}, because ", unused or "no failure is what it lists", width)
        for label, text in (
            *_why_waived(waiver),
            ("shows", waiver.shows),
            ("case", waiver.case),
            ("kernel", waiver.kernel),
            ("driver", waiver.driver),
            *_last_of(waiver),
        ):
            if text is not None:
                yield from labelled(label, text, width)
        if cases:
            yield from _lines_of(cases, cases[0], _CASES, "in", width)


def _waived_warnings(summary: Summary, width: int) -> Iterator[str]:
    """Every waiver of a warning of the kernel, with all that it says, and what came of it."""
    for used in summary.warnings:
        yield ""
        if used.unused:
            head = "stale" if used.stale else "waiver not used"
            yield from wrap(f"{head}: {used.waiver}, because ", used.unused, width)
        else:
            outside = ", and outside of any rule" if used.outside else ""
            yield from wrap("waived: ", f"{used.waiver}  ({counted(len(used.cases), 'case')}{outside})", width)
        for label, text in (*_why_waived(used.waiver), ("kernel", used.waiver.kernel), *_last_of(used.waiver)):
            if text is not None:
                yield from labelled(label, text, width)
        for index, case in enumerate(used.cases[:_CASES]):
            yield from labelled("" if index else "in", case.name, width)
        if len(used.cases) > _CASES:
            yield from labelled("", f"and {counted(len(used.cases) - _CASES, 'more case')}", width)


def _why_waived(waiver: Waiver | KernelWarning) -> Iterator[tuple[str, str | None]]:
    yield "reason", waiver.reason
    yield "link", waiver.link
    yield "owner", waiver.owner
    yield "expires", f"after {waiver.expires}" if waiver.expires else None


def _last_of(waiver: Waiver | KernelWarning) -> Iterator[tuple[str, str | None]]:
    yield "sometimes", "it does not show in every run" if waiver.sometimes else None
    yield "from", waiver.where or None


def explanation(rule: Rule, width: int) -> Iterator[str]:
    """What the rule says, and where it stands."""
    yield from labelled("rule", rule.says, width)
    kind = f"{rule.level}, {rule.status}" if rule.blocking else f"{rule.level}, {rule.status}, does not block"
    yield from labelled("clause", f"{', '.join(rule.clauses)} ({kind}), {rule.source}", width)


def in_full(case: Case, summary: Summary, most: int, width: int) -> Iterator[str]:
    """A case in full, with at most so many of its calls."""
    yield from labelled("case", case.name, width)
    yield from _failure(case.why, width)
    if case.needless:
        return  # nothing went wrong in it, and alone it would not show that the waiver is stale
    yield from _calls(case, summary, most, width)
    if text := again(summary, case):
        yield from labelled("again", text, width)
    yield f"   {'rerun':{LABEL}}{rerun(summary, case)}"
    if made := next((each.programs for each in (case, *summary.cases_of(case.rule)) if each.programs), None):
        for index, file in enumerate(made.files):
            yield f"   {'' if index else 'program':{LABEL}}{file}"
        yield from labelled("" if made.files else "program", made.remark, width)


def _failure(failure: Failure, width: int) -> Iterator[str]:
    yield from _path(failure.path)
    for label, text in (
        ("did", failure.what),
        ("expected", failure.expected),
        ("seen", failure.seen),
        ("also", failure.also or None),
        ("then", failure.then or None),
        ("server", failure.server or None),
        ("kernel", failure.kernel or None),
        ("remedy", failure.remedy or None),
        ("waiver", failure.waiver or None),
    ):
        if text is not None:
            yield from labelled(label, text, width)
    for further in failure.further:
        yield from labelled("moreover", str(further), width)
        yield from _path(further.path)
    if failure.traceback:
        yield textwrap.indent(failure.traceback, " " * (LABEL + 1))


def _path(path: str) -> Iterator[str]:
    """A table in columns of its own, which are kept."""
    for index, line in enumerate(path.splitlines()):
        yield f"   {'' if index else 'path':{LABEL}}{line}"


def _calls(case: Case, summary: Summary, most: int, width: int) -> Iterator[str]:
    for index, line in enumerate(excerpt(case, summary, most)):
        yield from wrap(f"   {'' if index else 'calls':{LABEL}}{line.mark}", line.text, width, hanging="  ")


def _lines_of(cases: Sequence[Case], first: Case, most: int, label: str, width: int) -> Iterator[str]:
    """Cases that a rule failed in, a line each, as far as there is room: what differs from the ``first`` one."""
    for index, case in enumerate(cases[:most]):
        yield from labelled("" if index else label, _unlike(case, first), width)
    if len(cases) > most:
        yield from labelled("", f"and {counted(len(cases) - most, 'more case')}", width)


def _unlike(case: Case, first: Case) -> str:
    """The name of a case, what was done unless the ``first`` one says it, and what was seen."""
    what, seen = case.why.what, case.why.seen
    name = case.id.partition("[")[2].rstrip("]") or case.name
    did = what if what != first.why.what or not seen else ""
    return ": ".join(filter(None, ("" if did.startswith(name) else name, did, seen)))
