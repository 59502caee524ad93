# SPDX-License-Identifier: GPL-2.0-only
"""Mappings next to each other, far from each other, and larger than most."""

from __future__ import annotations

from contextlib import nullcontext

from ...overlays import defect
from ..dirty import DirtyTracker, Mapped
from ..memory import GuestMemory
from .history import Beginning
from .recording import unrecorded
from .spoiling import WORD

#: The lower 32 bits.
_LOW_HALF = (1 << 32) - 1


class Bordered(GuestMemory):
    """Distinguishes the parts of a write that are in different mappings."""

    #: Whether the first part is recorded, and whether the others are.
    _noticed = (True, True)

    def write(self, address: int, data: bytes) -> None:
        mapping = self._at(address)
        room = mapping.address + mapping.size - address if mapping else len(data)
        if room >= len(data):
            super().write(address, data)
            return
        first, others = self._noticed
        for start, part, noticed in ((address, data[:room], first), (address + room, data[room:], others)):
            with nullcontext() if noticed else unrecorded(self.dirty):
                super().write(start, part)


@defect("write-across-first-only", "only the part of a write across several mappings that is in the first is recorded")
class AcrossFirstOnly(Bordered):
    _noticed = (True, False)


@defect("write-across-first-lost", "the part of a write across several mappings that is in the first is not recorded")
class AcrossFirstLost(Bordered):
    _noticed = (False, True)


@defect("write-failed-unseen", "a write that fails midway is not recorded, although its first pages have changed")
class FailedUnseen(GuestMemory):
    def write(self, address: int, data: bytes) -> None:
        with unrecorded(self.dirty):
            super().write(address, data)
        if data:
            self.dirty.wrote(address, len(data))


@defect("unmap-unpins-neighbour", "unmapping a mapping also unpins pages of another one in the same 64 pages")
class UnpinsNeighbour(GuestMemory):
    def unmap(self, address: int, size: int) -> None:
        super().unmap(address, size)
        word = WORD * self.dirty.page_size
        first = address // word * word
        end = -(-(address + size) // word) * word
        for pin in self.dirty.pins.meeting(first, end - first):
            self.dirty.pins.remove(pin)


@defect("tracking-new-below-untracked", "writes to a mapping made below all others while pages are tracked are lost")
class NewBelowUntracked(Beginning):
    def wrote(self, address: int, length: int) -> None:
        start = next((start for start, _ in self._mapped(address, 1)), address)
        if start in self._old or not self._old or start > min(self._old):
            super().wrote(address, length)


@defect("tracking-huge-wraps", "in a mapping larger than 4 GiB, writes are recorded at their offset modulo 4 GiB")
class HugeWraps(DirtyTracker):
    def wrote(self, address: int, length: int) -> None:
        start = next((start for start, _ in self._mapped(address, 1)), address)
        super().wrote(start + (address - start & _LOW_HALF), length)


@defect("tracking-fifth-mapping-lost", "only the first four mappings written are tracked")
class FifthMappingLost(DirtyTracker):
    def __init__(self, mapped: Mapped, scope: str) -> None:
        super().__init__(mapped, scope)
        self._slots: list[int] = []

    def wrote(self, address: int, length: int) -> None:
        start = next((start for start, _ in self._mapped(address, 1)), address)
        if start not in self._slots and len(self._slots) < 4:
            self._slots.append(start)
        if start in self._slots:
            super().wrote(address, length)

    def forget(self, address: int, size: int) -> None:
        super().forget(address, size)
        if address in self._slots:
            self._slots.remove(address)

    def stop(self) -> None:
        super().stop()
        self._slots.clear()
