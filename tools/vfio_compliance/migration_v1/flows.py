# SPDX-License-Identifier: GPL-2.0-only
"""Whole flows of saving and resuming, each carried out once per run and judged by many rules.

On a large device, one pass over the state moves gigabytes: what only needs to be observed is observed here, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..common.moment import latest_call
from ..device import DeviceError, StepFailed, Stream
from ..run.checks import NotApplicable, Silent, Unjudged, given
from ..run.client import Access
from ..run.stimulus import Actor
from ..uapi.migration_v1 import PENDING_BYTES, DeviceState
from .migration import Migration
from .region import Change, MigrationRegion
from .states import Transition, name

PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
STOP, RESUMING, RUNNING = DeviceState.STOP, DeviceState.RESUMING, DeviceState.RUNNING

#: Values for the visible state: one before pre-copy, one that replaces it during pre-copy, one for a suspended device,
#: and one for a device that is about to receive another device's state.
EARLY, LATE, QUIET = 0x0101_0202_0303_0404, 0xF0F0_E1E1_D2D2_C3C3, 0x0123_4567_89AB_CDEF
OTHER = 0x6969_9696_3C3C_C3C3


@dataclass
class Flow:
    """What was seen during a flow of either kind."""

    #: The step at which the flow ended early.
    failure: DeviceError | None = None
    #: The running numbers of the calls that showed what is judged later, by the name of the field.
    at: dict[str, int] = field(default_factory=dict)
    #: What the suite did as a client, for the judges of clients.
    traffic: list[Access] = field(default_factory=list)
    #: How each change of device_state was answered, and what was read after it.
    changes: dict[Transition, Change] = field(default_factory=dict)
    #: The first read() or write() of data that was refused, if a mapping replaced it.
    refused: DeviceError | None = None

    def failed_at(self, *steps: str) -> DeviceError | None:
        """The failure, if it was at one of ``steps``."""
        return self.failure if isinstance(self.failure, StepFailed) and self.failure.step in steps else None


@dataclass
class Saved(Flow):
    """What was seen while a state was saved."""

    stream: Stream = field(default_factory=Stream)
    #: Bytes that were offered in each state.
    offered: dict[DeviceState, int] = field(default_factory=dict)
    #: pending_bytes, read repeatedly after it was 0 in stop-and-copy.
    after_the_end: list[int] = field(default_factory=list)
    #: What could be seen of the state when the device was stopped; None if the profile cannot show it.
    visible: list[int] | None = None
    #: device_state once the data of a state had been read, by the state that the device was brought to.
    drained: dict[DeviceState, DeviceState] = field(default_factory=dict)

    def complete(self) -> Stream:
        """The state, read to its end. Raises Unjudged if the flow did not get that far."""
        if self.failure:
            raise Unjudged(f"the state could not be saved: {self.failure}")
        return self.stream


@dataclass
class Resumed(Flow):
    """What was seen while a state was restored."""

    #: What the device showed before; None if the profile cannot show it.
    before: list[int] | None = None
    #: Buffers that the device accepted.
    taken: int = 0
    #: device_state once all of the state had been written.
    filled: DeviceState | None = None
    #: What the device showed once it was RUNNING; None if the profile cannot show it.
    visible: list[int] | None = None
    #: Why it did not enter pre-copy after that, if it did not.
    stayed: DeviceError | None = None

    def complete(self) -> Resumed:
        """The flow, completed. Raises Unjudged if it was not."""
        if self.failure:
            raise Unjudged(f"the state could not be given to the device: {self.failure}")
        return self


class Flows:
    """The flows of one run. Each starts from a device that was reset, and is made on first use."""

    def __init__(self, migration: Migration) -> None:
        self._migration = migration
        self._session = migration.session
        shared = self._session.transport.tracer.shared
        self.suspend = shared(self._suspend)
        self.live = shared(self._live)
        self.calm = shared(self._calm)
        self.disturbed = shared(self._disturbed)
        self.twice = shared(self._twice)
        self.resume = shared(self._resume)

    def _suspend(self) -> Saved:
        """Running, stop-and-copy, stop; read exactly as the specification says."""
        return self._save((STOP_AND_COPY,), QUIET)

    def _live(self) -> Saved:
        """Running, pre-copy, stop-and-copy, stop; the visible state changes in pre-copy.

        pending_bytes is read several times before each buffer, as by clients that want an estimate.
        """
        return self._save((PRE_COPY, STOP_AND_COPY), EARLY, reads=4)

    def _calm(self) -> Saved:
        """As live, with a single read: another pass over the state, to be used only if live failed."""
        return self._save((PRE_COPY, STOP_AND_COPY), EARLY)

    def _disturbed(self) -> Saved:
        """As suspend, with pending_bytes read several times before each buffer; for use if live failed in any case."""
        return self._save((STOP_AND_COPY,), QUIET, reads=4)

    def _twice(self) -> tuple[Saved, Saved | None]:
        """As suspend, and from stop once more, with pending_bytes read several times before each buffer.

        The second one is None if the profile does not claim a transition from stop to stop-and-copy.
        """
        if ("stop", "stop-and-copy") not in self._migration.claims.transitions:
            return Saved(), None
        first, second = self._save((STOP_AND_COPY,), QUIET), Saved()
        if not first.failure:
            migration = self._migration.region()
            with self._recorded(migration, second), given():
                _change(migration, STOP_AND_COPY, second)
            if not second.failure:
                with self._recorded(migration, second):
                    self.read_out(migration, STOP_AND_COPY, second.stream, reads=4)
        return first, second

    def _save(self, path: tuple[DeviceState, ...], value: int, reads: int = 1) -> Saved:
        """Along ``path``, with ``value`` in the visible state; ``reads`` of pending_bytes before each buffer."""
        saved = Saved()
        migration = self._migration.begin()
        with self._recorded(migration, saved):
            saved.visible = show(self._migration.actor, value)
            for state in path:
                before = saved.stream.total
                with given():
                    _change(migration, state, saved)
                self.read_out(migration, state, saved.stream, reads)
                saved.offered[state] = saved.stream.total - before
                saved.at["offered"] = latest_call()
                saved.drained[state] = migration.state()
                saved.at[f"drained {name(state)}"] = latest_call()
                if state == PRE_COPY:
                    saved.visible = show(self._migration.actor, LATE)
            saved.after_the_end = [migration.read(PENDING_BYTES) for _ in range(3)]
            saved.at["after_the_end"] = latest_call()
            with given():
                _change(migration, STOP, saved)
        return saved

    def drain(self, migration: MigrationRegion) -> None:
        """Read what is offered in the present state; in pre-copy, until it is enough. Raises Unreachable."""
        with given():
            self.read_out(migration, migration.state())

    def read_out(
        self, migration: MigrationRegion, state: DeviceState, into: Stream | None = None, reads: int = 1
    ) -> None:
        if state == PRE_COPY:
            migration.save(into, reads, self._enough(), self.patience)
        else:
            migration.save(into, reads, within=self._session.profile.limits.test / 3)

    def change(self, transition: Transition) -> Change:
        """How a documented transition was made, in a flow that first did all that the specification asks of a user.

        Raises Unjudged if no flow got that far, or has the transition.
        """
        if transition.after == STOP and transition.before == RUNNING:
            return self._migration.begin().change_to(STOP)
        for flow in (self.suspend, self.live):
            if change := flow().changes.get(transition):
                return change
        failure = self.live().failure or self.suspend().failure
        if RESUMING in transition:
            resumed = self.resume(self.suspend)
            if change := resumed.changes.get(transition):
                return change
            failure = resumed.failure
        raise Unjudged(f"{transition} was not reached: {failure}")

    def unseen(self) -> NotApplicable | Silent:
        """What to raise if a state must be seen, and nothing of it can be."""
        return self._migration.actor.unseen()

    @property
    def patience(self) -> float:
        """Seconds to wait for data in pre-copy, if the profile claims that there is some."""
        profile = self._session.profile
        return profile.limits.call / 10 if self._migration.claims.precopy_data else 0.0

    def _enough(self) -> Callable[[int], bool]:
        """Whether a number of bytes is enough for pre-copy, which need not end: a whole state, or what time allows."""
        limits = self._session.profile.limits
        end = time.monotonic() + limits.test / 6
        return lambda total: total >= limits.largest_state or time.monotonic() >= end

    def _resume(self, flow: Callable[[], Saved], times: int = 1) -> Resumed:
        """Running, resuming, running, with the state that ``flow`` saved: on a second device if there is one.

        All of that is done ``times`` times, one after another without a reset.
        """
        stream = flow().complete()
        resumed = Resumed()
        with self._migration.destination() as (_, migration, actor), self._recorded(migration, resumed):
            for _ in range(times):
                resumed.before = show(actor, OTHER)  # what a reset may have left must not pass for what was restored
                with given():
                    _change(migration, RESUMING, resumed)
                for buffer in stream.buffers:
                    migration.load_buffer(buffer.size, stream.pieces(buffer))
                    resumed.taken += 1
                resumed.filled = migration.state()
                resumed.at["filled"] = latest_call()
                _change(migration, RUNNING, resumed)
                resumed.visible = show(actor)
                resumed.at["visible"] = latest_call()
            resumed.stayed = _refusal(migration, PRE_COPY)
        return resumed

    @contextmanager
    def _recorded(self, migration: MigrationRegion, flow: Flow) -> Iterator[None]:
        """Record what the client did, and what the driver refused, which ends the flow."""
        tracer = self._session.transport.tracer
        before = tracer.last
        # Whether read() and write() move the data is tried here, once, whatever is claimed about them.
        migration.mapped = migration.tries_both = self._migration.claims.data_section == "mapped-only"
        migration.refused = None
        try:
            yield
        except DeviceError as error:
            flow.failure = error
        finally:
            migration.tries_both = False
        flow.traffic = list(migration.accesses(call for call in tracer.calls if call.serial > before))
        flow.refused = migration.refused


def _change(migration: MigrationRegion, state: DeviceState, flow: Flow) -> None:
    """Change to ``state``, and take note of how that was answered. Raises DeviceError."""
    before = migration.state()
    change = flow.changes[Transition(before, state)] = migration.change_to(state)
    change.insist(f"writing {name(state)} in {name(before)}", state)


def _refusal(migration: MigrationRegion, state: DeviceState) -> DeviceError | None:
    """What was wrong with a change to ``state``; None if it was made."""
    try:
        migration.set_state(state)
    except DeviceError as error:
        return error
    return None


def show(actor: Actor, value: int | None = None) -> list[int] | None:
    """What the device shows, after ``value`` has been put there if given; None if the profile does not say how."""
    if not actor.can_put:
        return None
    if value is not None:
        actor.put(value)
    return actor.show()
