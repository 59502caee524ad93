# SPDX-License-Identifier: GPL-2.0-only
"""Plays migration sessions on a device, then a full migration, and compares the result."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from enum import Enum

from ..device import DeviceError, DirtyTracker, DmaMap, Stream, Unreachable
from ..device.dma import DMA_SIZE, IOVA
from ..run.checks import NotApplicable, RuleBroken, Unjudged, given, shows
from ..uapi.migration_v1 import DeviceState
from . import progress
from .flows import PRE_COPY, RESUMING, RUNNING, STOP, STOP_AND_COPY, Flows, show
from .interruptions import Interrupting
from .migration import Migration
from .progress import Progress
from .reach import Reach
from .region import MigrationRegion
from .sessions import Session
from .states import DRAWN, Transition, name

_SAVING = (PRE_COPY, STOP_AND_COPY)

_UNSEEN = "the fault that was provoked was not seen, which another rule judges"


class Last(Enum):
    """How the judged migration goes."""

    #: The device is saved through pre-copy, whose data is read.
    LIVE = "saved live"
    #: It is saved from running to stop-and-copy.
    AT_ONCE = "saved at once"
    #: The same for a device whose visible state has not changed since the session before; in the others it has.
    SAME_LIVE = "saved live unchanged"
    SAME_AT_ONCE = "saved at once unchanged"
    #: A state that was saved at the beginning of the run is restored on it.
    RESUMED = "resumed"

    @property
    def live(self) -> bool:
        """Whether it goes through pre-copy."""
        return self in (Last.LIVE, Last.SAME_LIVE)

    @property
    def changes(self) -> bool:
        """Whether the visible state changes before it."""
        return self not in (Last.SAME_LIVE, Last.SAME_AT_ONCE)


def value(number: int) -> int:
    """The visible state's value of this number: no byte is 0, nor the same as in the value before."""
    return int.from_bytes(bytes(1 + (17 * number + 37 * place) % 251 for place in range(8)), "little")


class Stage:
    """A device, and what is known about how it migrates."""

    def __init__(self, v1: Migration, flows: Flows, reach: Reach) -> None:
        self.v1, self.flows, self.reach = v1, flows, reach
        #: How many values were put into the visible state: none is repeated soon, so that none is taken for another.
        self.values = 0

    def buffers(self, state: DeviceState) -> int:
        """How many buffers the device offers in a saving state. Raises Unjudged."""
        if state == STOP_AND_COPY:
            return len(self.flows.suspend().complete().buffers)
        live = self.flows.live()
        return sum(buffer.start < live.offered[PRE_COPY] for buffer in live.complete().buffers)


