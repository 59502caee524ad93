# SPDX-License-Identifier: GPL-2.0-only
"""Work that is in flight when the device is stopped, and what becomes of it."""

from __future__ import annotations

from ...overlays import defect
from ..machine import DMA_LENGTH, DOORBELL, IMAGE, STATUS, Machine


@defect(
    "work-dropped-at-stop", "a doorbell is carried out when STATUS is read next, or never if the device stops before"
)
class DroppedAtStop(Machine):
    _waiting: int | None = None

    def _set(self, offset: int, value: int) -> None:
        if offset == DOORBELL and self.working:
            self._waiting = value
            self._values[STATUS] = 0
        else:
            super()._set(offset, value)

    def read(self, offset: int, count: int) -> bytes:
        if offset == STATUS and self._waiting is not None and self.working:
            value, self._waiting = self._waiting, None
            self._dma(bytes([value & 0xFF]) * self._values[DMA_LENGTH])
        return super().read(offset, count)

    def halt(self) -> None:
        super().halt()
        self._waiting = None


@defect("work-status-not-saved", "what became of the last doorbell is no part of the saved state")
class StatusNotSaved(Machine):
    def save(self) -> bytes:
        control, counter, address, length, _status, *scratch = IMAGE.unpack(super().save())
        return IMAGE.pack(control, counter, address, length, 0, *scratch)
