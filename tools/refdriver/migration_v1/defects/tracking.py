# SPDX-License-Identifier: GPL-2.0-only
"""A container that wrongly reacts to the device's state and its reset."""

from __future__ import annotations

from errno import EBUSY

from ...container.container import Container
from ...container.defects.recording import Distinguishing
from ...container.dirty import DirtyTracker
from ...container.memory import GuestMemory
from ...container.pages import Bitmap, PageSet
from ...container.pins import Pin
from ...container.ranges import EVERYWHERE
from ...device.defects.streaming import Streaming
from ...device.device import Device
from ...overlays import REGISTRY, defect, part_of
from ...refusal import Refusal
from ...socket import wire
from ...socket.requests import Answer, fields
from ..migration import Migration
from ..states import PRE_COPY, RESUMING, RUNNING, RUNNING_BIT, STOP, STOP_AND_COPY


class Watching(DirtyTracker):
    """Knows the state of the device."""

    state = RUNNING

    def meet(self, new: int) -> None:
        """The device enters a state."""
        self.state = new

    @property
    def _stopped(self) -> bool:
        return not self.state & RUNNING_BIT


# -- START and STOP ---------------------------------------------------------------------------------------------------


@defect("states-start-refused", "START is refused unless the device is in running")
class StartRefused(Watching):
    def start(self) -> None:
        if self.state != RUNNING:
            raise Refusal(EBUSY)
        super().start()


@defect("states-start-ends", "tracking that began in pre-copy ends when pre-copy is left")
class StartEnds(Watching):
    _ends = False

    def start(self) -> None:
        super().start()
        self._ends = self.state == PRE_COPY

    def meet(self, new: int) -> None:
        if self._ends and new != PRE_COPY:
            self._ends = False
            self.stop()
        super().meet(new)


@defect("states-start-without-pins", "START in stop-and-copy leaves out the pages pinned by then")
class StartWithoutPins(Watching):
    _left_out: tuple[Pin, ...] = ()

    def start(self) -> None:
        super().start()
        self._left_out = tuple(self.pins.meeting(*EVERYWHERE)) if self.state == STOP_AND_COPY else ()

    def _pinned(self, address: int, size: int) -> list[Pin]:
        return [pin for pin in super()._pinned(address, size) if pin not in self._left_out]


@defect("states-stop-ignored", "in stop-and-copy the first STOP is ignored, and reported as done")
class StopIgnored(Watching):
    _ignores = False

    def meet(self, new: int) -> None:
        super().meet(new)
        self._ignores = new == STOP_AND_COPY

    def stop(self) -> None:
        if not self._ignores:
            super().stop()
        self._ignores = False


@defect("states-stop-undone", "tracking stopped in stop-and-copy continues when stop-and-copy is left for stop")
class StopUndone(Watching):
    _undone = False

    def stop(self) -> None:
        self._undone = self.tracking and self.state == STOP_AND_COPY
        super().stop()

    def start(self) -> None:
        self._undone = False
        super().start()

    def meet(self, new: int) -> None:
        super().meet(new)
        self.tracking |= self._undone and new == STOP
        self._undone = False


@defect("states-stop-keeps", "STOP in resuming keeps the written pages for the next START")
class StopKeeps(Watching):
    def stop(self) -> None:
        if self.state == RESUMING:
            self.tracking = False
        else:
            super().stop()


# -- bitmaps ----------------------------------------------------------------------------------------------------------


@defect("states-bitmap-refused", "in stop-and-copy and in stop, GET_BITMAP is refused")
class BitmapRefused(Watching):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        if self.state in (STOP_AND_COPY, STOP):
            raise Refusal(EBUSY)
        return super().get(address, size, room)


@defect("states-bitmap-clear", "in stop a bitmap shows no dirty page")
class BitmapClear(Watching):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        return Bitmap(room) if self.state == STOP else super().get(address, size, room)


@defect("states-bitmap-clears-all", "a bitmap in stop-and-copy also clears the record of other mappings")
class BitmapClearsAll(Watching):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        if self.state == STOP_AND_COPY:
            self.forget(*EVERYWHERE)
        return bitmap


