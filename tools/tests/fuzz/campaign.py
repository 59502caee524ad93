# SPDX-License-Identifier: GPL-2.0-only
"""Many random inputs in turn, each of which its seed and number make again."""

from __future__ import annotations

import gc
import os
import resource
import signal
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from time import monotonic, sleep
from types import FrameType
from typing import Any

#: Seconds in which a case must end, whatever it does: each of its calls has a far shorter deadline.
CASE_DEADLINE = 60.0

#: Seconds in which closed descriptors must be gone.
_SETTLING = 5.0

#: Bytes of address space that a case may add to those of the process.
ROOM = 512 << 20

#: Characters of each input, and number of inputs of a case, that a failure shows.
_SHOWN, _LAST = 400, 12

_WIDTH = 100
_INDENTED: dict[str, Any] = {"initial_indent": "  ", "subsequent_indent": "     "}


#: Kind of a correct input, on the way to hostile ones; it does not count.
RIGHT = "right"


class Hang(BaseException):
    """A case exceeded its deadline. Not an Exception, so that code under test does not catch it."""


class Campaign:
    """One kind of input. ``seed`` and the number of a case make it; ``only`` is the number of the one case to run.

    ``end`` is called after the last one, with the campaign.
    """

    def __init__(self, name: str, seed: int, factor: float, only: int | None, end: Callable[[Campaign], None]) -> None:
        self.name = name
        self.seed = seed
        self.sent: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.cases = 0
        self.seconds = 0.0
        self.descriptors: tuple[int, int] | None = None
        self._factor = factor
        self._only = only
        self._end = end
        self._inputs: list[str] = []

    def run(self, wanted: int, trial: Callable[[Random], None], pid: int | str = "self") -> None:
        """Run cases until ``wanted`` inputs (times the factor) were made.

        ``trial`` gets its random numbers, and reports each input by ``add_input`` before it is used. It must end in
        time, in bounded memory, and without more open descriptors of the process ``pid`` than after the first case.
        """
        gc.collect()  # garbage of other tests, closed in the middle of this, would hide a leak
        began = monotonic()
        numbers = iter(range(1 << 32)) if self._only is None else iter([self._only])
        for number in numbers:
            with self._case(number):
                trial(Random(f"{self.seed} {self.name} {number}"))
            open_now = descriptors(pid)
            if self.descriptors and open_now > self.descriptors[0]:
                open_now = _settled(pid, self.descriptors[0])
            self.descriptors = (self.descriptors[0] if self.descriptors else open_now, open_now)
            assert open_now <= self.descriptors[0], self._failure(number, f"left open: {self.descriptors}")
            self.cases += 1
            if self.sent.total() >= wanted * self._factor:
                break
        self.seconds = monotonic() - began
        self._end(self)

    def add_input(self, kind: str, shown: str | bytes) -> None:
        """Record an input before it is used: its kind, and what a failure shows of it."""
        if kind != RIGHT:
            self.sent[kind] += 1
        self._inputs.append(f"{kind}: {shown.hex() if isinstance(shown, bytes) else shown}")

    def add_outcome(self, outcome: str) -> None:
        """Count the outcome of an input."""
        self.outcomes[outcome] += 1

    def lines(self) -> str:
        """The counts, for the end of the run."""
        first, last = self.descriptors or (0, 0)
        head = (
            f"{self.name}: {self.sent.total()} inputs in {self.cases} cases, {self.seconds:.1f} s, "
            f"--fuzz-seed {self.seed}, descriptors {first} -> {last}"
        )
        counted = [
            ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
            for counts in (self.sent, self.outcomes)
        ]
        return "\n".join(
            [head, *(textwrap.fill(text, _WIDTH, **_INDENTED) for text in (counted[0], f"-> {counted[1]}"))]
        )

    @contextmanager
    def _case(self, number: int) -> Iterator[None]:
        self._inputs.clear()

        def hang(signum: int, frame: FrameType | None) -> None:
            raise Hang

        before = signal.signal(signal.SIGALRM, hang)
        signal.setitimer(signal.ITIMER_REAL, CASE_DEADLINE)
        try:
            with bounded_memory():
                yield
        except (Exception, Hang) as error:
            raise AssertionError(self._failure(number, repr(error))) from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _failure(self, number: int, what: str) -> str:
        last = [each if len(each) <= _SHOWN else f"{each[:_SHOWN]}... ({len(each)})" for each in self._inputs[-_LAST:]]
        again = f"again: pytest tools/tests/fuzz -k {self.name} --fuzz-seed {self.seed} --fuzz-case {number}"
        return "\n".join([what, again, f"the last of {len(self._inputs)} inputs:", *last])


@contextmanager
def bounded_memory() -> Iterator[None]:
    """The block may add at most ROOM bytes of address space to the process; more is a MemoryError."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _settled(pid: int | str, most: int) -> int:
    """The number of open descriptors once it is at most ``most``, or after a while."""
    end = monotonic() + _SETTLING
    while True:
        gc.collect()  # a caught exception may keep something open
        if (open_now := descriptors(pid)) <= most or monotonic() > end:
            return open_now
        sleep(0.01)  # the other side, or another thread, is still closing


def descriptors(pid: int | str = "self") -> int:
    """The number of open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))
