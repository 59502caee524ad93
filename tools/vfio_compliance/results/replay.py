# SPDX-License-Identifier: GPL-2.0-only
"""Follows a journal, event by event."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import TypeAlias

from ..common.words import counted
from .case import Case, key
from .events import (
    Broken,
    Death,
    End,
    Environment,
    Event,
    Finish,
    Hang,
    Kernel,
    Lost,
    Note,
    Opening,
    Plan,
    Process,
    Programs,
    Rerun,
    Resumed,
    Start,
    State,
    Target,
    Unanswered,
)
from .failure import Failure, Stop
from .journal import GO_ON
from .summary import Summary
from .totals import count
from .verdict import Verdict, gravest

#: Events after which a new test process continues the run, if cases are left.
_Cut: TypeAlias = Broken | Hang | Lost


class Replay:
    """Adds one event after another to a summary."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        #: Whether the present test process has finished, and the event that cut it off.
        self._ended = False
        self._cut: _Cut | None = None
        #: Every case with its rule, and the round of the run.
        self._planned: tuple[tuple[str, str], ...] = ()
        self._round = 1
        #: Whether there was more than one test process.
        self._continued = False
        #: Why the run ended early, outside of any case; that no longer counts once it was resumed.
        self._ends: list[Stop] = []
        #: Measures what the present test process has done, in case it ends before it can record that itself.
        self._uncounted: list[Opening | End] = []
        #: Whether there were calls whose total time is not in the journal.
        self._untimed = False

    def take(self, event: Event) -> None:
        """Take an event; one that says nothing about a verdict changes nothing."""
        summary = self._summary
        match event:
            case Environment():
                summary.facts = event.facts
            case Plan():
                self._planned = event.cases
                self._begin_round(1)
            case Opening():
                summary.opening = event.calls
                self._uncounted.append(event)
            case Target():
                summary.target = event
            case Start():
                self._case(event)
                self._ended, self._cut = False, None
            case End():
                self._end_case(event)
            case Rerun():
                if failed := self._place(event.case):
                    failed.reruns.append(event)
            case Programs():
                if failed := self._place(event.case):
                    failed.programs = event
            case Note():
                summary.notes[event.text] += 1
            case State():
                summary.states[event.of] = event
            case Kernel():
                (self._place(event.case) or summary).kernel_log.extend(str(event).splitlines())
            case Death():
                if (struck := self._place(event.case)) is None:
                    summary.deaths.append(str(event))
                else:
                    struck.deaths.append(event)
            case Broken():
                self._cut_off(event, Verdict.BROKEN, self._ends)
            case Hang():
                self._cut_off(event, Verdict.HANG, summary.hangs)
            case Unanswered():
                summary.hangs.append(Stop(event.message, event.remedy))
            case Lost():
                self._ended, self._cut = True, event
            case Process():
                self._continue(event)
            case Resumed():
                self._resume(event)
            case Finish():
                self._finish(event)

    def end(self) -> None:
        """No more events follow: if the run had not finished, that is a stop."""
        summary, cut = self._summary, self._cut
        summary.stops[:0] = self._ends
        if not self._ended and not summary.stops:
            summary.stops.append(Stop("the journal ends before the run did", GO_ON))
        if cut and not all(case.over for case in summary.cases.values()):
            remedy = f"find out why, then {GO_ON}" if isinstance(cut, Lost) else cut.remedy
            summary.stops.append(Stop(cut.message, remedy))
        if self._continued:
            self._count()
        if self._untimed:
            del summary.totals["call_ns"], summary.totals["reset_ns"]
        if self._round < summary.run.rounds and not summary.stops:
            summary.stops.append(Stop(f"the journal ends after round {self._round} of {summary.run.rounds}", GO_ON))

    def _place(self, case: str | None) -> Case | None:
        return None if case is None else self._summary.cases.get(key(case, self._round))

    def _case(self, event: Start | End) -> Case:
        return self._summary.cases.setdefault(key(event.case, self._round), Case(event.case, event.rule, self._round))

    def _begin_round(self, number: int) -> None:
        self._round = number
        for case, rule in self._planned:
            self._summary.cases.setdefault(key(case, number), Case(case, rule, number))

    def _end_case(self, event: End) -> None:
        case = self._case(event)
        case.over, case.verdict, case.failure = True, event.verdict, event.failure
        case.seconds, case.calls = event.seconds, event.calls
        case.failed_call, case.stands_on, case.seeded = event.failed_call, event.stands_on, event.seeded
        case.passes, case.totals, case.measures = event.passes, event.totals, event.measures
        self._uncounted.append(event)
        for question, answer in event.observed.items():
            self._summary.observed.setdefault(question, Counter())[answer] += 1

    def _cut_off(self, event: Broken | Hang, verdict: Verdict, outside: list[Stop]) -> None:
        """The test process ended or was ended: in a case, which gets the verdict, or else this goes to ``outside``."""
        self._ended = True
        case = self._place(event.case)
        if case is None:
            self._cut = None
            outside.append(Stop(event.message, event.remedy))
            return
        self._cut = event
        if case.over and gravest((case.verdict, verdict)) is not verdict:
            case.failure = replace(case.why, then=event.message)
        else:
            case.verdict, case.failure = verdict, Failure(event.message, remedy=event.remedy)
        case.over = True

    def _continue(self, event: Process) -> None:
        self._ended, self._cut = False, None
        if self._round < event.round <= self._summary.run.rounds:
            self._begin_round(event.round)
        else:
            self._summary.processes.append(event.why)
        self._continued = True
        self._count()

    def _count(self) -> None:
        totals = self._summary.totals
        for event in self._uncounted:
            if isinstance(event, Opening):  # its time is part of that of the first case
                totals.update(asdict(count(event.calls)))
            else:
                totals.update(asdict(event.totals))
                totals.update(passes=event.passes, call_ns=event.call_ns, reset_ns=event.reset_ns)
                self._untimed |= bool(event.totals.calls) and not event.call_ns
        self._uncounted.clear()

    def _resume(self, event: Resumed) -> None:
        """What had ended the run before no longer counts: it continues."""
        for stop in self._ends:
            self._summary.notes[f"the run had ended early, and was resumed: {stop.message}"] += 1
        if not self._ends:
            self._summary.notes[f"the run was resumed, with {counted(event.left, 'case')} left"] += 1
        self._ends.clear()
        self._ended, self._cut = False, None

    def _finish(self, event: Finish) -> None:
        self._summary.totals.update(asdict(event))
        self._untimed |= bool(event.calls) and not event.call_ns
        self._uncounted.clear()
        self._ended = True
        if not isinstance(self._cut, Lost):
            self._cut = None