@defect("states-bitmap-kept", "a bitmap in pre-copy does not clear the pages that it reports")
class BitmapKept(Watching):
    def _clear(self, first: int, end: int) -> None:
        if self.state != PRE_COPY:
            super()._clear(first, end)


@defect("states-bitmap-again", "pages reported in stop-and-copy are reported again in stop")
class BitmapAgain(Watching):
    _last: tuple[int, int, list[tuple[int, int]]] = (0, 0, [])

    def get(self, address: int, size: int, room: int) -> Bitmap:
        found = self._written.within(*self._pages(address, size))
        bitmap = super().get(address, size, room)
        if self.state == STOP_AND_COPY and found:
            self._last = *self._pages(address, size), found
        return bitmap

    def meet(self, new: int) -> None:
        if self.state == STOP_AND_COPY and new == STOP and self.tracking:
            for page, bits in self._last[2]:
                for bit in range(bits.bit_length()):
                    if bits >> bit & 1:
                        self._written.add(page + bit, page + bit + 1)
        self._last = (0, 0, [])
        super().meet(new)


# -- the record -------------------------------------------------------------------------------------------------------


@defect("states-stopping-forgets", "written pages are forgotten when the device stops")
class StoppingForgets(Watching):
    def meet(self, new: int) -> None:
        super().meet(new)
        if self._stopped:
            self._written.clear()


@defect("states-last-round-forgets", "written pages are forgotten when pre-copy is left for stop-and-copy")
class LastRoundForgets(Watching):
    def meet(self, new: int) -> None:
        if self.state == PRE_COPY and new == STOP_AND_COPY:
            self._written.clear()
        super().meet(new)


@defect("states-resumed-forgets", "written pages are forgotten when resuming is left")
class ResumedForgets(Watching):
    def meet(self, new: int) -> None:
        if self.state == RESUMING:
            self._written.clear()
        super().meet(new)


@defect("states-stopping-forgets-pins", "pinned pages are not reported while the device is stopped")
class StoppingForgetsPins(Watching):
    def _pinned(self, address: int, size: int) -> list[Pin]:
        return [] if self._stopped else super()._pinned(address, size)


@defect("states-pre-copy-unseen", "pages that the device writes in pre-copy are not reported")
class PreCopyUnseen(Watching):
    def wrote(self, address: int, length: int) -> None:
        if self.state != PRE_COPY:
            super().wrote(address, length)


@defect(
    "states-pre-copy-stream-unseen", "pages that the DMA stream writes in pre-copy are not reported; other writes are"
)
class PreCopyStreamUnseen(Watching, Distinguishing):
    def wrote(self, address: int, length: int) -> None:
        if not (self.streaming and self.state == PRE_COPY):
            super().wrote(address, length)


part_of("states-pre-copy-stream-unseen")(Streaming)


