# SPDX-License-Identifier: GPL-2.0-only
"""Rounds of a migration in miniature: memory is copied only by its dirty bitmaps while the device writes it.

At the end of a round the copy is the memory, or a written page was never reported.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from threading import Lock, Thread

from ..common.words import counted
from ..device import DeviceError
from ..results.failure import ROUND, Compared
from ..run.checks import NotApplicable, RuleBroken, Silent, Unjudged, broken
from ..transport import TransportError
from .guest_memory import GuestMemory
from .pages import Pages

#: Mappings that stay, and one that is unmapped with its bitmap: first page and pages of each.
_STAYING, _LEAVING = ((0, 70), (70, 3), (129, 40)), (200, 65)
_END = 300

#: Writes and queries in a round at most, and the bytes that a write changes.
_MOST_WRITES, _MOST_QUERIES, _BYTES = 6, 4, 8

#: Rounds of each kind in a run, and in a deep run.
ROUNDS, MANY_ROUNDS = 40, 1000

#: Rounds on a single page, with one write in each, or two of a stream: a fault may come only with every 64th.
_SIMPLE = 150

#: Longest time between two queries, in seconds.
_PAUSE = 0.001


@dataclass
class Tally:
    """What was done in all rounds."""

    rounds: int = 0
    writes: int = 0
    bitmaps: int = 0
    copied: int = 0

    def __str__(self) -> str:
        done = (self.rounds, "round"), (self.writes, "write"), (self.bitmaps, "bitmap"), (self.copied, "page")
        return f"{', '.join(counted(number, noun) for number, noun in done)} copied"


@dataclass
class _Log:
    """What happened in a round, in milliseconds since its beginning."""

    began: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, float, str, Pages]] = field(default_factory=list)
    #: The call after which each page was last written or reported.
    calls: dict[int, int] = field(default_factory=dict)

    def now(self) -> float:
        return (time.monotonic() - self.began) * 1000

    def add(self, since: float, what: str, pages: Pages, call: int) -> None:
        self.lines.append((since, self.now(), what, pages))
        self.calls |= dict.fromkeys(pages, call)

    def of(self, page: int, iova: int) -> str:
        """When ``page``, which is at ``iova``, was written and reported."""
        lines = [line for line in sorted(self.lines) if page in line[3]]
        parts = [f"{what} {since:.2f}-{until:.2f} ms" for since, until, what, _ in lines]
        if not any(what.startswith("reported") for _, _, what, _ in lines):
            parts.append("never reported")
        return f"the page at 0x{iova:x} ({', '.join(parts)})"


class Rounds:
    """Many rounds on one container, each from its own seed.

    ``stream`` has the device write on its own account too. Where the transport can take two callers at once the
    writes come from another thread, at any moment of the queries; else between them.
    """

    def __init__(self, guest: GuestMemory, seed: int, *, stream: bool = False, unmapping: bool = False) -> None:
        self._guest = guest
        self._seed = seed
        self._stream = stream
        self._unmapping = unmapping
        self._lock = Lock()
        #: Bytes that the device writes, or is given to write somewhere in.
        self._bytes = _BYTES
        self._copies: dict[int, bytearray] = {}
        self._tracer = guest.transport.tracer
        #: The last calls before all rounds, and before this one; before and at the end of all that these do not need.
        self._before_all = self._before = 0
        self._left_out = 0, 0
        #: The name of this round.
        self._name = ""
        self.tally = Tally()

    def run(self, rounds: int, seconds: float) -> Tally:
        """The given number of rounds; fewer if ``seconds`` have passed.

        Raises RuleBroken, with the simplest round that shows it, Unjudged, DeviceError, NotApplicable.
        """
        before = self._tracer.last
        try:
            self._run(rounds, seconds)
        except RuleBroken:
            with suppress(DeviceError, TransportError, NotApplicable, Silent, Unjudged):
                self._guest.clear()
                self._left_out = before, self._tracer.last
                self._run_simple(seconds)
            raise
        return self.tally

    def _run_simple(self, seconds: float) -> None:
        """Rounds on a single page, to see whether they suffice for the fault to show. Raises like run()."""
        self._guest.map(0, 1)
        self._guest.start()
        self._before_all = self._tracer.last
        end = time.monotonic() + seconds
        for number in range(_SIMPLE):
            if time.monotonic() < end:
                self._simple_round(f"simple round {number}")

    def _simple_round(self, name: str) -> None:
        guest, log = self._guest, _Log()
        self._name, self._before = name, self._tracer.last
        self._copies = {0: bytearray(guest.mapping(0).view)}
        if self._stream:
            self._query(0, 1, log)  # the stream's last write of the round before
            with self._streaming(0) as within:
                self._await_change(0, within)
                self._query(0, 1, log)
                self._await_change(0, within)
        else:
            self._write(0, log)
        self._query(0, 1, log)
        self._compare(0, guest.mapping(0).view, log)

    def _await_change(self, page: int, within: float) -> None:
        """Wait for the stream's next write."""
        self._look(page, 0)
        self._await_difference(within)
        self._look(page, 0)

    def _run(self, rounds: int, seconds: float) -> None:
        guest = self._guest
        guest.actor.within_reach(guest.iova(0), _END * guest.page)
        self._bytes = guest.page if guest.actor.chooses else max(_BYTES, guest.actor.least_write)
        for first, count in _STAYING:
            guest.map(first, count)
        self._before_all = self._tracer.last
        end = time.monotonic() + seconds
        while self.tally.rounds < rounds and time.monotonic() < end:
            self._name = f"round {self.tally.rounds}"
            self._round(random.Random(f"{self._seed} {self.tally.rounds}"))
            self.tally.rounds += 1

    def _round(self, chance: random.Random) -> None:
        guest, log = self._guest, _Log()
        self._before = self._tracer.last
        mappings = dict([*_STAYING, _LEAVING] if self._unmapping else _STAYING)
        if self._unmapping:
            guest.map(*_LEAVING)
        guest.start()
        self._copies = {first: bytearray(guest.mapping(first).view) for first in mappings}
        pages = [page for first, count in mappings.items() for page in range(first, first + count)]
        writes = [chance.choice(pages) for _ in range(chance.randint(1, _MOST_WRITES))]
        staying = [page for first, count in _STAYING for page in range(first, first + count)]
        with self._streaming(chance.choice(staying)) as within:
            self._meanwhile(chance, writes, log)
            self._between(within, log)
            if self._unmapping:  # what is still unreported is reported now
                since = log.now()
                with guest.leaving(_LEAVING[0]) as (reported, memory):
                    log.add(since, "reported by unmapping", reported, self._tracer.last)
                    self._copy(_LEAVING[0], memory, reported)
                    self._compare(_LEAVING[0], memory, log)
        self._query(0, _END, log)
        for first, _ in _STAYING:
            self._compare(first, guest.mapping(first).view, log)
        guest.stop()

    def _meanwhile(self, chance: random.Random, writes: list[int], log: _Log) -> None:
        """All writes, and queries at random moments."""
        if not self._guest.transport.concurrent:
            for page in writes:
                self._write(page, log)
                if chance.random() < 0.5:
                    self._query(*self._range(chance), log)
            return
        failures: list[BaseException] = []

        def write() -> None:
            try:
                for page in writes:
                    self._write(page, log)
            except BaseException as error:
                failures.append(error)

        writer = Thread(target=write, daemon=True)
        writer.start()
        try:
            for _ in range(chance.randint(1, _MOST_QUERIES)):
                self._guest.transport.pause(chance.random() * _PAUSE)
                self._query(*self._range(chance), log)
        finally:
            writer.join()
        if failures:
            raise failures[0]

    def _range(self, chance: random.Random) -> tuple[int, int]:
        """A part of the pages that cuts no mapping."""
        edges = [0, *(edge for first, count in (*_STAYING, _LEAVING) for edge in (first, first + count)), _END]
        first, end = sorted(chance.sample(sorted(set(edges)), 2))
        return first, end - first

    def _write(self, page: int, log: _Log) -> None:
        """One write by the device, to a place where memory and copy were made equal and different from before."""
        guest = self._guest
        first = max(start for start in self._copies if start <= page)
        at = (page - first) * guest.page
        pattern = random.randbytes(self._bytes)
        end = at + self._bytes
        with self._lock:
            guest.mapping(first).view[at:end] = pattern
            self._copies[first][at:end] = pattern
        since = log.now()
        guest.actor.write(guest.iova(page), self._bytes)
        log.add(since, "written", Pages.of(page), self._tracer.last)
        self.tally.writes += 1
        if guest.mapping(first).view[at:end] == pattern:
            raise Unjudged(f"the device did not write at 0x{guest.iova(page):x}")

    def _query(self, first: int, count: int, log: _Log) -> None:
        """Fetch a bitmap, and copy what it reports."""
        since = log.now()
        reported = self._guest.reported(first, count)
        log.add(since, "reported", reported, self._tracer.last)
        for start in self._copies:
            if first <= start < first + count:
                self._copy(start, self._guest.mapping(start).view, reported)

    def _copy(self, start: int, memory: memoryview, reported: Pages) -> None:
        page, copy = self._guest.page, self._copies[start]
        self.tally.bitmaps += 1
        for first, end in (reported & Pages.run(start, len(copy) // page)).runs:
            a, b = (first - start) * page, (end - start) * page
            with self._lock:
                copy[a:b] = memory[a:b]
                for index in range(a // page, b // page if self._stream else 0):
                    self._look(start, index)
            self.tally.copied += end - first

    def _compare(self, start: int, memory: memoryview, log: _Log) -> None:
        copy = self._copies.pop(start)
        if bytes(memory) == copy:
            return
        differ = self._differing(memory, copy)
        parts = "; ".join(log.of(start + index, self._guest.iova(start + index)) for index in differ[:4])
        if self._stream:
            self._look(start, differ[0])
        broken(
            f"{self._name} of --seed {self._seed}: copying memory that the device writes by its bitmaps",
            expected="every written page reported after its last write, so that the copy is the memory",
            seen=f"{counted(len(differ), 'page')} not so: {parts}",
            compared=self._compared(start, differ[0], log),
        )

    def _compared(self, start: int, index: int, log: _Log) -> Compared:
        """The fact that the page was in none of the bitmaps since it was last written or reported, as data."""
        since = log.calls.get(start + index, self._before)
        bit = index if start == _LEAVING[0] else start + index
        calls = (*self._left_out, self._before_all, self._before, since)
        return Compared(ROUND, tuple(map(hex, calls)), (hex(bit),))

    def _look(self, start: int, index: int) -> None:
        """Record the content of a page of a mapping, for comparison with what it held before."""
        size = self._guest.page
        self._guest.mapping(start).look(index * size, size)

    @contextmanager
    def _streaming(self, page: int) -> Iterator[float]:
        if self._stream:
            start = max(first for first, _ in _STAYING if first <= page)
            self._look(start, page - start)
        with self._guest.actor.stream(self._guest.iova(page), _BYTES) if self._stream else nullcontext(0.0) as within:
            yield within

    def _between(self, within: float, log: _Log) -> None:
        """The stream's next write comes between two queries, and is the only one if the second comes soon."""
        if not within:
            return
        self._query(0, _END, log)
        self._await_difference(within)

    def _await_difference(self, within: float) -> None:
        """Wait until memory differs from its copy, for as long as the stream's next write may take."""
        end = time.monotonic() + within
        while time.monotonic() < end and not any(self._differ(start) for start in self._copies):
            self._guest.transport.pause(_PAUSE / 10)

    def _differing(self, memory: memoryview, copy: bytearray) -> list[int]:
        """The pages in which they differ."""
        page = self._guest.page
        return [at // page for at in range(0, len(copy), page) if memory[at : at + page] != copy[at : at + page]]

    def _differ(self, start: int) -> bool:
        return bytes(self._guest.mapping(start).view) != self._copies[start]
