# SPDX-License-Identifier: GPL-2.0-only
"""What failed, each rule with all that helps to see it again and to put it right."""

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

#: Faults that are shown in full, and those that have a line; the others are in the table of rules alone.
_IN_FULL: Final = 100
_IN_A_LINE: Final = 2000


class Failure(NamedTuple):
    """A fault, as it is shown in full."""

    number: int
    fault: Fault
    rule: Rule
    all_cases: int
    entries: Sequence[Entry]
    calls: Sequence[Line]
    again: str
    #: Empty where there is nothing to see again.
    rerun: str
    programs: Programs | None
    others: Sequence[str]
    more: int


class Failures(NamedTuple):
    """All of them."""

    full: Sequence[Failure]
    #: Number, fault and why, in a line.
    lines: Sequence[tuple[int, Fault, str]]
    more: int


def described(summary: Summary, faults: Sequence[Fault]) -> Failures:
    """In the same order: a rule that others stand on, then those."""
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
