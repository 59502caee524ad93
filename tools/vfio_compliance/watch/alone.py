# SPDX-License-Identifier: GPL-2.0-only
"""Work on a device in a separate process, so that a call that never returns blocks no one."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ..common import processes
from ..common.signals import interruptions
from ..results import inflight

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds between two looks at the call under way.
_LOOK: Final = 0.2

#: Seconds for the process to clean up, once it was asked to end.
_ENDING: Final = 10.0

#: Seconds for a killed process to be gone; then it is left behind.
_DYING: Final = 1.0


class Hung(Exception):
    """A call did not return; the message says which, and where in the kernel it is."""


def alone(work: Callable[[inflight.Inflight], bytes], within: float) -> bytes:
    """Return the result of ``work``, which records its calls, and that it makes no more, in its argument.

    Raises Hung if a call does not return ``within`` the given number of seconds, RuntimeError if the process ends
    without an answer, and KeyboardInterrupt, once the process has ended, if a signal asks this one to end.
    """
    calls = inflight.create()
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # Before there is a child: a mask would not do, as another thread may take the signal.
    with interruptions() as interrupted:
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the child has its own handlers
        child = os.fork()
        if not child:
            os.close(reading)
            _work(work, calls, writing, handlers, unblocked)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        process = os.pidfd_open(child)
        os.close(writing)
        try:
            return _followed(child, process, reading, interrupted, calls, within)
        finally:
            _kill(child)
            if processes.exited(process, _DYING):
                os.waitpid(child, 0)
            for descriptor in (process, reading, calls):
                os.close(descriptor)


def _work(
    work: Callable[[inflight.Inflight], bytes],
    calls: int,
    writing: int,
    handlers: Mapping[signal.Signals, Any],
    unblocked: Iterable[int],
) -> None:
    """In the child: it ends here, and does not undo anything that its parent has to undo."""
    code = 1
    try:
        os.setsid()  # a Ctrl-C is meant for the parent
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        with open(writing, "wb") as answer:
            answer.write(work(inflight.Inflight(calls)))
        code = 0
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _followed(child: int, process: int, reading: int, interrupted: int, calls: int, within: float) -> bytes:
    answer, ends_by = bytearray(), 0.0
    while True:
        ready, _, _ = select.select([reading, interrupted], [], [], _LOOK)
        if interrupted in ready:
            if ends_by:
                raise KeyboardInterrupt
            os.read(interrupted, 1)
            ends_by = time.monotonic() + _ENDING
            os.kill(child, signal.SIGTERM)
        elif reading in ready:
            if data := os.read(reading, 1 << 16):
                answer += data
                continue
            processes.exited(process, _ENDING)
            if ends_by:
                raise KeyboardInterrupt
            if not answer:
                raise RuntimeError("the process that used the device ended without an answer")
            return bytes(answer)
        elif ends_by and time.monotonic() > ends_by:
            raise KeyboardInterrupt
        elif (call := inflight.last(calls)) and call.seconds > within:
            raise Hung(f"{call}: it did not return within {within:g} s{_whereabouts(child)}")


def _whereabouts(child: int) -> str:
    try:
        place = Path("/proc", str(child), "wchan").read_text().strip("0\0\n ")
    except OSError:
        return ""
    return f", in {place} of the kernel" if place else ""


def _kill(child: int) -> None:
    """Kill the process and everything that it has started."""
    for kill in (os.killpg, os.kill):
        try:
            kill(child, signal.SIGKILL)
            return
        except ProcessLookupError:
            pass
