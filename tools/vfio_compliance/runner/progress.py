# SPDX-License-Identifier: GPL-2.0-only
"""What is shown while the suites run."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from ..results.journal import Record
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
    """On a terminal one line that keeps changing, in a log a line now and then; broken rules at once in both."""

    def __init__(self, out: TextIO, width: int) -> None:
        self._out = out
        self._width = width
        self._live = out.isatty()
        self._planned = self._done = self._troubled = 0
        self._logged = time.monotonic()

    def show(self, record: Record) -> None:
        """Take note of ``record``, and show what it changes."""
        event = record["event"]
        if event == "plan":
            self._planned = len(record["cases"])
            self._line(f"{self._planned} cases to run")
        elif event == "target":
            self._line("the device is open")
        elif event == "start" and self._live:
            self._status(record["case"].rpartition("/")[2])
        elif event == "explored" and self._live:
            self._status(f"{record['steps']} steps")
        elif event == "end":
            self._done += 1
            if Verdict(record["verdict"]) in TROUBLE:
                self._troubled += 1
                self._line(f"{record['verdict'].upper():8}{record['rule']}  {record['case'].rpartition('/')[2]}")
            if not self._live and time.monotonic() - self._logged > _LOG_EVERY:
                self._line(self._count())

    def end(self) -> None:
        """Clear the line that keeps changing."""
        if self._live:
            show(self._out, "\r\x1b[K")

    def _count(self) -> str:
        trouble = f", {self._troubled} in trouble" if self._troubled else ""
        return f"{self._done}/{self._planned} cases{trouble}"

    def _status(self, text: str) -> None:
        line = f"{self._count()}  {text}"[: self._width - 1]
        show(self._out, f"\r\x1b[K{line}")

    def _line(self, text: str) -> None:
        self._logged = time.monotonic()
        start = "\r\x1b[K" if self._live else ""
        show(self._out, f"{start}{text[: self._width]}\n")
