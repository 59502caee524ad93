# SPDX-License-Identifier: GPL-2.0-only
"""How a buffer is offered: data_offset, data_size, and a device that fails in between."""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, EINVAL

from ...device.machine import SAVE_FAULT
from ...overlays import defect, part_of
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import PRE_COPY, STOP_AND_COPY
from ..stream import PASS_PRE_COPY, Outgoing
from .late import Awaiting, Hiding, LateByte
from .saving import at_last

_PAGE = 4096

# data_offset.


def refusing_offset(when: Callable[[int, Outgoing], bool]) -> type[MigrationRegion]:
    """A region that refuses data_offset while saving, once in each state; ``when`` is asked with that state."""

    class RefusingOffset(MigrationRegion):
        _has_refused_offset = False

        def _move(self, new: int) -> None:
            super()._move(new)
            self._has_refused_offset = False

        def read_offset(self) -> int:
            outgoing = self._outgoing
            due = outgoing is not None and outgoing.left() and when(self.state, outgoing)
            if due and not self._has_refused_offset:
                self._has_refused_offset = True
                raise Refusal(EAGAIN)
            return super().read_offset()

    return RefusingOffset


defect("offset-refused-while-pending", "in stop-and-copy the first read of data_offset answers EAGAIN")(
    refusing_offset(lambda state, outgoing: state == STOP_AND_COPY)
)
defect("offset-refused-in-pre-copy", "in pre-copy the first read of data_offset answers EAGAIN")(
    refusing_offset(lambda state, outgoing: state == PRE_COPY)
)
defect("offset-refused-at-last", "the first read of data_offset for the last buffer answers EAGAIN")(
    refusing_offset(lambda state, outgoing: at_last(outgoing))
)


def advancing(*states: int) -> type[MigrationRegion]:
    """A region that advances to the next buffer whenever data_offset is read again in one of some states."""

    class Advancing(MigrationRegion):
        def read_offset(self) -> int:
            outgoing = self._outgoing
            if outgoing is not None and self.state in states and outgoing.offered and not at_last(outgoing):
                outgoing.advance()
            return super().read_offset()

    return Advancing


defect("offset-read-advances", "each further read of data_offset advances to the next buffer")(
    advancing(PRE_COPY, STOP_AND_COPY)
)
defect("offset-read-advances-in-pre-copy", "in pre-copy each further read of data_offset advances to the next buffer")(
    advancing(PRE_COPY)
)


@defect("offset-rereads-drift", "from the second buffer on, a further read of data_offset gives 8 bytes past the data")
class RereadsDrift(MigrationRegion):
    #: The buffer for which data_offset was read.
    _reported: tuple[Outgoing | None, int] = (None, 0)

    def read_offset(self) -> int:
        outgoing = self._outgoing
        buffer = outgoing, 0 if outgoing is None else outgoing.number
        again, self._reported = buffer == self._reported, buffer
        offset = super().read_offset()
        return offset + 8 if again and outgoing is not None and outgoing.offered and outgoing.number else offset


class Tampering(MigrationRegion):
    """May remove something from a buffer that data_offset has just made available."""

    def read_offset(self) -> int:
        outgoing = self._outgoing
        fresh = outgoing is not None and not outgoing.offered
        offset = super().read_offset()
        if fresh and outgoing is not None:
            self._tamper(outgoing)
        return offset

    def _tamper(self, outgoing: Outgoing) -> None:
        """The buffer is available."""


@defect("offset-returns-early", "the read of data_offset returns 20 ms before the last byte of the buffer is there")
class ReturnsEarly(Tampering):
    def _is_early(self, outgoing: Outgoing) -> bool:
        return True

    def _work(self) -> None:
        if self._outgoing is None or not self._is_early(self._outgoing):
            super()._work()

    def _tamper(self, outgoing: Outgoing) -> None:
        super()._tamper(outgoing)
        if self._is_early(outgoing):
            assert isinstance(self.section, LateByte)
            self.section.delay_last_byte()


@defect(
    "offset-returns-early-later",
    "from the second buffer on, data_offset returns 20 ms before the last byte of the buffer is there",
)
class ReturnsEarlyLater(ReturnsEarly):
    def _is_early(self, outgoing: Outgoing) -> bool:
        return outgoing.number > 0


part_of("offset-returns-early", "offset-returns-early-later")(LateByte)
part_of("offset-returns-early", "offset-returns-early-later")(Awaiting)

# Data that comes late.


def lazy(start: int, first: int) -> type[MigrationRegion]:
    """A region whose buffers, except the ``first`` few, lack their bytes from ``start`` on until data_size is read."""

    class Lazy(Tampering):
        def _tamper(self, outgoing: Outgoing) -> None:
            super()._tamper(outgoing)
            if outgoing.number >= first:
                assert isinstance(self.section, Hiding)
                self.section.hide(start)

        def read_size(self) -> int:
            size = super().read_size()
            assert isinstance(self.section, Hiding)
            self.section.reveal()
            return size

    return Lazy


