# SPDX-License-Identifier: GPL-2.0-only
"""What a broken region carries from one session of migration into the next, or loses if a session ends early."""

from __future__ import annotations

from errno import EIO

from ...overlays import defect
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import PRE_COPY, RESUMING, RUNNING, STOP, STOP_AND_COPY
from ..stream import Image, Incoming, Outgoing
from .history import History


class Piecewise(MigrationRegion):
    """Does not send again the data that it wrongly considers sent."""

    def _complete_state(self) -> Image:
        offered = self._outgoing
        if self.state != PRE_COPY or offered is None:
            return super()._complete_state()
        memory = bytearray(self._machine.memory.content)
        for part, content in self._lost(offered):
            memory[part] = content[: part.stop - part.start]
        return Image(memoryview(memory), self._machine.save())

    def _lost(self, offered: Outgoing) -> list[tuple[slice, bytes]]:
        """The parts of the memory that are not sent, and the content sent in their place."""
        raise NotImplementedError

    @staticmethod
    def _zeros(start: int, end: int) -> list[tuple[slice, bytes]]:
        return [(slice(start, end), bytes(end - start))]


@defect("left-unread-lost", "data that pre-copy had still to offer is not sent in stop-and-copy either")
class UnreadLost(Piecewise):
    def _lost(self, offered: Outgoing) -> list[tuple[slice, bytes]]:
        return self._zeros(offered.position + offered.length, offered.position + offered.unsent)


@defect("left-offered-lost", "a buffer that pre-copy has offered counts as sent, whether read or not")
class OfferedLost(Piecewise):
    def _lost(self, offered: Outgoing) -> list[tuple[slice, bytes]]:
        return self._zeros(offered.position, offered.position + offered.length)


@defect("left-change-lost", "a change to the data that pre-copy is offering is not sent")
class ChangeLost(Piecewise):
    _offered = b""

    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        part = slice(outgoing.position, outgoing.position + outgoing.length)
        self._offered = bytes(self._machine.memory.content[part])

    def _lost(self, offered: Outgoing) -> list[tuple[slice, bytes]]:
        end = offered.position + offered.length
        return [(slice(offered.position, end), self._offered)] if offered.length else []


@defect("left-poisons-next", "if stop-and-copy is left with bytes pending, the next one offers buffers of 0 bytes")
class PoisonsNext(MigrationRegion):
    _poisoned = False

    def _move(self, new: int) -> None:
        outgoing = self._outgoing
        self._poisoned |= self.state == STOP_AND_COPY and outgoing is not None and bool(outgoing.unsent)
        super()._move(new)

    def _force(self, state: int) -> None:
        super()._force(state)
        self._poisoned = False

    def read_size(self) -> int:
        size = super().read_size()
        return 0 if self._poisoned and self.state == STOP_AND_COPY else size


@defect("left-cancelled-kept", "after a cancelled pre-copy, the next migration sends the memory as it was then")
class CancelledKept(MigrationRegion):
    _kept: bytes | None = None

    def _move(self, new: int) -> None:
        if (self.state, new) == (PRE_COPY, RUNNING):
            self._kept = bytes(self._machine.memory.content)
        super()._move(new)

    def _force(self, state: int) -> None:
        super()._force(state)
        self._kept = None

    def _complete_state(self) -> Image:
        whole = super()._complete_state()
        return whole if self._kept is None else Image(memoryview(self._kept), self._machine.save())


@defect(
    "left-cancelled-counts",
    "data that a cancelled pre-copy offered counts as sent the next time unless it has changed",
)
class CancelledCounts(MigrationRegion):
    #: The content that was offered, by its place in the memory.
    _sent: dict[int, bytes]

    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        if self.state == PRE_COPY:
            part = slice(outgoing.position, outgoing.position + outgoing.length)
            self._sent[part.start] = bytes(self._machine.memory.content[part])

    def _move(self, new: int) -> None:
        cancels = (self.state, new) == (PRE_COPY, RUNNING)
        super()._move(new)
        if not cancels:
            self._sent = {}

    def _force(self, state: int) -> None:
        super()._force(state)
        self._sent = {}

    def _complete_state(self) -> Image:
        if self.state == PRE_COPY:
            return super()._complete_state()
        memory = bytearray(self._machine.memory.content)
        for start, sent in self._sent.items():
            part = slice(start, start + len(sent))
            if memory[part] == sent:
                memory[part] = bytes(len(sent))
        return Image(memoryview(memory), self._machine.save())


class Skipping(MigrationRegion):
    """May continue in a saving state after the buffer in which the last one was left."""

    _behind = 0

    def _skips(self, outgoing: Outgoing, new: int, forced: bool) -> bool:
        """Whether a saving state that is left for ``new`` is continued later."""
        raise NotImplementedError

    def _leave(self, new: int, forced: bool) -> None:
        if self._outgoing is not None and self._skips(self._outgoing, new, forced):
            self._behind = self._outgoing.position + self._outgoing.length

    def _make_transition(self, new: int) -> None:
        self._leave(new, False)
        super()._make_transition(new)

    def _start_saving(self, new: int) -> Outgoing | None:
        outgoing = super()._start_saving(new)
        if outgoing is not None and self._behind < outgoing.unsent:
            outgoing.position, self._behind = self._behind, 0
        return outgoing


