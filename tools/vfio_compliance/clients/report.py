# SPDX-License-Identifier: GPL-2.0-only
"""A judge's findings, as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ..common.registers import Register
from ..common.words import counted
from ..common.wrap import wrap
from ..interfaces import CLAUSES, JUDGED, JUDGES
from ..results.calls import describe
from ..results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_NOTHING, EXIT_OK
from ..run.actions.process import printable
from .sources import Entry
from .verdict import Found, Result

_CONCLUSION = {
    EXIT_OK: "PASS: every clause that was put to the test was kept",
    EXIT_FAIL: "FAIL: the client breaks clauses",
    EXIT_BROKEN: "INCOMPLETE: a part could not be read",
    EXIT_NOTHING: "NOTHING: no clause was put to the test",
}


def render(result: Result, width: int) -> str:
    """All of the result, in lines of at most ``width`` columns if the words allow it."""
    lines = [*_table(result, width), *_offences(result, width), *_end(result, width)]
    return "\n".join(printable(line) for line in lines)  # a trace may contain any text


def _table(result: Result, width: int) -> Iterator[str]:
    yield result.source.title
    yield ""
    rows = {clause: (_standing(result, clause), says) for clause, says in CLAUSES.items()}
    stopped, otherwise = result.closed_stopped, result.closed_otherwise
    often, seldom = counted(stopped, "time"), counted(otherwise, "time")
    says = f"A client may stop the device before closing it ({often}), or not ({seldom})."
    free = next(judge.free for judge in JUDGES if judge.free)
    rows[free] = "free to choose" if stopped or otherwise else "not exercised", says
    column = max(len(standing) for standing, _ in rows.values()) + 2
    for clause, (standing, says) in rows.items():
        if column > width // 3:  # a column of words would be too narrow to read
            yield f"  {clause:8}{standing}"
            yield from wrap(" " * 10, says, width)
        else:
            yield from wrap(f"  {clause:8}{standing:{column}}", says, width)


def _standing(result: Result, clause: str) -> str:
    words = []
    if result.broken[clause]:
        words.append(f"BROKEN {counted(result.broken[clause], 'time')}")
    if result.kept[clause]:
        words.append(f"kept {counted(result.kept[clause], 'time')}")
    if result.provoked[clause] and not words:
        words.append(f"on purpose {counted(result.provoked[clause], 'time')}")
    if result.unclear[clause]:
        words.append(f"unclear {counted(result.unclear[clause].total(), 'time')}")
    return ", ".join(words) or "not exercised"


def _offences(result: Result, width: int) -> Iterator[str]:
    known = {} if result.source.migration is None else {result.source.migration: JUDGED.registers}
    for number, found in enumerate(result.found, 1):
        offence = found.offence
        yield ""
        yield f"{number}) BROKEN  {offence.clause} at access {offence.access}{_when(found)}"
        yield from _labelled("clause", CLAUSES[offence.clause], width)
        if found.case:
            yield from _labelled("case", found.case, width)
        yield from _labelled("expected", offence.expected, width)
        yield from _labelled("seen", offence.seen, width)
        for index, entry in enumerate(found.around):
            label = "" if index else "accesses"
            mark = ">" if entry.number == offence.access else " "
            text = _described(entry, known)
            yield from wrap(f"   {label:10}{mark}{entry.number:>6}  ", text, width)
    for clause, count in result.broken.items():
        shown = sum(found.offence.clause == clause for found in result.found)
        if count > shown:
            yield ""
            yield f"{clause} was broken {counted(count - shown, 'time')} more"


def _described(entry: Entry, known: Mapping[int, Sequence[Register]]) -> str:
    """An access in words, without what the trace does not know about it."""
    call = entry.call
    if call is None:
        return ""
    text = describe(call, known)
    if call.verb in ("read", "write") and call.value > 0 and not any(call.moved):
        return text.replace(" nothing", " (not in the trace)", 1)
    if entry.time is not None and entry.access and entry.access.called:
        return text.replace("vaddr=0x0, ", "", 1).replace(", data=0x0}", "}", 1)  # no trace has addresses
    return text


def _when(found: Found) -> str:
    for entry in found.around:
        if entry.number == found.offence.access and entry.time is not None:
            return f", {entry.time:.6f} s"
    return ""


def _end(result: Result, width: int) -> Iterator[str]:
    unclear: defaultdict[str, list[str]] = defaultdict(list)
    for clause in CLAUSES:
        for reason, times in result.unclear[clause].items():
            unclear[reason].append(f"{clause} ({counted(times, 'time')})")
    for reason, clauses in unclear.items():
        yield ""
        yield from _labelled("unclear", f"{', '.join(clauses)}: {reason}", width)
    for remark, times in result.remarks.items():
        yield ""
        yield from _labelled("note", f"{remark} ({counted(times, 'time')})", width)
    for note in result.source.notes:
        yield ""
        yield from _labelled("note", note, width)
    if result.provoked:
        provoked = ", ".join(f"{clause} {counted(count, 'time')}" for clause, count in sorted(result.provoked.items()))
        yield ""
        yield from _labelled("note", f"broken on purpose, by cases that provoke the driver: {provoked}", width)
    if result.damage:
        yield ""
        yield from _labelled("damaged", result.damage, width)
    exercised = sum(bool(result.kept[clause] or result.broken[clause]) for clause in CLAUSES)
    yield ""
    total = counted(len(CLAUSES), "clause")
    yield f"{counted(result.accesses, 'access')}, {exercised} of {total} put to the test"
    yield _CONCLUSION[result.exit_code]


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    return wrap(f"   {label:10}", text, width)
