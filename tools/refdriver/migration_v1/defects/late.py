# SPDX-License-Identifier: GPL-2.0-only
"""A data section in which a part of a buffer appears late."""

from __future__ import annotations

from time import monotonic_ns

from ...device.device import Device
from ..region import MigrationRegion
from ..section import DataSection

_LATE_NS = 20_000_000


class LateByte(DataSection):
    """A buffer may lack its last byte for a while."""

    #: The place of the missing byte, its value, and the time at which it appears.
    _missing: tuple[int, int, int] | None = None

    def delay_last_byte(self) -> None:
        """Have the last byte of the present buffer appear later."""
        if self.present is not None and self.present[1] and self._missing is None:
            at = sum(self.present) - 1
            room = self.room(at)
            self._missing = (at, room[0], monotonic_ns() + _LATE_NS)
            room[0] = 0

    @property
    def awaits(self) -> bool:
        """Whether ``arrive`` has to be called from time to time."""
        return self._missing is not None

    def arrive(self) -> None:
        """Let the byte appear when it is due."""
        if self._missing is not None and monotonic_ns() >= self._missing[2]:
            at, byte, _ = self._missing
            self.room(at)[0] = byte
            self._missing = None

    def show(self, place: int, size: int) -> None:
        super().show(place, size)
        self._missing = None

    def withdraw(self) -> None:
        super().withdraw()
        self._missing = None


class Awaiting(Device):
    """Lets the late bytes of its data section appear."""

    def _sections(self) -> list[LateByte]:
        sections = [region.section for region in self.special.values() if isinstance(region, MigrationRegion)]
        return [section for section in sections if isinstance(section, LateByte)]

    @property
    def restless(self) -> bool:
        return super().restless or any(section.awaits for section in self._sections())

    def tick(self) -> None:
        super().tick()
        for section in self._sections():
            section.arrive()


class Hiding(DataSection):
    """A part of a buffer may be missing."""

    #: The place of the missing bytes, and their values.
    _hidden: tuple[int, bytes] | None = None

    def hide(self, start: int) -> None:
        """Have the present buffer lack its bytes from ``start`` on, until ``reveal``."""
        if self.present is not None and start < self.present[1]:
            place, size = self.present[0] + start, self.present[1] - start
            room = self.room(place)
            self._hidden = place, bytes(room[:size])
            room[:size] = bytes(size)

    def reveal(self) -> None:
        """Let the hidden bytes appear."""
        if self._hidden is not None:
            place, data = self._hidden
            self.room(place)[: len(data)] = data
            self._hidden = None

    def show(self, place: int, size: int) -> None:
        super().show(place, size)
        self._hidden = None

    def withdraw(self) -> None:
        super().withdraw()
        self._hidden = None
