# SPDX-License-Identifier: GPL-2.0-only
"""Trackers that treat mappings present at START, or pinned pages, in their own way."""

from __future__ import annotations

from ..dirty import DirtyTracker, Mapped
from ..pages import Bitmap
from ..pins import Pin
from ..ranges import EVERYWHERE


class Beginning(DirtyTracker):
    """Remembers the mappings and pins that were there at START."""

    def __init__(self, mapped: Mapped, scope: str) -> None:
        super().__init__(mapped, scope)
        #: Addresses of mappings.
        self._old: set[int] = set()
        self._old_pins: set[Pin] = set()

    def start(self) -> None:
        again = self.tracking
        super().start()
        if not again:
            self._old = {start for start, _ in self._mapped(*EVERYWHERE)}
            self._old_pins = set(self.pins.meeting(*EVERYWHERE))

    def stop(self) -> None:
        super().stop()
        self._old.clear()
        self._old_pins.clear()

    def forget(self, address: int, size: int) -> None:
        super().forget(address, size)
        self._old.discard(address)


class Ignoring(Beginning):
    """Ignores some pins."""

    def _knows(self, pin: Pin) -> bool:
        return True

    def unpin(self, pin: Pin) -> None:
        if self._knows(pin):
            super().unpin(pin)
        else:
            self.pins.remove(pin)

    def _pinned(self, address: int, size: int) -> list[Pin]:
        return [pin for pin in super()._pinned(address, size) if self._knows(pin)]


class Concealing(Beginning):
    """Reports some pinned pages only once they are unpinned or unmapped."""

    _unmapping = False

    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        self._unmapping = True
        bitmap = super().get_unmapped(address, size, room)
        self._unmapping = False
        return bitmap

    def _conceals(self, pin: Pin) -> bool:
        return False

    def _pinned(self, address: int, size: int) -> list[Pin]:
        return [pin for pin in super()._pinned(address, size) if not self._conceals(pin)]
