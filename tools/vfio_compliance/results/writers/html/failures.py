# SPDX-License-Identifier: GPL-2.0-only
"""What failed: each rule with all that helps to reproduce and fix it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ....rules import Rule
from ...events import Programs
from ...excerpt import Line, excerpt
from ...faults import Entry, Fault, explained, programs, seen, unlike
from ...rerun import again, rerun
from ...summary import Summary
from ..blocks import brief

#: How many faults are shown in full, and how many in a line; the others are only in the table of rules.
_IN_FULL: Final = 100
_IN_A_LINE: Final = 2000


class Failure(NamedTuple):
    """A fault that is shown in full."""

    number: int
    fault: Fault
    rule: Rule
    all_cases: int
    entries: Sequence[Entry]
    calls: Sequence[Line]
    again: str
    #: Empty if there is nothing to run again.
    rerun: str
    programs: Programs | None
    others: Sequence[str]
    more: int


class Failures(NamedTuple):
    """All failures."""

    full: Sequence[Failure]
    #: Those with a line each: number, fault and reason.
    lines: Sequence[tuple[int, Fault, str]]
    more: int


def described(summary: Summary, faults: Sequence[Fault]) -> Failures:
    """The failures, in the order of ``faults``: a rule comes before the rules that depend on it."""
    full = [_in_full(summary, number, fault) for number, fault in enumerate(faults[:_IN_FULL], 1)]
    rest = [*enumerate(faults, 1)][_IN_FULL:_IN_A_LINE]
    lines = [(number, fault, brief(summary, fault.cases[0])) for number, fault in rest]
    return Failures(full, lines, max(len(faults) - _IN_A_LINE, 0))


def _in_full(summary: Summary, number: int, fault: Fault) -> Failure:
    first, *others = fault.cases
    rule, needless = summary.rules[fault.rule], first.needless
    return Failure(
        number=number,
        fault=fault,
        rule=rule,
        all_cases=len(summary.cases_of(rule.id)),
        entries=[*explained(rule), Entry("case", first.name), *seen(first.why)],
        calls=[] if needless else [*excerpt(first, summary, fault.calls)],
        again="" if needless else again(summary, first),
        rerun="" if needless else rerun(summary, first),
        programs=None if needless else programs(summary, first),
        others=[unlike(case, first) for case in others[: fault.others]],
        more=max(len(others) - fault.others, 0),
    )
