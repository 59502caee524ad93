# SPDX-License-Identifier: GPL-2.0-only
"""A whole source judged: how often each clause was kept and broken, and the first offences with what surrounds them."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from ..interfaces import JUDGE
from ..results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_NOTHING, EXIT_OK
from ..run.client import Offence
from .sources import Entry, Part, Source
from .trace import TraceError

#: Offences of one clause that are shown, and accesses before and after each.
_SHOWN, _BEFORE, _AFTER = 3, 4, 2


@dataclass
class Found:
    """An offence, and the accesses around it."""

    offence: Offence
    case: str
    around: list[Entry]
    #: How many accesses are still wanted.
    wanting: int = _AFTER


@dataclass
class Result:
    """What came of judging a source."""

    source: Source
    kept: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    #: Broken by a case that says it does so to provoke the driver.
    provoked: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    closed_stopped: int = 0
    closed_otherwise: int = 0
    accesses: int = 0
    #: What was saved last.
    saved: Any = None
    #: Why not all of it could be read.
    damage: str = ""

    @property
    def exit_code(self) -> int:
        """1 when a clause was broken, 2 when not all could be read, 4 when no clause was put to the test, else 0."""
        if self.broken.total():
            return EXIT_FAIL
        if self.damage:
            return EXIT_BROKEN
        return EXIT_OK if self.kept.total() else EXIT_NOTHING


def judge(source: Source, saved: Any = None) -> Result:
    """Judge all of ``source``; ``saved`` is what another client saved, which this one restores.

    A source that is damaged is judged up to the damage.
    """
    result = Result(source)
    try:
        for part in source.parts:
            _judge_part(result, part, saved)
    except TraceError as error:
        result.damage = str(error)
    return result


def _judge_part(result: Result, part: Part, saved: Any) -> None:
    judging = JUDGE(saved)
    recent: deque[Entry] = deque(maxlen=_BEFORE + 1)
    open_ended: list[Found] = []

    def note(offences: list[Offence]) -> None:
        for offence in offences:
            if offence.clause in part.provokes:
                result.provoked[offence.clause] += 1
                continue
            result.broken[offence.clause] += 1
            if result.broken[offence.clause] <= _SHOWN:
                found = Found(offence, part.case, list(recent))
                result.found.append(found)
                open_ended.append(found)

    try:
        for entry in part.entries:
            if entry.call and not (recent and recent[-1].number == entry.number):
                result.accesses += entry.call.times
                recent.append(entry)
                for found in open_ended:
                    found.around.append(entry)
                    found.wanting -= 1
                open_ended = [found for found in open_ended if found.wanting]
            if entry.access:
                note(judging.take(entry.access))
    finally:
        note(judging.end())
        for clause in JUDGE.clauses:
            result.kept[clause] += judging.kept[clause]
        result.remarks.update(judging.remarks)
        result.closed_stopped += judging.closed_stopped
        result.closed_otherwise += judging.closed_otherwise
        if judging.saved and not saved:
            result.saved = judging.saved
