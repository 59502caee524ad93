# SPDX-License-Identifier: GPL-2.0-only
"""Plays sessions of migration on a device, then a whole one, and compares what that brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from enum import Enum

from ..common.words import counted
from ..device import DeviceError, DirtyTracker, DmaMap, Stream, Unreachable
from ..device.dma import DMA_SIZE, IOVA
from ..run.checks import (
    NotApplicable,
    RuleBroken,
    Silent,
    Unjudged,
    broken,
    given,
    goes_on,
    shows,
    stands_still,
    unless,
)
from ..run.stimulus import Activity
from ..transport import PeerGone, ProtocolViolation
from ..uapi.migration_v1 import DeviceState
from . import progress
from .actor import MigrationActor
from .flows import PRE_COPY, RESUMING, RUNNING, STOP, STOP_AND_COPY, Journeys, show
from .interruptions import Interrupting, Interruption
from .migration import Migration
from .progress import Progress
from .reach import Reach
from .region import MigrationRegion, Moment
from .sessions import CHANGE, Session, go, left
from .states import DRAWN, Transition, name

#: A state of more bytes is saved no more than ``limits.passes`` times in a run.
SMALL = 1 << 20

_SAVING = (PRE_COPY, STOP_AND_COPY)


class Last(Enum):
    """How the migration goes that is judged."""

    #: The device is saved through pre-copy, whose data is read.
    LIVE = "saved live"
    #: It is saved from running to stop-and-copy.
    AT_ONCE = "saved at once"
    #: It is given a state that was saved at the beginning of the run.
    RESUMED = "resumed"


def value(number: int) -> int:
    """The visible state's value of this number: no byte is 0, nor the same as in the value before."""
    return int.from_bytes(bytes(1 + (17 * number + 37 * place) % 251 for place in range(8)), "little")


