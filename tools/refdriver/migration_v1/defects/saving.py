# SPDX-License-Identifier: GPL-2.0-only
"""What is saved, and what pending_bytes reads."""

from __future__ import annotations

from errno import EAGAIN

from ...overlays import defect, part_of
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import PRE_COPY, STATES, STOP, STOP_AND_COPY
from ..stream import PASS_COMPLETE, Image, Incoming, Outgoing

_PAGE = 4096

#: More reads of pending_bytes than this before a buffer are too many for a broken device.
_OFTEN = 20


def at_last(outgoing: Outgoing) -> bool:
    """Whether the present buffer is the last one."""
    return 0 < outgoing.unsent <= outgoing.step


def offering_nothing(before: tuple[int, ...], states: tuple[int, ...]) -> type[MigrationRegion]:
    """A region that offers nothing in some states if they are entered from certain others."""

    class OfferingNothing(MigrationRegion):
        def _start_saving(self, new: int) -> Outgoing | None:
            outgoing = super()._start_saving(new)
            if outgoing is not None and self.state in before and new in states:
                outgoing.end()
            return outgoing

    return OfferingNothing


defect("saving-ignored", "no data is ever offered: pending_bytes stays 0")(
    offering_nothing(STATES, (PRE_COPY, STOP_AND_COPY))
)
defect("pre-copy-silent", "in pre-copy no data is ever offered")(offering_nothing(STATES, (PRE_COPY,)))
defect("pre-copy-says-all", "after pre-copy no data is offered in stop-and-copy")(
    offering_nothing((PRE_COPY,), (STOP_AND_COPY,))
)
defect("stop-saves-nothing", "no data is offered if stop-and-copy is entered from STOP")(
    offering_nothing((STOP,), (STOP_AND_COPY,))
)


@defect("save-stream-truncated", "the stream ends before its last buffer")
class Truncated(Outgoing):
    def __init__(self, image: Image, which: int, largest: int, shares: tuple[int, ...]) -> None:
        super().__init__(image, which, largest, shares)
        if self.unsent:
            self._end -= (self.unsent - 1) % self.step + 1


class Undemanding(Incoming):
    """Accepts a part of a state as a whole one."""

    def registers(self) -> bytes | None:
        return bytes(self._registers) if self.touched else None


part_of("save-stream-truncated")(Undemanding)


@defect("save-first-page-only", "only the first page of each buffer is filled; the rest is zero")
class FirstPageOnly(Outgoing):
    def _fill(self, room: memoryview, start: int, length: int) -> None:
        super()._fill(room, start, length)
        room[_PAGE:length] = bytes(max(length - _PAGE, 0))


@defect("saved-state-dropped", "stop-and-copy -> STOP clears the device memory")
class SavedStateDropped(MigrationRegion):
    def _make_transition(self, new: int) -> None:
        made = self.state, new
        super()._make_transition(new)
        if made == (STOP_AND_COPY, STOP):
            self._machine.memory.clear()


class Snapshot(MigrationRegion):
    """Keeps the state as it was when pre-copy was entered."""

    _snapshot = memoryview(b""), b""

    def _start_saving(self, new: int) -> Outgoing | None:
        if new == PRE_COPY:
            self._snapshot = memoryview(bytearray(self._machine.memory.content)), self._machine.save()
        return super()._start_saving(new)


@defect("pre-copy-snapshot-only", "the stream after a pre-copy holds the state as it was when pre-copy was entered")
class SnapshotOnly(Snapshot):
    def _complete_state(self) -> Image:
        return Image(*self._snapshot) if self.state == PRE_COPY else super()._complete_state()


@defect(
    "pre-copy-registers-stale", "the stream after a pre-copy holds the registers as they were when pre-copy was entered"
)
class RegistersStale(Snapshot):
    def _complete_state(self) -> Image:
        if self.state == PRE_COPY:
            return Image(self._machine.memory.content, self._snapshot[1])
        return super()._complete_state()


