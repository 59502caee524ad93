# SPDX-License-Identifier: GPL-2.0-only
"""Two threads on one region.

Behind a kernel their calls reach the driver at once, on one descriptor. A vfio-user connection carries one command at
a time, so there the calls of the two follow one another, in whatever order comes about.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from time import perf_counter_ns
from typing import NamedTuple, TypeVar

from ...common.words import counted, enumerated
from ...device import DeviceError
from ...run.exploring import Line, Strayed, described
from ...transport import Outcome
from ...uapi.migration_v1 import DEVICE_STATE, RESERVED, VFIO_DEVICE_STATE_MASK, DeviceState
from ..migration import Migration
from ..region import MigrationRegion
from ..states import STATES, drawn_from, name
from .walk import Walk

T = TypeVar("T")

#: Steps of a walk that another thread watches.
_STEPS = 12

_ERROR = DeviceState.ERROR

#: What a client that follows the specification may do.
_GOOD: tuple[Callable[[Walk, Random], object], ...] = (
    lambda walk, random: walk.move(random.randrange(3)),
    lambda walk, random: walk.enter(random.choice(STATES)),
    lambda walk, random: walk.save_buffer(random.randrange(1, 5)),
    lambda walk, random: walk.save_whole(),
    lambda walk, random: walk.load_buffer(random.randrange(1, 5)),
    lambda walk, random: walk.migrate(),
)


class Read(NamedTuple):
    """One read by the second thread; times in nanoseconds."""

    began: int
    ended: int
    outcome: Outcome
    value: int


class Stay(NamedTuple):
    """A step of the first thread, the state after it, and whether it changed during the step."""

    began: int
    ended: int
    state: DeviceState
    changed: bool


class Beside(threading.Thread):
    """Does something repeatedly in a separate thread while a block runs; then raises what was raised there."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(name="beside", daemon=True)
        self._act = act
        self._stopped = threading.Event()
        self._first = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run until stopped, or until something is raised."""
        try:
            while not self._stopped.is_set():
                self._act()
                self._first.set()
        except BaseException as error:
            self._error = error
        self._first.set()

    def __enter__(self) -> Beside:
        self.start()
        self._first.wait()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._stopped.set()
        self.join()  # a call that does not return ends by its own deadline, or is the supervisor's verdict
        if self._error is not None and error is None:
            raise self._error


class Threads:
    """Makes two threads use one device for a time; everything random comes from ``seed``.

    ``report`` is called before each round with the number of rounds.

    Each verb gives the number of rounds. Raises Strayed for what must not be, TransportError, and what
    Migration.require_running() raises.
    """

    def __init__(self, migration: Migration, seed: int, report: Callable[[int], None]) -> None:
        self._migration = migration
        self._session = migration.session
        self._random = Random(seed)
        self._report = report

    def watch(self, seconds: float) -> int:
        """One thread uses the device as specified; another reads device_state, which must be the present state."""
        return self._beside_reader(seconds, watched=True)

    def disturb(self, seconds: float) -> int:
        """The same, and for the first thread everything is as if there were no other."""
        return self._beside_reader(seconds, watched=False)

    def _beside_reader(self, seconds: float, watched: bool) -> int:
        rounds = 0
        for migration in self._rounds(seconds):
            walk = Walk(self._session.device, migration, self._migration.actor)
            reads: list[Read] = []
            stays = [Stay(0, perf_counter_ns(), DeviceState.RUNNING, False)]
            try:
                with Beside(partial(_look, walk, migration, reads)):
                    for _ in range(_STEPS):
                        began, changes = perf_counter_ns(), walk.model.changes
                        self._random.choice(_GOOD)(walk, self._random)
                        stays.append(Stay(began, perf_counter_ns(), walk.model.state, walk.model.changes != changes))
            except Strayed:
                if not watched:  # another test judges that, and has the same walks
                    raise
            if watched:
                judge_reads(reads, stays, walk.lines)
            rounds += 1
        return rounds

    def race(self, seconds: float) -> int:
        """Two threads ask a running device for two states at once: one order of the two explains the result."""
        rounds = 0
        for migration in self._rounds(seconds):
            asked = self._random.choices(drawn_from(DeviceState.RUNNING), k=2)
            outcomes = at_once(lambda number: migration.try_write(DEVICE_STATE, asked[number]))  # noqa: B023
            judge_race(asked, outcomes, migration.state)
            rounds += 1
        return rounds

    def share(self, seconds: float) -> int:
        """Two threads read the same buffer at once, and both get its bytes."""
        rounds = 0
        for migration in self._rounds(seconds):
            walk = Walk(self._session.device, migration, self._migration.actor)
            walk.enter(DeviceState.STOP_AND_COPY)
            while walk.save_buffer() and (saving := walk.model.saving):
                place, content = saving.place, saving.content
                if place is None or content is None:
                    break  # larger than what is kept, or not offered as specified
                for data in at_once(lambda _: _fetch(migration, place[0], len(content), walk.lines)):  # noqa: B023
                    if data != content:
                        line = Line("read the buffer from two threads", "the same bytes as before", "others")
                        raise Strayed(walk.lines, line)
            rounds += 1
        return rounds

    def _rounds(self, seconds: float) -> Iterator[MigrationRegion]:
        """A device that was reset, repeatedly until the time is up; at least once."""
        end = time.monotonic() + seconds
        rounds = 0
        while not rounds or time.monotonic() < end:
            self._session.transport.tracer.forget()
            self._session.as_after_reset()
            self._report(rounds)
            rounds += 1
            yield self._migration.require_running()


def _look(walk: Walk, migration: MigrationRegion, into: list[Read]) -> None:
    """Read device_state, and reserved, of the device of a walk while it is open."""
    with walk.closed:
        began = perf_counter_ns()
        outcome, data = migration.try_read(DEVICE_STATE)
        into.append(Read(began, perf_counter_ns(), outcome, int.from_bytes(data, "little")))
        migration.try_read(RESERVED)


def judge_reads(reads: Sequence[Read], stays: Sequence[Stay], lines: Sequence[Line]) -> None:
    """Each read returns the state; one during a change may return any state, but nothing else."""
    starts = [stay.began for stay in stays]
    for read in reads:
        if read.began < stays[0].ended or read.ended > stays[-1].ended:
            continue  # what was done in the meantime is unknown
        last = bisect_right(starts, read.ended) - 1
        first = last
        while first > 0 and stays[first].ended > read.began:
            first -= 1
        beside = stays[first + 1 : last + 1]
        states: Sequence[DeviceState] = (stays[first].state,)
        if any(stay.changed for stay in beside):
            states = (*STATES, _ERROR)
            if not read.outcome.ok:
                continue
        if read.outcome.value != DEVICE_STATE.width or read.value & VFIO_DEVICE_STATE_MASK not in states:
            seen = described(read.outcome, name(read.value))
            expected = name(states[0]) if len(states) == 1 else "one of the states"
            raise Strayed(lines, Line("read device_state, thread 2", expected, seen))


def judge_race(asked: Sequence[DeviceState], outcomes: Sequence[Outcome], read: Callable[[], DeviceState]) -> None:
    """One of the two came first, and was drawn; the other one may have been refused."""
    width = DEVICE_STATE.width
    lines = [
        Line(f"running -> {name(state)}, thread {number}", "success or an error", described(outcome))
        for number, (state, outcome) in enumerate(zip(asked, outcomes, strict=True), 1)
    ]
    whole = [outcome.value == width for outcome in outcomes]
    if not any(whole) or any(outcome.ok and outcome.value != width for outcome in outcomes):
        raise Strayed(lines[:1], lines[1]._replace(expected=f"{counted(width, 'byte')} for the first one"))
    allowed = {state for state, taken in zip(asked, whole, strict=True) if taken}
    if not all(whole):
        allowed.add(_ERROR)
    now = read()
    if now not in allowed:
        raise Strayed(lines, Line("read device_state", enumerated(sorted(map(name, allowed))), name(now)))


def _fetch(migration: MigrationRegion, offset: int, size: int, lines: Sequence[Line]) -> bytes:
    try:
        return migration.region.read_bytes(offset, size)
    except DeviceError as error:
        raise Strayed(lines, Line(error.what, error.expected, error.seen)) from None


def at_once(act: Callable[[int], T]) -> list[T]:
    """``act`` of 0 and of 1, in two threads that begin together; both results. Raises what either raises."""
    together = threading.Barrier(2)

    def one(number: int) -> T:
        together.wait()
        return act(number)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2)))