class Players:
    """The players of a run, and the migrations that theirs are compared with, each made when it is first asked for."""

    def __init__(self, v1: Migration, journeys: Journeys, reach: Reach) -> None:
        self.v1, self.journeys, self.reach = v1, journeys, reach
        self._compared = v1.session.transport.tracer.shared(self._compare)

    def judge(self, *sessions: Session, last: Last = Last.LIVE, controls: Sequence[Session] = (), when: str) -> None:
        """A whole migration goes well after ``sessions``, where it does after each of the ``controls``, or after none.

        ``last`` says how it goes from a running device, ``when`` in what the controls differ. Raises RuleBroken,
        DeviceError, Unjudged, and NotApplicable where the device refuses what the text leaves open.
        """
        self.afford()
        with unless(lambda: self._insist(controls, last), when):
            self._play(sessions, last)

    def judge_interrupted(
        self,
        what: Interruption,
        times: int,
        state: DeviceState,
        place: Callable[[int], int],
        *,
        last: Last = Last.AT_ONCE,
    ) -> None:
        """A whole migration goes well where, in ``state``, something else is done in the middle of a buffer.

        ``place`` gives the number of the buffer, from how many there are. Raises as judge() does.
        """
        self.afford()
        number = self.buffers(STOP_AND_COPY if state == RESUMING else state)
        interrupting = Interrupting(what, times, place(number))
        with unless(lambda: self._insist([], last), "where nothing is done in between"):
            Player(self, {state: interrupting}).finish(last)
        if not interrupting.made:
            raise NotApplicable("the device offers no such buffer")

    def judge_changed(self, place: Callable[[int], int]) -> None:
        """A live migration goes well where the state changes in the middle of a buffer of pre-copy.

        ``place`` gives the number of the buffer, from how many there are. Raises as judge() does.
        """
        self.afford()
        changing = Interrupting(
            Interruption("", Moment.MOVED, lambda *_: player.change()), 1, place(self.buffers(PRE_COPY))
        )
        after = left(PRE_COPY, progress.WHOLE, CHANGE, go(STOP_AND_COPY))
        with unless(lambda: self._insist([after], Last.LIVE), "where the state changes behind the last buffer"):
            player = Player(self, {PRE_COPY: changing})
            player.finish(Last.LIVE)
        if not changing.made:
            raise NotApplicable("the device offers no such buffer")

    def judge_at_work(self, before: Session) -> None:
        """After a session the device works, and once it is stopped stands still, as it does without one."""
        counter = self.v1.actor.counter()
        with unless(lambda: self._works(Session("", ()), counter), "with nothing before it"):
            self._works(before, counter)

    def _works(self, before: Session, counter: Activity) -> None:
        player = self.begin()
        player.play(before)
        goes_on(counter, f"after this: {before}")
        player.go(STOP)
        stands_still(f"watching {counter.name} in stop", counter.watch())

    def judge_writing(self, before: Session) -> None:
        """After a session the device writes memory, as it does without one."""
        with unless(lambda: self._writes(Session("", ())), "with nothing before it"):
            self._writes(before)

    def _writes(self, before: Session) -> None:
        self.begin().play(before)
        with self.v1.actor.dma() as written:
            goes_on(written, f"after this: {before}")

    def judge_in_flight(self, *, moves: bool) -> None:
        """Work that is in flight when the device is stopped ends on the device that goes on, as it does undisturbed.

        That is the destination of a migration if the state ``moves``, else the device itself where it runs again.
        """
        self.afford()
        with unless(self._work_undisturbed, "where the device is not stopped"):
            (self._work_moved if moves else self._work_here)()

    def _work_undisturbed(self) -> None:
        self.begin()
        with DmaMap(self.v1.session.transport, IOVA, DMA_SIZE):
            self.v1.actor.start_work(IOVA, DMA_SIZE)
            self.v1.actor.await_work()

    def _work_here(self) -> None:
        player = self.begin()
        with DmaMap(self.v1.session.transport, IOVA, DMA_SIZE):
            self.v1.actor.start_work(IOVA, DMA_SIZE)
            player.go(STOP)
            player.go(RUNNING)
            _has_ended(self.v1.actor, "after the device was stopped and ran again")

    def _work_moved(self) -> None:
        session, player = self.v1.session, self.begin()
        with ExitStack() as memory:
            memory.enter_context(DmaMap(session.transport, IOVA, DMA_SIZE))
            self.v1.actor.start_work(IOVA, DMA_SIZE)
            player.go(STOP_AND_COPY)
            player.read(progress.WHOLE)
            player.go(STOP)
            with self.v1.destination() as (device, region, actor), ExitStack() as there:
                if not session.transport.kernel and device is not session.device:
                    there.enter_context(DmaMap(device.transport, IOVA, DMA_SIZE))
                with given():
                    region.enter(RESUMING)
                    region.load(player.stream)
                    region.set_state(RUNNING)
                _has_ended(actor, "on the device that was given the state")

    def begin(self) -> Player:
        """A player, once it is known how many buffers the device offers."""
        self.journeys.suspend()
        self.journeys.live()
        return Player(self)

    def afford(self) -> None:
        """Raises Silent where the state is too large to be saved once more."""
        self.journeys.live()  # is not to be made in the middle of another one
        total = self.journeys.suspend().whole().total
        most = self.v1.session.profile.limits.passes
        if total > SMALL and self.v1.session.transport.tracer.counts.passes >= most:
            size = counted(total, "byte")
            raise Silent("limits.passes", f"a state of {size} is saved no more than {counted(most, 'time')}")

    def patience(self) -> float:
        """Seconds that data in pre-copy may take to come."""
        return self.journeys.patience

    def buffers(self, state: DeviceState) -> int:
        """How many buffers the device offers in a saving state. Raises Unjudged."""
        if state == STOP_AND_COPY:
            return len(self.journeys.suspend().whole().buffers)
        live = self.journeys.live()
        return sum(buffer.start < live.offered[PRE_COPY] for buffer in live.whole().buffers)

    def _play(self, sessions: Sequence[Session], last: Last) -> None:
        player = Player(self)
        for session in sessions:
            player.play(session)
        player.finish(last)

    def _insist(self, sessions: Sequence[Session], last: Last) -> None:
        for before in [sessions[at : at + 1] for at in range(len(sessions))] or [()]:
            if error := self._compared(tuple(before), last):
                raise error

    def _compare(self, sessions: tuple[Session, ...], last: Last) -> Exception | None:
        try:
            self._play(sessions, last)
        except (RuleBroken, DeviceError, PeerGone, ProtocolViolation) as error:
            return error.with_traceback(None)
        except (NotApplicable, Silent, Unjudged):
            return None
        return None


def _has_ended(actor: MigrationActor, where: str) -> None:
    try:
        actor.await_work()
    except Unreachable as never:
        broken(f"{never.what} {where}", expected=never.expected, seen=never.seen)


