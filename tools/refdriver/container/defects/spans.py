# SPDX-License-Identifier: GPL-2.0-only
"""Ranges that are not one mapping: cut, across several mappings, or with holes."""

from __future__ import annotations

from errno import EINVAL

from ...overlays import defect, part_of
from ...refusal import Refusal
from ...socket import wire
from ...socket.requests import Answer, fields
from ..container import Container
from ..dirty import DirtyTracker, bitmap_size
from ..memory import GuestMemory
from ..pages import Bitmap
from ..ranges import EVERYWHERE, check_whole
from .spoiling import Range, Spoilt, ones, spoiling

#: Bytes of the largest bitmap that is put together from parts.
_MOST_BITS = 1 << 23
_FAR = 1 << 20


class Across(Container):
    """Unmaps all mappings of a range."""

    def _check_unmap(self, address: int, size: int) -> int:
        extents = self._guest.extents(address, size)
        check_whole(extents, address, size)
        return sum(length for _, length in extents) if extents else super()._check_unmap(address, size)


def _from_each_start(bits: int, of: Range) -> int:
    """The bits of each mapping from bit 0 on."""
    made = 0
    for low, high in of.mapped:
        made |= (bits & ones(low, high)) >> low
    return made


@defect("unmap-across-rebased", "several mappings can be unmapped at once; the bits of each begin at bit 0")
class AcrossRebased(Across):
    """The container accepts the range."""


@part_of("unmap-across-rebased")
class RebasedRecord(Spoilt):
    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get_unmapped(address, size, room)
        self._respell(bitmap, address, size, _from_each_start)
        return bitmap


@defect("unmap-across-last-bitmap", "several mappings can be unmapped at once; the bitmap is only that of the last one")
class AcrossLastBitmap(Across):
    """The container accepts the range."""


@part_of("unmap-across-last-bitmap")
class LastBitmap(Spoilt):
    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get_unmapped(address, size, room)
        self._respell(bitmap, address, size, lambda bits, of: bits & ones(*of.mapped[-1]) if of.mapped else bits)
        return bitmap


@defect("unmap-across-forgets-next", "unmapping several mappings at once also drops the record of the one after them")
class AcrossForgetsNext(Across):
    def _unmap(self, address: int, size: int) -> None:
        several = len(self._guest.extents(address, size)) > 1
        super()._unmap(address, size)
        if several:
            for start, length in self._guest.extents(address + size, EVERYWHERE[1])[:1]:
                self._dirty.forget(start, length)


@defect("unmap-across-half-refused", "unmapping several mappings is refused after the first of them was unmapped")
class AcrossHalfRefused(Container):
    def _check_unmap(self, address: int, size: int) -> int:
        extents = self._guest.extents(address, size)
        if len(extents) > 1 and extents[0][0] >= address:
            self._guest.unmap(*extents[0])
            raise Refusal(EINVAL)
        return super()._check_unmap(address, size)


class InPart(Container):
    """Accepts a part of one mapping as a range to unmap."""

    def _check_unmap(self, address: int, size: int) -> int:
        if self._whole_of(address, size):
            return size
        return super()._check_unmap(address, size)

    def _whole_of(self, address: int, size: int) -> tuple[int, int] | None:
        """The mapping of which a range is a part."""
        extents = self._guest.extents(address, size)
        if len(extents) != 1 or extents[0] == (address, size):
            return None
        start, length = extents[0]
        return extents[0] if start <= address and address + size <= start + length else None


@defect(
    "unmap-part-drops-record",
    "unmapping a part of a mapping succeeds and unmaps nothing, but the dirty record of the mapping is lost",
)
class PartDropsRecord(InPart):
    def _unmap(self, address: int, size: int) -> None:
        whole = self._whole_of(address, size)
        if whole is None:
            super()._unmap(address, size)
        else:
            self._dirty.forget(*whole)


@defect("unmap-part-unmaps-all", "unmapping a part of a mapping unmaps all of it, and reports the size of the part")
class PartUnmapsAll(InPart):
    def _unmap(self, address: int, size: int) -> None:
        super()._unmap(*self._whole_of(address, size) or (address, size))


@defect("unmap-nothing-refused-clears", "unmapping a range with no mapping is refused, and drops every record")
class NothingRefusedClears(Container):
    def _check_unmap(self, address: int, size: int) -> int:
        if not self._guest.extents(address, size):
            self._dirty.forget(*EVERYWHERE)
        return super()._check_unmap(address, size)


def _offset_truncated(bits: int, _: Range) -> int:
    """The bits of bytes from 4 GiB on are put at the beginning."""
    return bits & ones(0, _FAR) | bits >> _FAR


defect("bitmap-offset-truncated", "GET_BITMAP counts the bytes from the start of its range modulo 4 GiB")(
    spoiling(_offset_truncated)
)


def _without_gaps(bits: int, of: Range) -> int:
    """The pages after a hole of a gigabyte directly follow those before it."""
    made, end, gone = 0, 0, 0
    for low, high in of.mapped:
        if low - end >= _FAR >> 2:
            gone += low - end
        made |= (bits & ones(low, high)) >> gone
        end = high
    return made


defect("bitmap-gap-left-out", "GET_BITMAP leaves holes of a gigabyte and more out of its bitmap")(
    spoiling(_without_gaps)
)


@defect("bitmap-cut-rebased", "GET_BITMAP from the middle of a mapping gives the bits from the mapping's first page on")
class CutRebased(DirtyTracker):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        start = next((start for start, _ in self._mapped(address, 1)), address)
        return super().get(min(start, address), size, room)


@defect(
    "bitmap-cut-overruns", "GET_BITMAP to the middle of a mapping writes zeros after its bits, up to the mapping's end"
)
class CutOverruns(Container):
    def _get_bitmap(self, body: bytes, argsz: int) -> Answer:
        answer = super()._get_bitmap(body, argsz)
        address, size, _, room = fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)
        end = max((start + length for start, length in self._guest.extents(address, size)), default=0)
        more = bitmap_size((end - address) // self._dirty.page_size) - room
        if answer.data and 0 < more <= _MOST_BITS // 8:
            answer = answer._replace(data=bytes(answer.data) + bytes(more))
        return answer


@defect(
    "bitmap-cut-refused-clears",
    "GET_BITMAP of a range that cuts a mapping is refused, and drops the record of that range",
)
class CutRefusedClears(Container):
    def _check_range(self, address: int, size: int) -> None:
        super()._check_range(address, size)
        extents = self._guest.extents(address, size)
        try:
            check_whole(extents, address, size)
        except Refusal:
            self._dirty.forget(address, size)
            raise


@defect("pin-refused-unpins", "pinning a range that is not all mapped is refused, and unpins everything")
class PinRefusedUnpins(GuestMemory):
    def pin(self, address: int, size: int) -> None:
        try:
            super().pin(address, size)
        except Refusal:
            for pin in self.dirty.pins.meeting(*EVERYWHERE):
                self.dirty.pins.remove(pin)
            raise