defect("data-lazy-on-size", "the data appears only when data_size is read")(lazy(start=0, first=0))
defect("data-lazy-later", "from the second buffer on, the data appears only when data_size is read")(
    lazy(start=0, first=1)
)
defect("data-lazy-past-page", "the data past the first page of a buffer appears only when data_size is read")(
    lazy(start=_PAGE, first=0)
)
part_of("data-lazy-on-size", "data-lazy-later", "data-lazy-past-page")(Hiding)

# data_size.


def empty_once(when: Callable[[Outgoing], bool]) -> type[Outgoing]:
    """Buffers of which one is empty."""

    class EmptyOnce(Outgoing):
        _was_empty = False

        def offer(self, room: memoryview) -> int:
            if self._was_empty or not when(self):
                return super().offer(room)
            self._was_empty = self.offered = True
            return 0

    return EmptyOnce


defect("size-zero-while-pending", "the first iteration has a data_size of 0 although bytes are pending")(
    empty_once(lambda outgoing: True)
)
defect("size-zero-in-pre-copy", "the first iteration in pre-copy has a data_size of 0 although bytes are pending")(
    empty_once(lambda outgoing: outgoing.which == PASS_PRE_COPY)
)
defect("size-zero-before-last", "an iteration with a data_size of 0 comes before the last buffer")(empty_once(at_last))


@defect("size-off-by-one", "data_size is one less than the size made available")
class SizeOffByOne(Outgoing):
    def size(self) -> int:
        return max(super().size() - 1, 0)


@defect("size-read-once", "a second read of data_size gives 0")
class SizeReadOnce(Outgoing):
    _was_read = False

    def advance(self) -> None:
        super().advance()
        self._was_read = False

    def size(self) -> int:
        size = super().size()
        again, self._was_read = self._was_read, self._was_read or size > 0
        return 0 if again else size


@defect("data-size-read-refused", "reading data_size while saving answers EINVAL")
class SizeReadRefused(MigrationRegion):
    def read_size(self) -> int:
        if self._outgoing is not None:
            raise Refusal(EINVAL)
        return super().read_size()


@defect("size-refused-at-last", "reading data_size of the last buffer answers EINVAL")
class SizeRefusedAtLast(MigrationRegion):
    def read_size(self) -> int:
        if self._outgoing is not None and at_last(self._outgoing):
            raise Refusal(EINVAL)
        return super().read_size()


@defect("buffer-never-advances", "the same buffer is offered forever")
class NeverAdvances(Outgoing):
    def advance(self) -> None:
        """Stay."""


@defect("buffer-resent", "the first buffer is offered again instead of the second one")
class Resent(Outgoing):
    def offer(self, room: memoryview) -> int:
        size = super().offer(room)
        if self.number == 1:
            self._size, _ = self._put(room, 0, self.step, 0)
            return self._size
        return size


# A device that fails.


class Hushing(MigrationRegion):
    """Does not report a fault while saving."""

    def _offer(self, outgoing: Outgoing) -> None:
        if not outgoing.offered and outgoing.left() and self._fails_next() and self._is_hushed():
            self._machine.count_down(SAVE_FAULT)
            self._continue(outgoing)
        else:
            super()._offer(outgoing)

    def _fails_next(self) -> bool:
        """Whether the device has to fail at the next buffer."""
        return int.from_bytes(self._machine.read(SAVE_FAULT, 4), "little") == 1

    def _is_hushed(self) -> bool:
        return True

    def _continue(self, outgoing: Outgoing) -> None:
        """Instead of failing, offer a buffer of garbage."""
        super()._offer(outgoing)
        if self.section.present is not None:
            place, size = self.section.present
            self.section.room(place)[:size] = b"\xa5" * size


@defect("fault-truncates", "a fault while saving ends the stream silently")
class FaultTruncates(Hushing):
    def _continue(self, outgoing: Outgoing) -> None:
        outgoing.end()

    def read_pending(self) -> int:
        pending = super().read_pending()
        if pending and self._outgoing is not None and self._fails_next():
            self._machine.count_down(SAVE_FAULT)
            self._outgoing.end()
            return 0
        return pending


@defect("fault-empties-buffer", "a fault while saving gives a data_size of 0 instead of an error")
class FaultEmptiesBuffer(Hushing):
    def _continue(self, outgoing: Outgoing) -> None:
        outgoing.offered = True


@defect("fault-bad-data", "a fault while saving is not reported, and the buffer holds garbage")
class FaultBadData(Hushing):
    pass


@defect("fault-in-pre-copy-silent", "a fault in pre-copy is not reported, and the buffer holds garbage")
class FaultInPreCopySilent(Hushing):
    def _is_hushed(self) -> bool:
        return self.state == PRE_COPY