class Player:
    """A client of a device that runs, after a reset."""

    def __init__(self, players: Players, interruptions: Mapping[DeviceState, Interrupting] | None = None) -> None:
        """``interruptions`` of the migration that is judged, by the state in which they are made."""
        self._interruptions = interruptions or {}
        self._players, self._v1 = players, players.v1
        self.region = players.v1.begin()
        #: The buffers of the state that is being saved.
        self.stream = Stream()
        self._values = 0
        #: What the device shows; None where the profile does not say how that is seen.
        self._shown: list[int] | None = None
        #: It shows what a state that it was given has brought, and nobody has changed that.
        self._brought = False
        #: Whether there is data in the present state that was not read to its end.
        self._unread = False
        #: A session has ended: from then on what the text promises is what is judged.
        self._judged = False
        self.change()

    # -- sessions -------------------------------------------------------------------------------------------------

    def play(self, session: Session) -> None:
        """Make its moves. Raises DeviceError, NotApplicable, Unjudged."""
        for move in session.moves:
            getattr(self, move.verb)(*move.arguments)
        self._judged = True

    def change(self) -> None:
        """Put a value into the visible state that was not there before, where the profile says how."""
        self._values += 1
        self._shown = show(self._v1.actor, value(self._values))
        self._brought = False

    def go(self, state: DeviceState) -> None:
        """Write a state. Raises NotApplicable where the device refuses what is not drawn, Unjudged if it dies of it."""
        transition = Transition(self.region.state(), state)
        if self._unread and self._players.reach.holds(transition.before):
            where = name(transition.before)
            raise Unjudged(f"the device does not leave {where} before its data was read, which another rule judges")
        if transition in DRAWN:
            with self._step():
                self.region.set_state(state)
        elif not self.region.change_to(state).outcome.ok:
            raise NotApplicable(f"the device refuses {transition}, which is not drawn")
        elif self.region.state() != state:
            raise Unjudged(f"the device is not in {name(state)}, which another rule judges")
        if state in _SAVING and transition != Transition(PRE_COPY, STOP_AND_COPY):
            self.stream = Stream()
        self._unread = state in _SAVING

    def read(self, far: Progress) -> None:
        """Read so much of the data that a saving state offers."""
        state, players = self.region.state(), self._players
        patience = players.patience() if state == PRE_COPY else 0.0
        with self._step():
            if far == progress.WHOLE:
                players.journeys.read_out(self.region, state, self.stream)
                self._unread = False
            else:
                progress.read(self.region, far, players.buffers(state), self.stream, patience)

    def give(self, far: Progress) -> None:
        """Give so much of a state that was saved before."""
        saved = self._players.journeys.suspend()
        with self._step():
            progress.give(self.region, far, saved.whole())
        if far == progress.WHOLE:
            self._shown, self._brought = saved.visible, True

    def move(self, far: Progress) -> None:
        """Read or give so much, as the state of the device wants it."""
        (self.give if self.region.state() == RESUMING else self.read)(far)

    def fail(self) -> None:
        """Have the device fail while it saves the next buffer. Raises Unjudged where that is not seen."""
        with given():
            self._v1.actor.provoke_save_fault()
        try:
            if self.region.wait_for_data(0):
                self.region.read_buffer()
        except DeviceError as error:
            if error.errno is not None:
                return
        raise Unjudged("the fault that was provoked was not seen, which another rule judges")

    def reset(self) -> None:
        """Reset the device. Raises NotApplicable where it has none."""
        if not self._v1.session.recovery.resettable:
            raise NotApplicable("the device does not announce that it can be reset")
        before = self.region.state()
        with self._step():
            self._v1.session.device.reset()
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
        """The user goes without unmapping anything or ending the tracking of its memory; then comes the next."""
        transport = self._v1.session.transport
        with DmaMap(transport, IOVA, DMA_SIZE) as memory:
            DirtyTracker(transport).try_start()
            memory.mapped = False
            self.close()

    def _settle(self, what: str, before: DeviceState) -> None:
        """The device runs, or is brought there from where it may be after ``what``. Raises Unjudged."""
        self._brought = self._unread = False
        state = self.region.state()
        if state != RUNNING and state in (self._v1.opened_in, before):
            self.region.try_set_state(RUNNING)
            state = self.region.state()
        if state != RUNNING:
            raise Unjudged(f"device_state reads {name(state)} after {what}, which another rule judges")

    # -- the migration that is judged -----------------------------------------------------------------------------

    def finish(self, last: Last) -> None:
        """Carry a whole migration through from where the device is, and compare. Raises RuleBroken, DeviceError."""
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
                self.read(progress.WHOLE)
            self.go(STOP_AND_COPY)
        with self._interrupted(STOP_AND_COPY, self.region):
            self.read(progress.WHOLE)
        self.go(STOP)
        return self._compare()

    def _resume(self) -> None:
        self.change()
        self._give_another()
        self.go(RUNNING)
        self._as_brought()

    def _give_another(self) -> None:
        """The whole state of a live migration: none that a session has given."""
        live = self._players.journeys.live()
        self.region.load(live.whole())
        self._shown, self._brought = live.visible, True

    def _run_again(self) -> None:
        """From stop, which no drawn transition leaves: to running where the device takes that, else by a reset."""
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
        else:
            self.change()
        self.go(PRE_COPY if last == Last.LIVE else STOP_AND_COPY)

    def _as_brought(self) -> None:
        if self._shown is None:
            raise Silent("stimulus.visible_state")
        shows("after resuming", show(self._v1.actor) or [], self._shown)

    def _compare(self) -> None:
        with self._v1.destination() as (_, region, actor):
            show(actor, value(self._values + 1))  # what a reset left is not to pass for what was restored
            region.enter(RESUMING)
            with self._interrupted(RESUMING, region):
                region.load(self.stream)
            region.set_state(RUNNING)
            seen = show(actor)
        if self._shown is None or seen is None:
            raise Silent("stimulus.visible_state")
        shows("restored from it", seen, self._shown)

    def _interrupted(self, state: DeviceState, region: MigrationRegion) -> AbstractContextManager[None]:
        found = self._interruptions.get(state)
        return found.on(region) if found else nullcontext()

    def _step(self) -> AbstractContextManager[None]:
        """What is documented is judged by other rules until a session has ended."""
        return nullcontext() if self._judged else given()
