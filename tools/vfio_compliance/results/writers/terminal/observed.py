# SPDX-License-Identifier: GPL-2.0-only
"""What was seen that is not a verdict: answers where the specification is silent, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ....common.words import counted
from ....common.wrap import wrap
from ...summary import Summary

#: Columns that an answer needs to be printed beside its question.
_ROOM: Final = 40

#: How many reasons for new test processes are shown.
_PROCESSES: Final = 3


def behaviour(summary: Summary, width: int) -> Iterator[str]:
    """Questions and answers, in two columns if there is room."""
    if not summary.observed:
        return
    yield ""
    yield "What this device does where the specification leaves it open"
    widest = max(map(len, summary.observed))
    beside = width - widest >= _ROOM
    for question, answers in summary.observed.items():
        if not beside:
            yield from wrap("  ", question, width)
        start = f"  {question:{widest}}  " if beside else "      "
        for answer, times in answers.items():
            yield from wrap(start, answer + (f"  ({counted(times, 'time')})" if times > 1 else ""), width)


def states(summary: Summary, width: int) -> Iterator[str]:
    """Which saved states the device restores; this does not change the exit code."""
    if summary.states:
        yield ""
        yield "Restores states of"
    for state in summary.states.values():
        yield from wrap("  ", f"{state.of}: {state.answer}", width, "  ")
        for line in (state.seen, *(f"another {line}" for line in state.differs)):
            yield from wrap("      ", line, width)


def notes(summary: Summary, width: int) -> Iterator[str]:
    """Each note once."""
    texts = [text + (f" ({counted(times, 'time')})" if times > 1 else "") for text, times in summary.notes.items()]
    if summary.processes:
        texts.append(_processes(summary.processes))
    if texts:
        yield ""
        yield "Notes"
    for text in texts:
        yield from wrap("  ", text, width)


def _processes(reasons: Sequence[str]) -> str:
    text = f"a new test process was started {counted(len(reasons), 'time')}:"
    shown = [f"\n  {reason}" for reason in reasons[:_PROCESSES]]
    more = f"\n  and {len(reasons) - _PROCESSES} more" if len(reasons) > _PROCESSES else ""
    return text + "".join(shown) + more