@defect(
    "left-buffer-skipped", "if stop-and-copy is left in the middle of a buffer, the next one begins after that buffer"
)
class BufferSkipped(Skipping):
    def _skips(self, outgoing: Outgoing, new: int, forced: bool) -> bool:
        return self.state == STOP_AND_COPY and outgoing.offered and not forced

    def _force(self, state: int) -> None:
        super()._force(state)
        self._behind = 0


@defect(
    "left-by-reset-skipped",
    "after a reset in the second buffer of stop-and-copy, the next one begins after that buffer",
)
class ByResetSkipped(Skipping):
    def _skips(self, outgoing: Outgoing, new: int, forced: bool) -> bool:
        return forced and self.state == STOP_AND_COPY and outgoing.offered and outgoing.number == 1

    def reset(self) -> None:
        self._leave(RUNNING, True)
        super().reset()


@defect("reset-in-second-buffer-stops", "a reset in the second buffer of stop-and-copy leaves the device in STOP")
class ResetInSecondBufferStops(MigrationRegion):
    def reset(self) -> None:
        outgoing = self._outgoing
        stops = self.state == STOP_AND_COPY and outgoing is not None and outgoing.number == 1 and outgoing.offered
        super().reset()
        if stops:
            self._move(0)


@defect(
    "resumed-in-part-remembered", "after a reset in RESUMING after the first buffer, the next buffer written is refused"
)
class InPartRemembered(MigrationRegion):
    _remembered = False

    def reset(self) -> None:
        incoming = self._incoming
        self._remembered = incoming is not None and incoming.number == 1 and not incoming.complete
        super().reset()

    def write_size(self, size: int) -> None:
        if self._remembered and self.state == RESUMING:
            self._remembered = False
            raise Refusal(EIO)
        super().write_size(size)


@defect(
    "resumed-in-part-outlives-user",
    "once a user has closed the device in RESUMING after some buffers, no first buffer is accepted",
)
class InPartOutlivesUser(MigrationRegion):
    _left = False

    def close(self) -> None:
        incoming = self._incoming
        self._left |= incoming is not None and incoming.number > 0 and not incoming.complete
        super().close()

    def _take(self, incoming: Incoming, size: int) -> None:
        if self._left and not incoming.number:
            raise Refusal(EIO)
        super()._take(incoming, size)


@defect(
    "resumed-again-first-registers", "a device resumed again without a reset takes the registers of the first state"
)
class ResumedAgainFirstRegisters(MigrationRegion):
    _first: bytes | None = None

    def _force(self, state: int) -> None:
        super()._force(state)
        self._first = None

    def _finish_resuming(self, incoming: Incoming) -> None:
        super()._finish_resuming(incoming)
        registers = incoming.registers()
        if registers is not None:
            self._first = self._first or registers
            self._machine.load(self._first)


@defect("saved-again-stale", "the second state saved since a reset is the first one again")
class SavedAgainStale(MigrationRegion):
    _first: tuple[bytes, bytes] | None = None

    def _force(self, state: int) -> None:
        super()._force(state)
        self._first = None

    def _complete_state(self) -> Image:
        if self._first is None:
            self._first = bytes(self._machine.memory.content), self._machine.save()
        return Image(memoryview(self._first[0]), self._first[1])


@defect(
    "cancelled-then-reset-empty",
    "after a cancelled pre-copy and a reset in the second buffer, nothing is saved",
)
class CancelledThenResetEmpty(MigrationRegion):
    _cancelled = _empty = False

    def _make_transition(self, new: int) -> None:
        cancels = self.state == PRE_COPY and new == RUNNING
        super()._make_transition(new)
        self._cancelled |= cancels

    def reset(self) -> None:
        outgoing = self._outgoing
        self._empty |= self._cancelled and self.state == STOP_AND_COPY and outgoing is not None and outgoing.number == 1
        self._cancelled = False
        super().reset()

    def _start_saving(self, new: int) -> Outgoing | None:
        outgoing = super()._start_saving(new)
        if outgoing is not None and new == STOP_AND_COPY and self._empty:
            self._empty = False
            outgoing.end()
        return outgoing


@defect("resumed-saves-nothing", "a resumed device has nothing to save until it is reset")
class ResumedSavesNothing(History):
    def _start_saving(self, new: int) -> Outgoing | None:
        outgoing = super()._start_saving(new)
        if outgoing is not None and self._resumed:
            outgoing.end()
        return outgoing


@defect("resumed-saves-stale", "a resumed device saves the memory that it had before")
class ResumedSavesStale(MigrationRegion):
    _before: bytes | None = None

    def _move(self, new: int) -> None:
        if new == RESUMING:
            self._before = bytes(self._machine.memory.content)
        super()._move(new)

    def _force(self, state: int) -> None:
        super()._force(state)
        self._before = None

    def _complete_state(self) -> Image:
        whole = super()._complete_state()
        return whole if self._before is None else Image(memoryview(self._before), self._machine.save())


@defect(
    "reset-in-buffer-freezes", "a device reset in the second buffer of stop-and-copy does not run until it is stopped"
)
class ResetInBufferFreezes(MigrationRegion):
    def reset(self) -> None:
        outgoing = self._outgoing
        freezes = self.state == STOP_AND_COPY and outgoing is not None and outgoing.number == 1 and outgoing.offered
        super().reset()
        if freezes:
            self._machine.halt()


@defect("resumed-never-stops", "a resumed device runs on in STOP until it is reset")
class ResumedNeverStops(History):
    def _works(self, state: int) -> bool:
        return super()._works(state) or (state == STOP and self._resumed)
