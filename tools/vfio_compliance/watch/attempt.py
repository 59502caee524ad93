# SPDX-License-Identifier: GPL-2.0-only
"""One test process: started, followed by its journal, ended when a deadline passes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..common import processes
from ..profiles import Limits
from ..results import inflight
from ..results.events import End, Event, Finish, Plan, Process, Start
from ..results.journal import Recorded, parse
from . import asleep, suites
from .folder import scratch
from .kernel_log import KernelLog

#: Seconds for a test process to load the suites: a slow start is the machine's fault, not the device's.
_START_UP = 600.0

#: pytest ends a test at its deadline; a process that does not react is ended from here, this many seconds later.
_GRACE = 3.0

#: Outside tests (opening and closing the device), the time of two tests is granted, and at least this.
_BETWEEN = 60.0

#: Seconds for a process to end after it was asked to, or reported that it has finished.
_ENDING = 10.0

#: Events within this many seconds are read together: waking up for each one costs more than reading it.
_TOGETHER = 0.2

#: Seconds for a killed process to be gone; then it is left behind.
_DYING = 1.0


class How(Enum):
    """How a test process came to its end."""

    FINISHED = "finished"
    #: The watcher ended it: a deadline passed.
    HUNG = "hung"
    #: It ended before it had reported that it was finished.
    DIED = "died"
    INTERRUPTED = "interrupted"


class Ending(NamedTuple):
    """The end of a test process: in which case, why, in words, and what was seen of a process that hung."""

    how: How
    case: str | None
    message: str = ""
    process: dict[str, str] | None = None
    #: The number of a process that could not be ended.
    left: int | None = None


class _Arriving:
    """The events of a test process, read from the pipe on which they arrive."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._rest = b""

    def read(self) -> list[Event] | None:
        """The events that have arrived since; None once no more can come."""
        if not (data := os.read(self._pipe, 1 << 16)):
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        # A damaged line is dealt with when the journal is read.
        return [found.event for found in map(parse, lines) if isinstance(found, Recorded) and found.event]


