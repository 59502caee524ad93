# SPDX-License-Identifier: GPL-2.0-only
"""Judges migrations after other sessions, or disturbed ones, against a migration with nothing before it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial

from ..common.words import counted
from ..device import DeviceError, DmaMap, Unreachable
from ..device.dma import DMA_SIZE
from ..run.checks import (
    NotApplicable,
    RuleBroken,
    Silent,
    Unjudged,
    broken,
    continues,
    equal,
    given,
    stands_still,
    unless,
)
from ..transport import PeerGone, ProtocolViolation
from ..uapi.migration_v1 import DeviceState
from . import progress
from .actor import Hidden, MigrationActor
from .flows import PRE_COPY, RESUMING, RUNNING, STOP, STOP_AND_COPY, Flows, Saved
from .interruptions import FEW, READ_AGAIN, Buffer, Interrupting, Interruption, Place
from .migration import Migration
from .player import Last, Player, Stage
from .progress import Progress, Step
from .reach import Reach
from .region import Moment
from .sessions import CHANGE, Session, go, left

#: A state of more bytes is saved no more than ``limits.passes`` times in a run.
SMALL = 1 << 20

#: This many of these are reserved for the flows of a real client, which come last.
_LEFT = 2


#: Nothing at all.
NOTHING = Session("", ())


def _problem(play: Callable[[], object]) -> Exception | None:
    """The failure in ``play``; None if it cannot be judged."""
    try:
        with suppress(NotApplicable, Silent, Unjudged):
            play()
    except (RuleBroken, DeviceError, PeerGone, ProtocolViolation) as error:
        return error.with_traceback(None)
    return None


def _raise(found: Exception | None) -> None:
    if found:
        raise found


def _has_ended(actor: MigrationActor, where: str) -> None:
    try:
        actor.await_work()
    except Unreachable as never:
        broken(f"{never.what} {where}", expected=never.expected, seen=never.seen)


class Players(Stage):
    """The players of a run, and the migrations that theirs are compared with, each made on first use."""

    def __init__(self, v1: Migration, flows: Flows, reach: Reach) -> None:
        super().__init__(v1, flows, reach)
        shared = v1.session.transport.tracer.shared
        self._compared = shared(lambda sessions, last: _problem(partial(self._play, sessions, last, anew=True)))
        self._worked = shared(lambda: _problem(partial(self._works, NOTHING, anew=True)))
        self._wrote = shared(lambda: _problem(partial(self._writes, NOTHING, anew=True)))
        self._made: set[tuple[Hashable, ...]] = set()

    def judge(self, *sessions: Session, last: Last = Last.LIVE, controls: Sequence[Session] = (), when: str) -> None:
        """A full migration succeeds after ``sessions``, if it does after each of the ``controls``, or after none.

        ``last`` is how it goes from a running device, ``when`` how the controls differ. Raises RuleBroken, DeviceError,
        Unjudged, and NotApplicable if the device refuses what the specification leaves open.
        """
        self.afford()
        self._first(self._insist, (), last)
        with unless(lambda: self._insist(controls, last), when):
            self._play(sessions, last)

    def judge_interrupted(
        self,
        whats: Sequence[Interruption],
        times: int,
        state: DeviceState,
        places: Iterable[Place],
        *,
        last: Last = Last.AT_ONCE,
    ) -> None:
        """A full migration succeeds if, in ``state``, something else is done in the middle of buffers.

        Raises like judge().
        """
        self.afford()
        number = self.buffers(STOP_AND_COPY if state == RESUMING else state)
        buffers = sorted({place(number) for place in places})
        interrupting = Interrupting(whats, times, buffers)

        def control() -> None:
            self._insist([], last)
            for what in whats:
                if what in READ_AGAIN:
                    for buffer in buffers:
                        self._stays(what, times, state, buffer)

        with unless(control, "where nothing is done in between, or at once"):
            self._disturb(Player(self, {state: interrupting}), interrupting, last)

    def _stays(self, what: Interruption, times: int, state: DeviceState, number: int) -> None:
        """The buffer is the same when it is read again a few times, which is judged by another rule."""
        player = self.begin(anew=True)
        player.go(state)
        player.read(Progress("", number, Step.PENDING))
        region = player.region
        place = region.place()
        before = region.read_data(place.offset, place.size)
        for _ in range(min(times, FEW)):
            what.do(region, Buffer(place, before))
        equal("reading the buffer after it", region.read_data(place.offset, place.size), before, bytes.hex)

    def judge_resumed(self, *sessions: Session, last: Last, controls: Sequence[Session] = (), when: str) -> None:
        """As judge(), after sessions that resume the device, if pre-copy can be entered after that."""
        stayed = self.flows.resume(self.flows.suspend).stayed
        if stayed and last.live:
            raise Unjudged(f"pre-copy is not entered once the device was resumed, which another rule judges: {stayed}")
        self.judge(*sessions, last=last, controls=controls, when=when)

    def judge_changed(self, place: Place) -> None:
        """A live migration succeeds if the state changes in the middle of a buffer of pre-copy.

        Raises like judge().
        """
        self.afford()
        change = Interruption("", Moment.MOVED, lambda *_: player.change())
        changing = Interrupting([change], 1, [place(self.buffers(PRE_COPY))])
        after = left(PRE_COPY, progress.COMPLETE, CHANGE, go(STOP_AND_COPY))
        with unless(lambda: self._insist([after], Last.LIVE), "where the state changes behind the last buffer"):
            player = Player(self, {PRE_COPY: changing})
            self._disturb(player, changing, Last.LIVE)

    def _disturb(self, player: Player, interrupting: Interrupting, last: Last) -> None:
        """A migration with something in the middle. Raises NotApplicable if the buffer never came."""
        player.finish(last)
        if not interrupting.made:
            raise NotApplicable("the device offers no such buffer")

    def judge_at_work(self, before: Session) -> None:
        """After a session, the device does its work, and ceases once it is stopped, as it does without one."""
        self.afford()
        with self._unless_alone(self._worked):
            self._works(before)

    def _works(self, before: Session, *, anew: bool = False) -> None:
        counter, player = self.v1.actor.counter(), self.begin(anew=anew)
        player.play(before)
        continues(counter, f"after this: {before}")
        player.go(STOP)
        with suppress(Hidden):
            stands_still(f"watching {counter.name} in stop", counter.watch())

    def judge_writing(self, before: Session) -> None:
        """After a session, the device writes memory, as it does without one."""
        self.afford()
        with self._unless_alone(self._wrote):
            self._writes(before)

    def _writes(self, before: Session, *, anew: bool = False) -> None:
        self.begin(anew=anew).play(before)
        with self.v1.actor.dma() as written:
            continues(written, f"after this: {before}")

    def judge_in_flight(self, *, moves: bool) -> None:
        """Work that is in flight when the device is stopped ends on the device that continues, as it does undisturbed.

        That is the destination of a migration if the state ``moves``, otherwise the device itself, running again.
        """
        self.afford()
        with unless(self._work_undisturbed, "where the device is not stopped, or nothing is in flight"):
            (self._work_moved if moves else self._work_here)()

    def _work_undisturbed(self) -> None:
        self._insist([], Last.AT_ONCE)
        self.begin(anew=True)
        with self._work_begun():
            self.v1.actor.await_work()

    def _work_here(self) -> None:
        player = self.begin()
        with self._work_begun():
            player.go(STOP)
            player.go(RUNNING)
            _has_ended(self.v1.actor, "after the device was stopped and ran again")

    def _work_moved(self) -> None:
        session, player = self.v1.session, self.begin()
        with ExitStack() as memory:
            where = memory.enter_context(self._work_begun())
            player.go(STOP_AND_COPY)
            player.read(progress.COMPLETE)
            player.go(STOP)
            with self.v1.destination() as (device, region, actor), ExitStack() as there:
                if not session.transport.kernel and device is not session.device:
                    there.enter_context(DmaMap(device.transport, where.iova, where.size))
                with given():
                    region.enter(RESUMING)
                    region.load(player.stream)
                    region.set_state(RUNNING)
                _has_ended(actor, "on the device that was given the state")

    @contextmanager
    def _work_begun(self) -> Iterator[DmaMap]:
        """The device has work in flight; yields the memory for it, until the block ends."""
        actor = self.v1.actor
        with DmaMap(self.v1.session.transport, *actor.memory_for(DMA_SIZE)) as memory:
            actor.start_work(memory.iova, memory.size)
            yield memory

    def begin(self, *, anew: bool = False) -> Player:
        """A player, once the number of buffers of the device is known."""
        with given():
            self._look()
            return Player(self, anew=anew)

    def afford(self) -> None:
        """Raises Silent if the state is too large to be saved once more."""
        with given():
            total = self._look().complete().total
        most = self.v1.session.profile.limits.passes
        if total > SMALL and self.v1.session.transport.tracer.counts.passes >= most - _LEFT:
            size = counted(total, "byte")
            raise Silent("limits.passes", f"a state of {size} is saved no more than {counted(most, 'time')}")

    def _look(self) -> Saved:
        """The whole flows, which must not be made in the middle of another one; returns the state saved at once."""
        self.flows.resume(self.flows.live)
        return self.flows.suspend()

    def _play(self, sessions: Sequence[Session], last: Last, *, anew: bool = False) -> None:
        if any(session.resumes for session in sessions):
            self.v1.session.renewed()  # the state that it is given must be the first one since a reset
        player = Player(self, anew=anew)
        for session in sessions:
            player.play(session)
        player.finish(last)

    def _insist(self, sessions: Sequence[Session], last: Last) -> None:
        """An immediate migration restores the device, and so does one after each of the sessions, or after none."""
        for before, how in [((), Last.AT_ONCE), *(((session,), last) for session in sessions or [NOTHING])]:
            _raise(self._compared(before, how))

    def _unless_alone(self, control: Callable[[], Exception | None]) -> AbstractContextManager[None]:
        """A failure in the block is judged by this rule unless ``control``, with no session before, fails as well."""
        self._first(control)
        return unless(lambda: _raise(control()), "with nothing before it")

    def _first(self, control: Callable[..., object], *arguments: Hashable) -> None:
        """Make a control, once: before what is judged, as the device may never recover from that."""
        if (control, *arguments) not in self._made:
            self._made.add((control, *arguments))
            _problem(partial(control, *arguments))
