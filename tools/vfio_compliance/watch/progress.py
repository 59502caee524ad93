# SPDX-License-Identifier: GPL-2.0-only
"""What is shown while the suites run."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from ..common.words import counted
from ..results.events import Broken, Death, End, Event, Explored, Hang, Plan, Process, Rerun, Start, Target
from ..results.summary import TROUBLE
from ..results.verdict import Verdict

#: A log gets a line at least each so many seconds, if a case has ended.
_LOG_EVERY = 5.0


def show(out: TextIO, text: str) -> None:
    """Print ``text``. Where that fails the run goes on without being seen."""
    try:
        print(text, end="", file=out, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # somebody wants to read it, but the disk is full
            print(f"vfio-compliance: cannot show the run: {error.strerror}", file=sys.stderr)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)


class Progress:
    """On a terminal one line that keeps changing, in a log a line now and then; what went wrong at once in both."""

    def __init__(self, out: TextIO, width: int) -> None:
        self._out = out
        self._width = width
        self._live = out.isatty()
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
            case Plan():
                self._planned = dict(event.cases)
                self._line(f"{counted(len(self._planned), 'case')} to run")
            case Target():
                if not self._open:
                    self._line("the device is open")
                self._open = True
            case Start():
                self._status(_short(event.case))
            case Explored():
                self._status(counted(event.steps, "step"))
            case End():
                self._over(event.case, event.verdict)
            case Hang():
                self._cut_off(event, Verdict.HANG)
            case Broken():
                self._cut_off(event, Verdict.BROKEN)
            case Death():
                self._line(f"{'DIED':8}{event.who} {event.how}".splitlines()[0])
            case Rerun():
                after = f"after {counted(len(event.after), 'case')}" if event.after else "alone"
                self._line(f"{event.verdict.value:8}{_short(event.case)}, once more, {after}")
            case Process():
                if event.round != self._round:
                    self._round = event.round
                    self._done.clear()
                self._line(f"test process {event.number}: {event.why}".splitlines()[0])

    def _cut_off(self, event: Hang | Broken, verdict: Verdict) -> None:
        """The test process ended in a case, or outside of any."""
        if event.case in self._planned:
            self._over(event.case, verdict)
        else:
            self._line(f"{verdict.value.upper():8}{event.message}".splitlines()[0])

    def _over(self, case: str, verdict: Verdict) -> None:
        self._done.add(case)
        if verdict in TROUBLE:
            self._troubled.add(case)
            self._line(f"{verdict.value.upper():8}{self._planned.get(case, '')}  {_short(case)}")
        if not self._live and time.monotonic() - self._logged > _LOG_EVERY:
            self._line(self._count())

    def done(self, case: str) -> None:
        """A case has its verdict from before the run was resumed."""
        self._done.add(case)

    def end(self) -> None:
        """Clear the line that keeps changing."""
        if self._live:
            show(self._out, "\r\x1b[K")

    def _count(self) -> str:
        trouble = f", {len(self._troubled)} in trouble" if self._troubled else ""
        return f"{len(self._done)}/{counted(len(self._planned), 'case')}{trouble}"

    def _status(self, text: str) -> None:
        """Show in the line that keeps changing; a log has none."""
        if not self._live:
            return
        line = f"{self._count()}  {text}"[: self._width - 1]
        show(self._out, f"\r\x1b[K{line}")

    def _line(self, text: str) -> None:
        self._logged = time.monotonic()
        start = "\r\x1b[K" if self._live else ""
        show(self._out, f"{start}{text[: self._width]}\n")


def _short(case: str) -> str:
    """The name of a case without its folders."""
    return case.rpartition("/")[2]
