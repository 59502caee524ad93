# SPDX-License-Identifier: GPL-2.0-only
"""Many random inputs, one after another, each of which can be had again by its seed and number."""

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

#: Seconds in which a case has to be over, whatever it does: each of its calls has a deadline far below that.
CASE_DEADLINE = 60.0

#: Seconds that what was closed may take to be so.
_SETTLING = 5.0

#: Bytes of address space that a case may take on top of what the process has.
ROOM = 512 << 20

#: Characters of each input, and inputs of a case, that a failure shows.
_SHOWN, _LAST = 400, 12

_WIDTH = 100
_INDENTED: dict[str, Any] = {"initial_indent": "  ", "subsequent_indent": "     "}


#: Kind of an input that is as it should be, on the way to those that are not; it does not count.
RIGHT = "right"


class Hang(BaseException):
    """A case went on beyond its deadline. No Exception, so that nothing under test can take it for one of its own."""


class Campaign:
    """One kind of input. ``seed`` and the number of a case make it; ``only`` is the number of the one case to run.

    ``end`` is called after the last one, with the counts made.
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
        """Try cases until ``wanted`` inputs (times the factor) were given.

        ``trial`` gets its source of chance, gives inputs and tells of each by ``gave``. It ends in its deadline and in
        bounded memory, and of the process ``pid`` no more descriptors are open afterwards than after the first case.
        """
        gc.collect()  # what other tests left is not to be closed in the middle of this, and hide what is left open
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

    def gave(self, kind: str, shown: str | bytes) -> None:
        """An input is about to be given: its kind, and what is to be shown of it should it turn out to be bad."""
        if kind != RIGHT:
            self.sent[kind] += 1
        self._inputs.append(f"{kind}: {shown.hex() if isinstance(shown, bytes) else shown}")

    def came(self, outcome: str) -> None:
        """What became of an input."""
        self.outcomes[outcome] += 1

    def lines(self) -> str:
        """Counts, for the end of the run."""
        first, last = self.descriptors or (0, 0)
        head = (
            f"{self.name}: {self.sent.total()} inputs in {self.cases} cases, {self.seconds:.1f} s, "
            f"--fuzz-seed {self.seed}, descriptors {first} -> {last}"
        )
        told = [
            ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
            for counts in (self.sent, self.outcomes)
        ]
        return "\n".join([head, *(textwrap.fill(text, _WIDTH, **_INDENTED) for text in (told[0], f"-> {told[1]}"))])

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
    """This process may take no more than ROOM bytes of address space meanwhile: a MemoryError says that it tried."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _settled(pid: int | str, most: int) -> int:
    """How many descriptors are open once there are no more than ``most``, or after a while."""
    end = monotonic() + _SETTLING
    while True:
        gc.collect()  # an exception that was caught may have kept something alive
        if (open_now := descriptors(pid)) <= most or monotonic() > end:
            return open_now
        sleep(0.01)  # the other side, or another thread, is still closing


def descriptors(pid: int | str = "self") -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