class Player:
    """A client of a device that runs, after a reset."""

    def __init__(
        self, stage: Stage, interruptions: Mapping[DeviceState, Interrupting] | None = None, *, anew: bool = False
    ) -> None:
        """``interruptions`` of the migration that is judged, by the state in which they are made.

        ``anew``: nothing was done since a reset, whatever the rule; the second device is newly opened as well.
        """
        self._interruptions = interruptions or {}
        self._stage, self._v1, self._anew = stage, stage.v1, anew
        self.region = stage.v1.begin() if anew else stage.v1.next_case()
        #: Whether what was done before needs a reset.
        self._lasting = stage.v1.session.transport.lasting
        #: The buffers of the state that is being saved.
        self.stream = Stream()
        #: What the device shows; None if the profile does not say how to see that.
        self._shown: list[int] | None = None
        #: It shows what a restored state brought, and that has not been changed.
        self._brought = False
        #: A reset or another user may have changed what it shows.
        self._forgotten = False
        #: Whether there is data in the present state that was not read to its end.
        self._unread = False
        #: It went from stop-and-copy to pre-copy after a part of its state had been read: it may save the rest there.
        self._continued = False
        #: How many whole buffers were written in resuming.
        self._given = 0
        #: A session has ended: from then on, what the specification promises is judged.
        self._judged = False
        self.change()

    # -- sessions -------------------------------------------------------------------------------------------------

    def play(self, session: Session) -> None:
        """Make its moves. Raises DeviceError, NotApplicable, Unjudged."""
        for move in session.moves:
            getattr(self, move.verb)(*move.arguments)
        self._judged = True

    def change(self) -> None:
        """Put a value into the visible state that was not there before, if the profile says how."""
        self._stage.values += 1
        self._shown = show(self._v1.actor, value(self._stage.values))
        self._brought = self._forgotten = False

    def go(self, state: DeviceState) -> None:
        """Write a state. Raises NotApplicable if the device refuses what is not drawn, Unjudged if it dies of it."""
        transition = Transition(self.region.state(), state)
        if self._unread and self._stage.reach.holds(transition.before):
            where = name(transition.before)
            raise Unjudged(f"the device does not leave {where} before its data was read, which another rule judges")
        if transition in DRAWN:
            with self._step():
                self.region.set_state(state)
        else:
            self._try(transition)
        if transition == Transition(STOP_AND_COPY, PRE_COPY):
            self._continued = bool(self.stream.buffers)
        elif state == RUNNING:
            self._continued = False
        if state in _SAVING and transition != Transition(PRE_COPY, STOP_AND_COPY):
            self.stream = Stream()
        self._given = 0
        self._unread = state in _SAVING

    def _try(self, transition: Transition) -> None:
        """Write a state that is not drawn. Raises NotApplicable if it is refused."""
        with given():
            change = self.region.change_to(transition.after)
        if not change.outcome.ok:
            raise NotApplicable(f"the device refuses {transition}, which is not drawn")
        if change.now != transition.after:
            raise Unjudged(f"the device is not in {name(transition.after)}, which another rule judges")

    def read(self, far: Progress) -> None:
        """Read the data of a saving state up to ``far``."""
        state, stage = self.region.state(), self._stage
        patience = stage.flows.patience if state == PRE_COPY else 0.0
        with self._step():
            if far == progress.COMPLETE:
                stage.flows.read_out(self.region, state, self.stream)
                self._unread = False
            else:
                progress.read(self.region, far, stage.buffers(state), self.stream, patience)

    def give(self, far: Progress) -> None:
        """Write a state that was saved before, up to ``far``."""
        saved = self._stage.flows.suspend()
        with self._step():
            progress.give(self.region, far, saved.complete())
        self._given = far.of(len(saved.stream.buffers))
        if far == progress.COMPLETE:
            self._shown, self._brought = saved.visible, True

    def move(self, far: Progress) -> None:
        """Read or write up to ``far``, depending on the state of the device."""
        (self.give if self.region.state() == RESUMING else self.read)(far)

    def fail(self) -> None:
        """Make the device fail at the next buffer that is saved or written. Raises Unjudged if that is not seen.

        Raises NotApplicable if there is no next one.
        """
        (self._fail_to_take if self.region.state() == RESUMING else self._fail_to_save)()

    def _fail_to_save(self) -> None:
        with given():
            if not self.region.wait_for_data(0):
                raise NotApplicable("the device offers no such buffer")
            self._v1.actor.provoke_save_fault()
        try:
            self._save_on()
        except DeviceError as error:
            if error.errno is not None:
                return
        raise Unjudged(_UNSEEN)

    def _save_on(self) -> None:
        """Save the rest of the state: it may fail at any point, perhaps only in stop-and-copy. Raises DeviceError."""
        state, left = self.region.state(), self._stage.buffers(STOP_AND_COPY)
        if state == PRE_COPY:
            left += self._stage.buffers(PRE_COPY)
            self.region.read_buffer()
            self.region.set_state(STOP_AND_COPY)
        while left and self.region.wait_for_data(0):
            self.region.read_buffer()
            left -= 1

    def _fail_to_take(self) -> None:
        """It may fail at any access up to the end of resuming, so the rest of the state is written."""
        stream = self._stage.flows.suspend().complete()
        if self._given >= len(stream.buffers):
            raise NotApplicable("the device offers no such buffer")
        with given():
            self._v1.actor.provoke_resume_fault()
        try:
            progress.give_rest(self.region, stream, self._given)
            self.region.set_state(RUNNING)
        except DeviceError as error:
            if error.errno is not None or self.region.in_error():
                return
        raise Unjudged(_UNSEEN)

    def reset(self) -> None:
        """Reset the device. Raises NotApplicable if it has no reset."""
        if not self._v1.session.recovery.resettable:
            raise NotApplicable("the device does not announce that it can be reset")
        before = self.region.state()
        with self._step():
            self._v1.session.device.reset()
        if self.region.state() == before != RUNNING and not self.region.change_to(RUNNING).outcome.ok:
            self.close()  # a reset may leave the state, and no drawn transition leads out of stop
        else:
            self._settle("a reset", before)

    def close(self) -> None:
        """Close the device, and open it as the next user does."""
        session, deaths = self._v1.session, len(self._v1.session.transport.deaths)
        before = self.region.state()
        session.device.reopen()
        if len(session.transport.deaths) > deaths:
            raise Unjudged("the server ended when its client left, which is judged by itself")
        self._settle("the device was opened", before)

    def lose(self) -> None:
        """The user leaves without unmapping anything or ending tracking of its memory; then the next one comes."""
        transport = self._v1.session.transport
        with DmaMap(transport, IOVA, DMA_SIZE) as memory:
            DirtyTracker(transport).try_start()
            memory.mapped = False
            self.close()

    def _settle(self, what: str, before: DeviceState) -> None:
        """The device runs, or is brought there from where it may be after ``what``. Raises Unjudged."""
        self._brought = self._unread = False
        self._forgotten = True
        state = self.region.state()
        if state != RUNNING and state in (self._v1.opened_in, before):
            self.region.try_set_state(RUNNING)
            state = self.region.state()
        if state != RUNNING:
            raise Unjudged(f"device_state reads {name(state)} after {what}, which another rule judges")

    # -- the migration that is judged -----------------------------------------------------------------------------

    def finish(self, last: Last) -> None:
        """Carry out a full migration from where the device is, and compare.

        If that succeeds, nothing that was done before it needs a reset. Raises RuleBroken, DeviceError;
        NotApplicable if it is unspecified which state the device saved the rest of.
        """
        try:
            self._finish(last)
        except (RuleBroken, DeviceError) as error:
            if not self._continued:
                raise
            where = "whether saving begins anew from stop-and-copy to pre-copy is not documented"
            raise NotApplicable(f"{where}: {error}") from None
        self._v1.session.transport.lasting = self._lasting

    def _finish(self, last: Last) -> None:
        self._judged = True
        state = self.region.state()
        if state == RESUMING:
            return self._resume()
        if state == STOP:
            self._run_again()
        if last == Last.RESUMED and self.region.state() == RUNNING:
            self.go(RESUMING)
            return self._resume()
        if self.region.state() == RUNNING:
            self._leave_running(last)
        if self.region.state() == PRE_COPY:
            with self._interrupted(PRE_COPY, self.region):
                self.read(progress.COMPLETE)
            self.go(STOP_AND_COPY)
        with self._interrupted(STOP_AND_COPY, self.region):
            self.read(progress.COMPLETE)
        self.go(STOP)
        return self._compare()

    def _resume(self) -> None:
        with suppress(Unreachable):  # a stopped device need not accept a value
            self.change()
        self._give_another()
        self.go(RUNNING)
        self._as_brought()

    def _give_another(self) -> None:
        """The whole state of a live migration, which no session has restored. Raises Unjudged without one."""
        flows = self._stage.flows
        live = flows.live()
        if flows.resume(flows.live).complete().visible != live.visible:
            raise Unjudged("the state of a live migration does not restore the device, which another rule judges")
        self.region.load(live.complete())
        self._shown, self._brought = live.visible, True

    def _run_again(self) -> None:
        """From stop, which no drawn transition leaves: to running if the device accepts that, otherwise by a reset."""
        try:
            self.go(RUNNING)
        except NotApplicable:
            if self._v1.session.recovery.resettable:
                self.reset()
            else:
                self.close()

    def _leave_running(self, last: Last) -> None:
        if self._brought:
            self._as_brought()
        elif last.changes or self._forgotten:
            self.change()
        self.go(PRE_COPY if last.live else STOP_AND_COPY)

    def _as_brought(self) -> None:
        if self._shown is None:
            raise self._v1.actor.unseen()
        shows("after resuming", show(self._v1.actor) or [], self._shown)

    def _compare(self) -> None:
        with self._v1.destination(keep=not self._anew) as (_, region, actor):
            if actor.can_put:  # what a reset left must not be taken for what was restored
                actor.put(value(self._stage.values + 1))
            region.enter(RESUMING)
            with self._interrupted(RESUMING, region):
                region.load(self.stream)
            region.set_state(RUNNING)
            seen = show(actor)
        if self._shown is None or seen is None:
            raise self._v1.actor.unseen()
        shows("restored from it", seen, self._shown)

    def _interrupted(self, state: DeviceState, region: MigrationRegion) -> AbstractContextManager[None]:
        found = self._interruptions.get(state)
        return found.on(region) if found else nullcontext()

    def _step(self) -> AbstractContextManager[None]:
        """What is documented is judged by other rules until a session has ended."""
        return nullcontext() if self._judged else given()