@defect("states-pre-copy-dropped", "pages written in pre-copy are forgotten when it is left")
class PreCopyDropped(Watching):
    _then: PageSet | None = None

    def wrote(self, address: int, length: int) -> None:
        super().wrote(address, length)
        if self.state == PRE_COPY:
            self._then = self._then or PageSet()
            self._then.add(address // self.page_size, (address + length - 1) // self.page_size + 1)

    def meet(self, new: int) -> None:
        for page, bits in self._then.within(0, 1 << 52) if self._then else ():
            self._written.discard(page, page + bits.bit_length())
        self._then = None
        super().meet(new)


# -- memory -----------------------------------------------------------------------------------------------------------


class Minding(GuestMemory):
    """Also knows the state."""

    @property
    def _state(self) -> int:
        return self.dirty.state if isinstance(self.dirty, Watching) else RUNNING


@defect("states-mapping-refused", "in resuming, no memory can be mapped")
class MappingRefused(Minding):
    def map(self, flags: int, offset: int, address: int, size: int, fds: tuple[int, ...]) -> None:
        if self._state == RESUMING:
            raise Refusal(EBUSY)
        super().map(flags, offset, address, size, fds)


@defect("states-mapping-refused-stopped", "in stop, no memory can be mapped")
class MappingRefusedStopped(Minding):
    def map(self, flags: int, offset: int, address: int, size: int, fds: tuple[int, ...]) -> None:
        if self._state == STOP:
            raise Refusal(EBUSY)
        super().map(flags, offset, address, size, fds)


class Untracked(Watching):
    """Does not record writes to some ranges."""

    #: The size of each in bytes, by address.
    untracked: dict[int, int]

    def wrote(self, address: int, length: int) -> None:
        ranges = getattr(self, "untracked", {})
        if not any(start <= address < start + size for start, size in ranges.items()):
            super().wrote(address, length)


class Misplacing(Minding):
    """Does not track memory that was mapped in some state."""

    _where: int

    def map(self, flags: int, offset: int, address: int, size: int, fds: tuple[int, ...]) -> None:
        super().map(flags, offset, address, size, fds)
        assert isinstance(self.dirty, Untracked)
        untracked = self.dirty.__dict__.setdefault("untracked", {})
        untracked.pop(address, None)
        if self._state == self._where:
            untracked[address] = size


@defect("states-new-mapping-untracked", "memory mapped in pre-copy is not tracked")
class NewMappingUntracked(Misplacing):
    _where = PRE_COPY


@defect("states-target-memory-untracked", "memory mapped in resuming is not tracked")
class TargetMemoryUntracked(Misplacing):
    _where = RESUMING


part_of("states-new-mapping-untracked", "states-target-memory-untracked")(Untracked)


@defect("states-unmapping-clear", "in resuming, the bitmap of an unmapping shows no dirty page")
class UnmappingClear(Watching):
    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        return Bitmap(room) if self.state == RESUMING else super().get_unmapped(address, size, room)


@defect("states-unmapping-refused", "the first unmapping in stop is refused unless it asks for the bitmap")
class UnmappingRefused(Container):
    _refused = False

    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        stopped = isinstance(self._dirty, Watching) and self._dirty.state == STOP
        refuses, self._refused = stopped and not self._refused and not fields(wire.UNMAP, body)[1], stopped
        if refuses:
            raise Refusal(EBUSY)
        return super()._dma_unmap(body, fds)


part_of("states-mapping-refused", "states-mapping-refused-stopped", "states-unmapping-refused")(Watching)


# -- a reset of the device --------------------------------------------------------------------------------------------


@defect("reset-ends-tracking", "a reset of the device ends tracking")
class ResetEndsTracking(Device):
    def reset(self) -> None:
        super().reset()
        self.guest.dirty.stop()


@defect("reset-starts-tracking", "a reset of the device starts tracking if memory is mapped")
class ResetStartsTracking(Device):
    def reset(self) -> None:
        super().reset()
        self.guest.dirty.tracking |= bool(self.guest.extents(*EVERYWHERE))


@defect("reset-forgets-written", "a reset of the device forgets the written pages")
class ResetForgetsWritten(Device):
    def reset(self) -> None:
        super().reset()
        self.guest.dirty.forget(*EVERYWHERE)


@defect("reset-forgets-pinned", "a reset of the device forgets the pages that had been pinned until then")
class ResetForgetsPinned(Device):
    def reset(self) -> None:
        pinned = self.guest.dirty.pins.meeting(*EVERYWHERE)
        super().reset()
        for pin in pinned:
            self.guest.dirty.forget(pin.address, pin.size)


@defect("reset-stopped-ends-tracking", "a reset of a stopped device ends tracking")
class ResetStoppedEndsTracking(Device):
    def reset(self) -> None:
        tracker = self.guest.dirty
        ends = isinstance(tracker, Watching) and tracker.state == STOP
        super().reset()
        if ends:
            tracker.stop()


part_of("reset-stopped-ends-tracking")(Watching)


@defect("reset-unmaps", "a reset of the device unmaps all memory")
class ResetUnmaps(Device):
    def reset(self) -> None:
        super().reset()
        self.guest.unmap_all()


# -- what informs the container ---------------------------------------------------------------------------------------


@part_of(*(name for name, each in REGISTRY.items() if any(issubclass(part, Watching) for part in each.overlays)))
class Showing(Migration):
    """Reports the state to the tracker."""

    def _move(self, new: int) -> None:
        super()._move(new)
        if isinstance(self._machine.guest.dirty, Watching):
            self._machine.guest.dirty.meet(new)
