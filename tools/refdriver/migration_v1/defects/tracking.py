# SPDX-License-Identifier: GPL-2.0-only
"""A container that takes the device's state, and its reset, for a matter of its own."""

from __future__ import annotations

from errno import EBUSY

from ...container.container import Container
from ...container.dirty import DirtyTracker
from ...container.memory import GuestMemory
from ...container.pages import Bitmap
from ...container.pins import Pin
from ...container.ranges import EVERYWHERE
from ...device.device import Device
from ...overlays import defect, part_of
from ...refusal import Refusal
from ...socket import wire
from ...socket.requests import Answer, fields
from ..migration import Migration
from ..states import PRE_COPY, RESUMING, RUNNING, RUNNING_BIT, STOP, STOP_AND_COPY


class Watching(DirtyTracker):
    """Knows the state of the device."""

    state = RUNNING

    @property
    def _stopped(self) -> bool:
        return not self.state & RUNNING_BIT

    def meet(self, state: int) -> None:
        """The device has gone to a state."""
        self.state = state


@defect("states-start-refused", "START is refused while the device is not in running")
class StartRefused(Watching):
    def start(self) -> None:
        if self.state != RUNNING:
            raise Refusal(EBUSY)
        super().start()


@defect("states-stop-ignored", "in stop-and-copy the first STOP is ignored, and reported as done")
class StopIgnored(Watching):
    _ignores = False

    def meet(self, state: int) -> None:
        super().meet(state)
        self._ignores = state == STOP_AND_COPY

    def stop(self) -> None:
        if not self._ignores:
            super().stop()
        self._ignores = False


@defect("states-bitmap-refused", "in stop-and-copy and in stop no bitmap is given")
class BitmapRefused(Watching):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        if self.state in (STOP_AND_COPY, STOP):
            raise Refusal(EBUSY)
        return super().get(address, size, room)


@defect("states-bitmap-clear", "in stop a bitmap shows no dirty page")
class BitmapClear(Watching):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        return Bitmap(room) if self.state == STOP else super().get(address, size, room)


@defect("states-stopping-forgets", "what was written is forgotten when the device stops")
class StoppingForgets(Watching):
    def meet(self, state: int) -> None:
        super().meet(state)
        if self._stopped:
            self._written.clear()


@defect("states-stopping-forgets-pins", "pinned pages are not reported while the device is stopped")
class StoppingForgetsPins(Watching):
    def _pinned(self, address: int, size: int) -> list[Pin]:
        return [] if self._stopped else super()._pinned(address, size)


@defect("states-pre-copy-unseen", "what the device writes in pre-copy is not reported")
class PreCopyUnseen(Watching):
    def wrote(self, address: int, length: int) -> None:
        if self.state != PRE_COPY:
            super().wrote(address, length)


@defect("states-unmapping-clear", "in resuming the bitmap of an unmapping shows no dirty page")
class UnmappingClear(Watching):
    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        return Bitmap(room) if self.state == RESUMING else super().get_unmapped(address, size, room)


@defect("states-mapping-refused", "in resuming no memory can be mapped")
class MappingRefused(GuestMemory):
    def map(self, flags: int, offset: int, address: int, size: int, fds: tuple[int, ...]) -> None:
        if isinstance(self.dirty, Watching) and self.dirty.state == RESUMING:
            raise Refusal(EBUSY)
        super().map(flags, offset, address, size, fds)


@defect("states-unmapping-refused", "the first unmapping in stop is refused, unless it wants the bitmap")
class UnmappingRefused(Container):
    _refused = False

    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        stopped = isinstance(self._dirty, Watching) and self._dirty.state == STOP
        refuses, self._refused = stopped and not self._refused and not fields(wire.UNMAP, body)[1], stopped
        if refuses:
            raise Refusal(EBUSY)
        return super()._dma_unmap(body, fds)


part_of("states-mapping-refused", "states-unmapping-refused")(Watching)


@part_of(
    *("states-start-refused", "states-stop-ignored", "states-bitmap-refused", "states-bitmap-clear"),
    *("states-stopping-forgets", "states-stopping-forgets-pins", "states-pre-copy-unseen", "states-unmapping-clear"),
    *("states-mapping-refused", "states-unmapping-refused"),
)
class Showing(Migration):
    """Tells the tracker of the state."""

    def _move(self, new: int) -> None:
        super()._move(new)
        if isinstance(self._machine.guest.dirty, Watching):
            self._machine.guest.dirty.meet(new)


@defect("reset-ends-tracking", "a reset of the device ends tracking")
class ResetEndsTracking(Device):
    def reset(self) -> None:
        super().reset()
        self.guest.dirty.stop()


@defect("reset-forgets-written", "a reset of the device forgets what was written")
class ResetForgetsWritten(Device):
    def reset(self) -> None:
        super().reset()
        self.guest.dirty.forget(*EVERYWHERE)
