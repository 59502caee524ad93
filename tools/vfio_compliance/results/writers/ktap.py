# SPDX-License-Identifier: GPL-2.0-only
"""The result as KTAP, flat: one line for each case, by number.

Readers of KTAP count ``ok # XFAIL`` as ok, so the head says how many of the lines are waived failures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from ...common.words import counted, printable
from ..about import about, driver
from ..case import Case
from ..conclusion import conclude
from ..figures import figures, flat
from ..outside import NAME, NOT_BLOCKING, blocks, outside
from ..summary import Summary
from ..verdict import Verdict
from .blocks import block, brief, troubled

#: The beginning of a line, and its directive.
_DIRECTIVES: Final = {
    Verdict.PASS: ("ok", ""),
    Verdict.FAIL: ("not ok", ""),
    Verdict.STALE: ("not ok", ""),
    Verdict.KERNEL: ("not ok", ""),
    Verdict.WAIVED: ("ok", "XFAIL"),
    Verdict.NOT_APPLICABLE: ("ok", "SKIP"),
    Verdict.BROKEN: ("not ok", "ERROR"),
    Verdict.NOT_RUN: ("not ok", "ERROR"),
    Verdict.HANG: ("not ok", "TIMEOUT"),
}


def render(summary: Summary) -> str:
    """Each line with text from a device or a kernel begins with ``#`` or is escaped."""
    return "\n".join(_lines(summary))


def _lines(summary: Summary) -> Iterator[str]:
    cases = [case for rule in summary.verdicts for case in summary.cases_of(rule)]
    yield "KTAP version 1"
    others = [*outside(summary)]
    yield f"1..{len(cases) + len(others)}"
    yield from _head(summary, cases)
    names: Counter[str] = Counter()
    for number, case in enumerate(cases, 1):
        if troubled(case):
            yield from (f"# {line}" for line in block(summary, case).split("\n"))
        begin, directive = _DIRECTIVES[case.verdict]
        excused = begin != "ok" and not blocks(summary, case)
        if excused:
            begin, directive = "ok", "XFAIL"
        line = f"{begin} {number} {_name(summary, case, names)}"
        why = "" if case.verdict is Verdict.PASS else _without_number_sign(brief(summary, case))
        if directive:
            line += f" # {directive} {f'{NOT_BLOCKING}: ' if excused else ''}{why}".rstrip()
        yield line
    for number, (verdict, text) in enumerate(others, len(cases) + 1):
        begin, directive = _DIRECTIVES[verdict]
        line = f"{begin} {number} {NAME}{f' ({number - len(cases)})' if len(others) > 1 else ''}"
        yield f"# {printable(text)}"
        yield line + (f" # {directive} {_without_number_sign(printable(text))}" if directive else "")


def _head(summary: Summary, cases: list[Case]) -> Iterator[str]:
    waived = sum(case.verdict is Verdict.WAIVED for case in cases)
    if waived:
        yield f"# waived: {counted(waived, 'case')} broken as waived, each an `ok` with XFAIL below"
    else:
        yield "# waived: none"
    if excused := sum(_DIRECTIVES[case.verdict][0] != "ok" and not blocks(summary, case) for case in cases):
        yield f"# not blocking: {counted(excused, 'case')} of rules that do not count, each an `ok` with XFAIL below"
    yield f"# verdict: {printable(str(conclude(summary)))}"
    for answer in summary.answers():
        works = {True: "yes", False: "no", None: "unknown"}[answer.works]
        yield f"# answer: {printable(f'{answer.title}: {works}')}"
    for name, text in {**about(summary), "driver": driver(summary)}.items():
        yield f"# about: {printable(f'{name}: {text}')}"
    for name, value in flat(figures(summary.measures)):
        yield f"# figure: {printable(name)}: {value}"


def _name(summary: Summary, case: Case, names: Counter[str]) -> str:
    """Clause, rule and case; no two are the same."""
    name = _without_number_sign(printable(f"{summary.rules[case.rule].clause} {case.rule} {case.name}"))
    names[name] += 1
    return name if names[name] == 1 else f"{name} ({names[name]})"


def _without_number_sign(text: str) -> str:
    """Text without ``#``, which would begin a directive."""
    return text.replace("#", "\\x23")
