# SPDX-License-Identifier: GPL-2.0-only
"""What is shown while the suites run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from ..common.screen import is_terminal, show
from ..common.words import counted, printable
from ..results.case import Case
from ..results.events import (
    Broken,
    Death,
    End,
    Event,
    Explored,
    Hang,
    Plan,
    Process,
    Programs,
    Rerun,
    Run,
    Start,
    Target,
)
from ..results.summary import TROUBLE
from ..results.verdict import Verdict
from ..results.waiving import excused

if TYPE_CHECKING:
    from .bar import Bar

#: A log gets a line at least this often, in seconds, if a case has ended.
_LOG_EVERY = 5.0


class Progress:
    """On a terminal, one line that keeps changing; in a log, a line now and then. Failures appear at once in both."""

    def __init__(self, out: TextIO, width: int) -> None:
        self._out = out
        self._bar: Bar | None = None
        if is_terminal(out):
            from .bar import Bar  # a log does not need it

            self._bar = Bar(out, width)
        self._run: Run | None = None
        #: Rule by case.
        self._planned: dict[str, str] = {}
        self._done: set[str] = set()
        self._troubled: set[str] = set()
        self._open = False
        self._round = 1
        self._logged = time.monotonic()

    def show(self, event: Event) -> None:
        """Take note of ``event``, and show what it changes."""
        match event:
            case Run():
                self._run = event
            case Plan():
                self._planned = dict(event.cases)
                self._line(f"{counted(len(self._planned), 'case')} to run")
                if self._bar:
                    self._bar.begin(len(self._planned))
            case Target():
                if not self._open:
                    self._line("the device is open")
                self._open = True
            case Start():
                self._status(_short(event.case))
            case Explored():
                self._status(counted(event.steps, "step"))
            case End():
                self._over(event.case, Verdict.WAIVED if self._is_waived(event) else event.verdict)
            case Hang():
                self._cut_off(event, Verdict.HANG)
            case Broken():
                self._cut_off(event, Verdict.BROKEN)
            case Death():
                self._line(f"{'DIED':8}{event.who} {event.how}".splitlines()[0])
            case Rerun():
                after = f"after {counted(len(event.after), 'case')}" if event.after else "alone"
                self._line(f"{event.verdict.value:8}{_short(event.case)}, once more, {after}")
            case Programs():
                self._line(f"{'program':8}{_short(event.case)}: {event.remark}")
            case Process():
                if event.round != self._round:
                    self._round = event.round
                    self._done.clear()
                self._line(f"test process {event.number}: {event.why}".splitlines()[0])

    def _cut_off(self, event: Hang | Broken, verdict: Verdict) -> None:
        """The test process ended in a case, or outside any case."""
        if event.case in self._planned:
            self._over(event.case, verdict)
        elif verdict is Verdict.HANG or self._open:  # a device that cannot be opened is reported only at the end
            word = "HANG" if verdict is Verdict.HANG else "STOPPED"
            self._line(f"{word:8}{event.message}".splitlines()[0])

    def _is_waived(self, event: End) -> bool:
        """Whether the failure of a case is one that a waiver lists."""
        if event.verdict is not Verdict.FAIL or self._run is None:
            return False
        return excused(self._run, Case(event.case, event.rule, verdict=event.verdict, failure=event.failure))

    def _over(self, case: str, verdict: Verdict) -> None:
        self._done.add(case)
        if verdict in TROUBLE or verdict is Verdict.WAIVED:
            word = verdict.value if verdict is Verdict.WAIVED else verdict.value.upper()
            self._line(f"{word:8}{self._planned.get(case, '')}  {_short(case)}")
        if verdict in TROUBLE:
            self._troubled.add(case)
        if not self._bar and time.monotonic() - self._logged > _LOG_EVERY:
            self._line(self._count())

    def done(self, case: str) -> None:
        """A case had its verdict before the run was resumed."""
        self._done.add(case)

    def end(self) -> None:
        """Clear the line that keeps changing."""
        if self._bar:
            self._bar.end()

    def _count(self) -> str:
        return f"{len(self._done)} of {counted(len(self._planned), 'case')}{self._in_trouble()}"

    def _in_trouble(self) -> str:
        return f", {len(self._troubled)} failed" if self._troubled else ""

    def _status(self, text: str) -> None:
        """Show in the line that keeps changing; a log has none."""
        if self._bar:
            self._bar.status(len(self._done), f"{text}{self._in_trouble()}")

    def _line(self, text: str) -> None:
        """A line that stays, in full: a later reader cannot ask for the rest."""
        self._logged = time.monotonic()
        if self._bar:
            self._bar.line(printable(text))
        else:
            show(self._out, f"{printable(text)}\n")


def _short(case: str) -> str:
    """The name of a case without its folders."""
    return case.rpartition("/")[2]
