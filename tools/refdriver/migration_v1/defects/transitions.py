# SPDX-License-Identifier: GPL-2.0-only
"""Transitions that are refused, or that lead elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from errno import EBUSY, EINVAL, EIO
from typing import NamedTuple

from ...overlays import defect
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import DRAWN, PRE_COPY, RESUMING, RUNNING, STATES, STOP
from ..states import STOP_AND_COPY as COPY
from .history import History


class Attempt(NamedTuple):
    """A possible transition, and what came before it."""

    made: tuple[int, int]
    #: The state before both.
    before: int
    #: The DMA stream is on.
    streams: bool
    #: Bytes are left to be read.
    left: bool
    #: A buffer is there to be read.
    offered: bool
    #: A whole state was written to the device.
    filled: bool
    #: The device was in a saving state since it was opened.
    saved: bool
    #: It was resumed since the last reset.
    resumed: bool


def refusing(errno: int, when: Callable[[Attempt], bool]) -> type[MigrationRegion]:
    """A region that refuses some transitions."""

    class Refusing(History):
        def _check_transition(self, new: int) -> None:
            super()._check_transition(new)
            outgoing, incoming = self._outgoing, self._incoming
            attempt = Attempt(
                made=(self.state, new),
                before=self._previous,
                streams=self._machine.streaming,
                left=outgoing is not None and outgoing.left() > 0,
                offered=outgoing is not None and outgoing.offered,
                filled=incoming is not None and incoming.complete,
                saved=self._saved,
                resumed=self._resumed,
            )
            if when(attempt):
                raise Refusal(errno)

    return Refusing


defect("stop-refused", "RUNNING -> STOP is refused")(refusing(EINVAL, lambda it: it.made == (RUNNING, STOP)))
defect("stop-refused-while-busy", "RUNNING -> STOP answers EBUSY while the DMA stream is on")(
    refusing(EBUSY, lambda it: it.made == (RUNNING, STOP) and it.streams)
)
defect("stop-refused-after-pre-copy", "stop-and-copy -> STOP is refused if stop-and-copy was entered from pre-copy")(
    refusing(EINVAL, lambda it: it.made == (COPY, STOP) and it.before == PRE_COPY)
)
defect("stop-and-copy-to-stop-refused", "stop-and-copy -> STOP is refused")(
    refusing(EINVAL, lambda it: it.made == (COPY, STOP))
)


@defect("stop-and-copy-to-stop-runs", "stop-and-copy -> STOP ends in RUNNING")
class StopRuns(MigrationRegion):
    def _make_transition(self, new: int) -> None:
        super()._make_transition(RUNNING if (self.state, new) == (COPY, STOP) else new)


defect("pre-copy-refused", "RUNNING -> pre-copy is refused")(
    refusing(EINVAL, lambda it: it.made == (RUNNING, PRE_COPY))
)
defect("pre-copy-refused-after-resume", "RUNNING -> pre-copy answers EBUSY once the device was resumed, until reset")(
    refusing(EBUSY, lambda it: it.made == (RUNNING, PRE_COPY) and it.resumed)
)
defect("pre-copy-to-stop-and-copy-refused", "pre-copy -> stop-and-copy is refused")(
    refusing(EINVAL, lambda it: it.made == (PRE_COPY, COPY))
)
defect("resuming-refused", "RUNNING -> RESUMING is refused")(
    refusing(EINVAL, lambda it: it.made == (RUNNING, RESUMING))
)
defect("resumed-refused", "RESUMING -> RUNNING is refused after a whole state was written")(
    refusing(EINVAL, lambda it: it.made == (RESUMING, RUNNING) and it.filled)
)
defect(
    "resuming-refused-after-saving",
    "RUNNING -> RESUMING answers EBUSY if the device was saved before, even after a reset",
)(refusing(EBUSY, lambda it: it.made == (RUNNING, RESUMING) and it.saved))
defect("pre-copy-must-drain", "leaving pre-copy answers EBUSY while pending_bytes > 0")(
    refusing(EBUSY, lambda it: it.made[0] == PRE_COPY and it.left)
)
defect("stop-and-copy-must-drain", "leaving stop-and-copy answers EBUSY while pending_bytes > 0")(
    refusing(EBUSY, lambda it: it.made[0] == COPY and it.left)
)
defect("leave-mid-buffer-refused", "leaving a saving state answers EBUSY while a buffer is there to be read")(
    refusing(EBUSY, lambda it: it.offered)
)


@defect("undrawn-wrong-state", "a transition that is not drawn succeeds but ends in a third state")
class UndrawnWrongState(MigrationRegion):
    def _make_transition(self, new: int) -> None:
        if (self.state, new) not in DRAWN:
            new = next(state for state in STATES if state not in (self.state, new))
        super()._make_transition(new)


@defect("undrawn-ignored", "a transition that is not drawn succeeds, but the state is unchanged")
class UndrawnIgnored(MigrationRegion):
    def _make_transition(self, new: int) -> None:
        if (self.state, new) in DRAWN:
            super()._make_transition(new)


@defect("undrawn-wedges", "after pre-copy -> RESUMING every reset fails until the device is opened again")
class UndrawnWedges(MigrationRegion):
    _wedged = False

    def open(self) -> None:
        super().open()
        self._wedged = False

    def reset(self) -> None:
        if self._wedged:
            raise Refusal(EIO)
        super().reset()

    def _make_transition(self, new: int) -> None:
        made = self.state, new
        super()._make_transition(new)
        self._wedged |= made == (PRE_COPY, RESUMING)


defect("cancel-refused", "pre-copy -> RUNNING is refused")(refusing(EINVAL, lambda it: it.made == (PRE_COPY, RUNNING)))


def moving_at_self_writes(states: tuple[int, ...], end: int) -> type[MigrationRegion]:
    """A region in which a write of the present state leads to another one."""

    class Moving(MigrationRegion):
        def _go(self, new: int) -> None:
            old = self.state
            super()._go(new)
            if new == old and old in states and old != end:
                self._make_transition(end)

    return Moving


defect("self-write-moves", "writing the present state again succeeds and puts the device into STOP")(
    moving_at_self_writes(STATES, STOP)
)


@defect(
    "self-write-ends-data", "writing the present state again while saving succeeds, but pending_bytes is 0 from then on"
)
class SelfWriteEndsData(MigrationRegion):
    def _go(self, new: int) -> None:
        old = self.state
        super()._go(new)
        if new == old and self._outgoing is not None:
            self._outgoing.end()


defect("self-write-resuming-runs", "writing RESUMING in RESUMING succeeds and leads to RUNNING")(
    moving_at_self_writes((RESUMING,), RUNNING)
)