@defect(
    "pre-copy-drops-late-change", "changes to the second half of memory made after pre-copy offered it are not sent"
)
class DropsLateChange(Snapshot):
    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        if self.state == PRE_COPY:
            part = slice(outgoing.position, outgoing.position + outgoing.length)
            self._snapshot[0][part] = self._machine.memory.content[part]

    def _complete_state(self) -> Image:
        offered = self._outgoing
        if self.state != PRE_COPY or offered is None:
            return super()._complete_state()
        memory = memoryview(bytearray(self._machine.memory.content))
        late = slice(len(memory) // 2, offered.position + offered.length)
        memory[late] = self._snapshot[0][late]
        return Image(memory, self._machine.save())


class AskedAgain(Outgoing):
    """Counts the reads of pending_bytes since the last buffer."""

    asked = 0
    #: Whether there ever was a second one.
    asked_again = False

    def pending(self) -> int:
        if not self.offered and self.asked and self.left():
            self.asked_again = True
            self._ask_again()
        pending = super().pending()
        self.asked += 1
        return pending

    def _ask_again(self) -> None:
        """It is read once more before a buffer, which must make no difference (kabi v23:200-201)."""

    def advance(self) -> None:
        super().advance()
        self.asked = 0


@defect("pending-read-advances", "each further read of pending_bytes before a buffer drops one buffer")
class PendingReadAdvances(AskedAgain):
    def _ask_again(self) -> None:
        super()._ask_again()
        self.length = min(self.step, self.unsent)
        self.advance()


@defect("pending-read-changes-buffer", "a further read of pending_bytes corrupts the first byte of the next buffer")
class PendingReadChangesBuffer(AskedAgain):
    _spoilt = False

    def _ask_again(self) -> None:
        super()._ask_again()
        self._spoilt = True

    def offer(self, room: memoryview) -> int:
        size = super().offer(room)
        if self._spoilt:
            room[0] ^= 0xFF
            self._spoilt = False
        return size


@defect(
    "pending-read-forgets-changes",
    "after a second read of pending_bytes in pre-copy, the state sent is that on entering pre-copy",
)
class PendingReadForgetsChanges(Snapshot):
    def _complete_state(self) -> Image:
        offered = self._outgoing
        if self.state == PRE_COPY and isinstance(offered, AskedAgain) and offered.asked_again:
            return Image(*self._snapshot)
        return super()._complete_state()


part_of("pending-read-forgets-changes")(AskedAgain)


@defect("pending-read-often-ends", "after more than twenty reads before a buffer, pending_bytes reads 0 from then on")
class PendingReadOftenEnds(AskedAgain):
    def _ask_again(self) -> None:
        super()._ask_again()
        if self.asked >= _OFTEN:
            self.end()


@defect("pending-returns", "in stop-and-copy pending_bytes is 0 once before the last buffer, then nonzero again")
class PendingReturns(Outgoing):
    _has_paused = False

    def pending(self) -> int:
        pending = super().pending()
        if self.which == PASS_COMPLETE and at_last(self) and not self._has_paused:
            self._has_paused = True
            return 0
        return pending


@defect("pending-returns-later", "in stop-and-copy pending_bytes is 0 twice after the last buffer, then 1")
class PendingReturnsLater(Outgoing):
    _zeros = 0

    def pending(self) -> int:
        pending = super().pending()
        if self.which == PASS_COMPLETE and not self.left():
            self._zeros += 1
            return int(self._zeros > 2)
        return pending


@defect("pending-zero-early", "pending_bytes reads 0 while the last buffer is still to come")
class PendingZeroEarly(Outgoing):
    def pending(self) -> int:
        pending = super().pending()
        return 0 if at_last(self) else pending


@defect("two-pending-reads-needed", "a buffer is offered only after a second read of pending_bytes")
class TwoPendingReadsNeeded(AskedAgain):
    def offer(self, room: memoryview) -> int:
        if self.asked < 2:
            raise Refusal(EAGAIN)
        return super().offer(room)
