# SPDX-License-Identifier: GPL-2.0-only
"""Judges a source: how often each clause was kept and broken, and the first offences with the accesses around them."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..interfaces import JUDGES
from ..results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_NOTHING, EXIT_OK
from ..run.client import Access, ClientJudge
from ..run.ledger import Offence
from .sources import Entry, Part, Source
from .trace import TraceError

#: The most offences of one clause that are shown, and the accesses before and after each.
_SHOWN, _BEFORE, _AFTER = 3, 4, 2

#: The accesses that are remembered: an offence may show only later.
_REMEMBERED = 64


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
    """The result of judging a source."""

    source: Source
    kept: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    #: Broken by a case that declares it, to provoke the driver.
    provoked: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    #: Why a clause could not be judged, and how often, for each clause.
    unclear: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    remarks: Counter[str] = field(default_factory=Counter)
    closed_stopped: int = 0
    closed_otherwise: int = 0
    accesses: int = 0
    #: The state that was saved last.
    saved: Any = None
    #: Why a part of it could not be read.
    damage: str = ""

    @property
    def exit_code(self) -> int:
        """1 if a clause was broken, 2 if a part could not be read, 4 if no clause was put to the test, else 0."""
        if self.broken.total():
            return EXIT_FAIL
        if self.damage:
            return EXIT_BROKEN
        return EXIT_OK if self.kept.total() else EXIT_NOTHING


def judge(source: Source, saved: Any = None) -> Result:
    """Judge all of ``source``; ``saved`` is the state that another client saved and this one restores.

    A damaged source is judged up to the damage.
    """
    result = Result(source)
    try:
        for part in source.parts:
            _judge_part(result, part, saved)
    except TraceError as error:
        result.damage = str(error)
    return result


def _judge_part(result: Result, part: Part, saved: Any) -> None:
    judges = [judge(saved) for judge in JUDGES]
    recent: deque[Entry] = deque(maxlen=_REMEMBERED)
    open_ended: list[Found] = []

    def note(offences: list[Offence]) -> None:
        for offence in offences:
            if offence.clause in part.provokes:
                result.provoked[offence.clause] += 1
                continue
            result.broken[offence.clause] += 1
            if result.broken[offence.clause] <= _SHOWN:
                result.found.append(_found(offence, part.case, recent))
                open_ended.append(result.found[-1])

    try:
        for entry in part.entries:
            if entry.call and not (recent and recent[-1].number == entry.number):
                result.accesses += entry.call.times
                recent.append(entry)
                open_ended = [found for found in open_ended if found.wanting > 0]
                for found in open_ended:
                    found.around.append(entry)
                    found.wanting -= 1
            if entry.access:
                for judge in judges:
                    note(judge.take(entry.access))
    except TraceError:
        for judge in judges:
            note(judge.take(Access("gap", number=recent[-1].number if recent else 0)))
        raise
    finally:
        for judge in judges:
            note(judge.end())
            _add(result, judge)


def _found(offence: Offence, case: str, recent: Iterable[Entry]) -> Found:
    """An offence with the remembered accesses before it, and those since."""
    before = [entry for entry in recent if entry.number <= offence.access] or list(recent)
    since = [entry for entry in recent if entry.number > offence.access][:_AFTER]
    return Found(offence, case, [*before[-_BEFORE - 1 :], *since], _AFTER - len(since))


def _add(result: Result, judge: ClientJudge) -> None:
    result.kept.update(judge.kept)
    for clause, reasons in judge.unclear.items():
        result.unclear[clause].update(reasons)
    result.remarks.update(judge.remarks)
    result.closed_stopped += judge.closed_stopped
    result.closed_otherwise += judge.closed_otherwise
    result.saved = judge.saved or result.saved