class Attempt:
    """Starts one test process and follows it. ``take`` gets each of its events."""

    def __init__(
        self,
        limits: Limits,
        calls: int,
        take: Callable[[Event], None],
        holds: Sequence[int] = (),
        log: KernelLog | None = None,
    ) -> None:
        """``calls`` is the descriptor of the memory in which the process records each call before it is made.

        ``holds`` are descriptors that it keeps open as long as it lives; ``log`` is read when something arrives.
        """
        self._limits = limits
        self._calls = calls
        self._take = take
        self._holds = holds
        self._log = log
        self._case: str | None = None
        self._since = time.monotonic()
        #: When the last event came, if the deadline was put off because calls are being made.
        self._put_off = 0.0
        self._started = False
        self._finished = False
        #: When a process that has finished, or was asked to end, must be gone.
        self._gone_by: float | None = None
        self._interrupted = ""

    def run(self, root: Path, options: Sequence[str], log: int, interruptions: int) -> Ending:
        """Run until the process ends, or misses a deadline. ``log`` takes its output.

        ``interruptions`` is a descriptor that gives the numbers of signals that ask this process to end.
        """
        with self._pytest(root, options, log) as (process, pipe):
            ending = self._follow(process, pipe, interruptions)
        return ending if process.returncode is not None else ending._replace(left=process.pid)

    @contextlib.contextmanager
    def _pytest(self, root: Path, options: Sequence[str], log: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """The process, and the end of the pipe on which its events arrive; it is ended with the block."""
        with scratch() as (folder, held):
            reading, writing = os.pipe()
            command = suites.command(root, "-q", "--tb=native", "--capture=no")
            command += [f"--progress-fd={writing}", f"--inflight-fd={self._calls}", *options]
            process = processes.start(
                command,
                stdout=log,
                stderr=log,
                pass_fds=[writing, self._calls, held, *self._holds],
                env=suites.environment() | {"TMPDIR": str(folder)},
            )
            os.close(writing)
            if self._log:
                self._log.follow(process.pid)
            try:
                yield process, reading
            finally:
                os.close(reading)
                processes.end(process, 0, _DYING)

    def _follow(self, process: subprocess.Popen[bytes], pipe: int, interruptions: int) -> Ending:
        arriving = _Arriving(pipe)
        with selectors.DefaultSelector() as everything, selectors.DefaultSelector() as urgent:
            for each in (pipe, interruptions, *([self._log.fileno()] if self._log else [])):
                everything.register(each, selectors.EVENT_READ)
            urgent.register(interruptions, selectors.EVENT_READ)
            if self._log and not inflight.in_guest():  # which makes fewer calls in that time than are kept
                urgent.register(self._log, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in everything.select(max(self._deadline() - time.monotonic(), 0))}
                if self._log and self._log.fileno() in ready:
                    self._log.look(self._case, partial(inflight.last, self._calls))
                if pipe in ready:
                    if (events := arriving.read()) is None:
                        processes.await_exit(process, _ENDING)
                        return self._ended(process)
                    for event in events:
                        self._note(event)
                if interruptions in ready:  # after the events that came before it
                    if self._interrupted:
                        return self._ending(How.INTERRUPTED)
                    self._interrupt(process, os.read(interruptions, 1)[0])
                elif pipe not in ready and self._is_late():
                    return self._ended(process) if self._gone_by is not None else self._hung(process)
                if self._started and not self._finished:
                    urgent.select(_TOGETHER)

    def _is_late(self) -> bool:
        """Whether the process has missed its deadline."""
        if time.monotonic() < self._deadline():
            return False
        return self._gone_by is not None or not self._still_calls()

    def _note(self, event: Event) -> None:
        self._since, self._put_off = time.monotonic(), 0.0
        match event:
            case Plan() | Process():
                self._started = True
            case Start():
                self._case = event.case
            case End():
                self._case = None
            case Finish():
                self._finished = True
                self._gone_by = self._since + _ENDING
        self._take(event)

    def _deadline(self) -> float:
        if self._gone_by is not None:
            return self._gone_by
        if not self._started:
            return self._since + _START_UP
        limit = self._limits.test
        return self._since + (max(2 * limit, _BETWEEN) if self._case is None else limit + _GRACE)

    def _still_calls(self) -> bool:
        """Outside cases, moving a large state may take long: no single call may, and limits.run bounds the whole."""
        call = inflight.last(self._calls)
        if self._case is not None or not self._started or not call:
            return False
        self._put_off = self._put_off or self._since
        self._since = max(self._since, time.monotonic() - call.seconds)
        return self._deadline() > time.monotonic() and time.monotonic() - self._put_off < self._limits.run

    def _interrupt(self, process: subprocess.Popen[bytes], number: int) -> None:
        self._interrupted = f"interrupted by {signal.Signals(number).name} in {self._where()}"
        self._gone_by = time.monotonic() + _ENDING
        process.send_signal(signal.SIGTERM)

    # -- how it ended -------------------------------------------------------------------------------------------------

    def _ending(self, how: How, message: str = "", process: dict[str, str] | None = None) -> Ending:
        return Ending(how, self._case, self._interrupted or message, process)

    def _ended(self, process: subprocess.Popen[bytes]) -> Ending:
        if self._interrupted:
            return self._ending(How.INTERRUPTED)
        if self._finished:
            return self._ending(How.FINISHED)
        code = process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return self._ending(How.DIED, f"the test process ended early, by {how}, in {self._where()}")

    def _hung(self, process: subprocess.Popen[bytes]) -> Ending:
        if not self._started:
            return self._ending(How.HUNG, f"the test process did not load the suites within {_START_UP:g} s")
        seen = asleep.seen(process.pid)
        where = "; the test process is ".join(filter(None, (self._where(), asleep.words(seen))))
        return self._ending(How.HUNG, f"no progress before the deadline: {where}", seen)

    def _where(self) -> str:
        """The case under way, and the last call that was made."""
        call = inflight.last(self._calls)
        case = self._case or "no case"
        if call is None:
            return f"{case}, before any call"
        return f"{case}, last call {call}, {call.seconds} s ago"
