# SPDX-License-Identifier: GPL-2.0-only
"""The calls around the one that a case failed at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..common.calls import CLEAN_UP, Call
from .calls import describe
from .registers import Registers

if TYPE_CHECKING:
    from .summary import Case, Summary


class Line(NamedTuple):
    """A line of an excerpt: a call and how it is marked, or a remark."""

    text: str
    #: What stands before a call: its running number, and ``>`` where it shows the failure.
    mark: str = ""


def where_failed(case: Case, summary: Summary) -> tuple[Sequence[Call], str]:
    """The calls among which is the one that shows a failure, and the other case that made them, if one did."""
    for span in case.stands_on:
        if span.first <= case.failed_call <= span.last and span.case in summary.cases:
            return summary.cases[span.case].calls, span.case
    if case.calls and case.failed_call and case.failed_call < case.calls[0].serial:
        return summary.opening, "the opening of the device"
    return case.calls, ""


def around(calls: Sequence[Call], failed: int, before: int, after: int) -> tuple[int, Sequence[Call]]:
    """So many records ``before`` and ``after`` that of the call ``failed``, and how many there are before these.

    Where that is not among them, the last ones before the clean-up, or of it where there are no others.
    """
    at = next((at for at, call in enumerate(calls) if call.serial <= failed <= call.last), None)
    if at is None:
        calls = [call for call in calls if call.part != CLEAN_UP] or calls
        at = len(calls) - 1
        before, after = before + after, 0
    first = max(at - before, 0)
    return first, calls[first : at + after + 1]


def excerpt(calls: Sequence[Call], failed: int, most: int, registers: Registers) -> Iterator[Line]:
    """At most so many records, with the parts of the case that they belong to and the one that ``failed`` marked."""
    left_out, shown = around(calls, failed, most * 2 // 3, most // 4)
    if left_out:
        yield Line(f"({left_out} before these)")
    part = ""
    for call in shown:
        if call.part != part:
            part = call.part
            yield Line(f"{part}:")
        mark = ">" if call.serial <= failed <= call.last else " "
        yield Line(describe(call, registers), f"{mark}{call.serial:>6}  ")
    if rest := len(calls) - left_out - len(shown):
        yield Line(f"({rest} after these)")
