# SPDX-License-Identifier: GPL-2.0-only
"""The calls around the one that shows the failure of a case, in this case or in an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from ..common.calls import CLEAN_UP, Call, Span
from .case import Case, key
from .registers import registers_of
from .summary import Summary


class Line(NamedTuple):
    """A line of an excerpt: a call and how it is marked, or a remark."""

    text: str
    #: What is printed before a call: its running number, and ``>`` if it shows the failure.
    mark: str = ""


def excerpt(case: Case, summary: Summary, most: int) -> Iterator[Line]:
    """At most ``most`` records, under the part of the case that they belong to, and where the calls of flows are."""
    for owner, spans in groupby(case.stands_on, key=lambda span: span.case):
        yield Line(f"based on calls {_ranges(list(spans))} of {_short(owner)}")
    calls, place = _where_failed(case, summary)
    if place:
        yield Line(f"in {place}:")
    before, shown, after = _around(calls, case.failed_call, most)
    if before:
        yield Line(f"({before} before these)")
    from .calls import describe  # needs cffi, which takes as long to load as some reports take to write

    registers = registers_of(summary.target.regions)
    for part, together in groupby(shown, key=lambda call: call.part):
        yield Line(f"{part}:")
        for call in together:
            mark = ">" if _is(call, case.failed_call) else " "
            yield Line(describe(call, registers), f"{mark}{call.serial:>6}  ")
    if after:
        yield Line(f"({after} after these)")


def _where_failed(case: Case, summary: Summary) -> tuple[Sequence[Call], str]:
    """The calls that include the one that shows the failure, and what made them if it was not this case."""
    if any(_is(call, case.failed_call) for call in case.calls):
        return case.calls, ""
    for span in case.stands_on:
        owner = summary.cases.get(key(span.case, case.round))
        if owner and span.first <= case.failed_call <= span.last:
            return owner.calls, _short(span.case)
    if any(_is(call, case.failed_call) for call in summary.opening):
        return summary.opening, "the opening of the device"
    return case.calls, ""


def _around(calls: Sequence[Call], failed: int, most: int) -> tuple[int, Sequence[Call], int]:
    """The records around that of the call ``failed``, and how many are left out before and after them.

    If the call is not among ``calls``: the last records before the clean-up, if there are any.
    """
    at = next((at for at, call in enumerate(calls) if _is(call, failed)), None)
    if at is None:
        end = sum(call.part != CLEAN_UP for call in calls) or len(calls)
        first = max(end - most, 0)
    else:
        end = at + 1 + most // 4
        first = max(at - most * 2 // 3, 0)
    shown = calls[first:end]
    return first, shown, len(calls) - first - len(shown)


def _is(call: Call, serial: int) -> bool:
    """Whether the record includes the call of this running number."""
    return call.serial <= serial <= call.last


def _ranges(spans: Sequence[Span]) -> str:
    """Spans as ranges; adjacent ones are joined."""
    ranges: list[tuple[int, int]] = []
    for first, last, _ in sorted(spans):
        if ranges and first <= ranges[-1][1] + 1:
            first, last = ranges[-1][0], max(last, ranges.pop()[1])
        ranges.append((first, last))
    return ", ".join(f"{first} to {last}" for first, last in ranges)


def _short(case: str) -> str:
    return case.rpartition("/")[2]
