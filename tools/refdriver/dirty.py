# SPDX-License-Identifier: GPL-2.0-only
"""Which pages of guest memory the device has written since tracking began (kabi v23:356-385).

A page that was written is reported once, for fetching the bitmap clears what it reports. What the device has pinned
it may write to unseen: such a page is reported every time, and once more after it was unpinned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EINVAL

from .pages import Bitmap, PageSet
from .pins import Pin, Pins
from .refusal import Refusal

#: The mappings that share a byte with a range, each as address and size, in order.
Mapped = Callable[[int, int], list[tuple[int, int]]]

_MSB_FIRST = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class DirtyTracker:
    """Collects written pages while it is switched on. Ranges are in bytes, those of a user in whole pages."""

    def __init__(self, mapped: Mapped, everything: bool = False, defects: frozenset[str] = frozenset()) -> None:
        #: Bytes per bit; the smaller page size of both sides, agreed when a client arrives. At most 4096.
        self.page_size = 4096
        #: Whether writes are being recorded.
        self.tracking = False
        #: How many times tracking has begun. Mappings and pins remember what it was when they were made.
        self.era = 0
        self.pins = Pins()
        self._mapped = mapped
        self._everything = everything
        self._defects = defects
        self._written = PageSet()
        # What defects leave behind: until STOP, but for the first until the device is reset.
        self._wedged = False
        self._deaf = False
        self._skew = 0
        self._writes = 0
        self._reported = PageSet()
        self._overdue = (0, 0)

    def start(self) -> None:
        """Begin; when already begun nothing changes (clients start once per device)."""
        if self.tracking and "dirty-restart-refused" in self._defects:
            raise Refusal(EINVAL)
        if self.tracking and "tracking-restart-wedges" in self._defects:
            self._wedged = True
        if not self.tracking:
            self.tracking = True
            self.era += 1

    def stop(self) -> None:
        """End, and forget what was recorded (kabi v23:369)."""
        self.tracking = False
        if "tracking-stale-after-stop" not in self._defects:
            self._written.clear()
        self._deaf = False
        self._skew = 0
        self._reported.clear()
        self._overdue = (0, 0)

    def reset(self) -> None:
        """The device was reset, which is no matter of tracking; but for a device that had got stuck."""
        if self._wedged:
            self._wedged = False
            self._written.clear()

    # What the device does.

    def wrote(self, address: int, length: int, era: int) -> None:
        """Take note that the device wrote ``length`` bytes (at least one) into a mapping made in some era."""
        if not self.tracking or self._overlooks(era):
            return
        self._writes += 1
        if "bitmap-drops-every-64th" in self._defects and self._writes % 64 == 0:
            return
        if "bitmap-misses-long-write" in self._defects:
            length = 1
        self._written.add(address // self.page_size, (address + length - 1) // self.page_size + 1)

    def unpin(self, pin: Pin) -> None:
        """Unpin a range; until now it may have been written."""
        self.pins.remove(pin)
        if self.tracking and self._reports(pin):
            self._written.add(*self._pages(pin.address, pin.size))

    def forget(self, address: int, size: int) -> None:
        """Drop the record of a range, as when it is mapped no longer."""
        self._written.discard(*self._pages(address, size))

    def forget_all(self) -> None:
        """Drop the record of every range."""
        self._written.clear()

    def settle(self) -> None:
        """Drop what was reported, where that was put off (defect bitmap-race)."""
        self._written.discard(*self._overdue)
        self._overdue = (0, 0)

    def _overlooks(self, era: int) -> bool:
        """Whether a mapping made in some era is not tracked."""
        if "tracking-new-mappings-only" in self._defects:
            return era < self.era
        return "tracking-old-mappings-only" in self._defects and era == self.era

    def _reports(self, pin: Pin) -> bool:
        if "tracking-forgets-pinned" in self._defects and pin.era < self.era:
            return False
        return not self._overlooks(pin.mapping_era)

    # What is asked for.

    def get(self, address: int, size: int, room: int, unit: int) -> memoryview:
        """The bitmap of a range in ``room`` bytes, bit i for the page i after ``address``; clears those pages.

        ``unit`` is the bytes per bit: the page size, or what a defect lets pass for it.
        """
        self.settle()
        defects = self._defects
        if "bitmap-range-ignored" in defects:
            address = next((start for start, _ in self._mapped(0, 1 << 64)), address)
        first, end = self._pages(address, size)
        shift = self._skew + ("bitmap-shifted-by-one" in defects)
        bitmap = self._lay_out(
            address,
            size - self.page_size * ("bitmap-loses-last-page" in defects),
            max(room, bitmap_size(end - first)),
            shift,
            self._everything or "bitmap-everything-dirty" in defects,
        )
        self._spoil(bitmap, address, size)
        if unit != self.page_size:
            bitmap = _coarser(bitmap, self.page_size, unit)
        self._clear_reported(first, end)
        if "bitmap-unaligned-base" in defects:
            self._skew = self._skew or next(
                ((address - start) // self.page_size % 64 for start, _ in self._mapped(address, size)), 0
            )
        if "tracking-one-shot" in defects:
            self._deaf = True
        if "bitmap-cut-wedges" in defects and any(
            start < address or start + length > address + size for start, length in self._mapped(address, size)
        ):
            self.stop()
        return bitmap.content[:room]

    def get_unmapped(self, address: int, size: int, room: int) -> memoryview:
        """The same of a range that is being unmapped (kabi v23:332-340); clears nothing."""
        self.settle()
        first, end = self._pages(address, size)
        shift = int("unmap-bitmap-shifted" in self._defects)
        bitmap = self._lay_out(address, size, max(room, bitmap_size(end - first)), shift, self._everything)
        if "unmap-bitmap-inverted" in self._defects:
            inverted = Bitmap(len(bitmap.content))
            inverted.put(0, ~int.from_bytes(bitmap.content, "little") & (1 << end - first) - 1)
            bitmap = inverted
        return bitmap.content[:room]

    def _pages(self, address: int, size: int) -> tuple[int, int]:
        """The first page of a range of whole pages, and the one after the last."""
        return address // self.page_size, (address + size) // self.page_size

    def _lay_out(self, address: int, size: int, room: int, shift: int, everything: bool) -> Bitmap:
        """What is dirty of a range. Bits are set ``shift`` bits late."""
        bitmap = Bitmap(room)
        if not self.tracking or self._deaf or self._wedged:
            return bitmap
        first, end = self._pages(address, size)
        for page, bits in self._written.within(first, end):
            bitmap.put(page - first + shift, bits)
        whole = [(pin.address, pin.size) for pin in self.pins.meeting(address, size) if self._reports(pin)]
        if everything:
            whole += self._mapped(address, size)
        for start, length in whole:
            low, high = self._pages(start, length)
            bitmap.fill(max(low, first) - first + shift, min(high, end) - first + shift)
        return bitmap

    def _clear_reported(self, first: int, end: int) -> None:
        if "bitmap-not-cleared" in self._defects:
            return
        if "bitmap-race" in self._defects:
            self._overdue = (first, end)
            return
        if "bitmap-clears-too-much" in self._defects:
            first, end = first // 64 * 64, -(-end // 64) * 64
        self._written.discard(first, end)

    def _spoil(self, bitmap: Bitmap, address: int, size: int) -> None:
        """What defects do to a bitmap that was right."""
        defects = self._defects
        first, end = self._pages(address, size)
        needed = bitmap_size(end - first)
        if "bitmap-set-once" in defects:
            value = int.from_bytes(bitmap.content[:needed], "little")
            for page, bits in self._reported.within(first, end):
                value &= ~(bits << page - first if page >= first else bits >> first - page)
            bitmap.content[:needed] = value.to_bytes(needed, "little")
            for bit in _bits(value):
                self._reported.add(first + bit, first + bit + 1)
        if "bitmap-hole-bits" in defects:
            low = address
            for start, length in [*self._mapped(address, size), (address + size, 0)]:
                bitmap.fill(self._pages(low, 0)[0] - first, self._pages(start, 0)[0] - first)
                low = start + length
        if "bitmap-trailing-bits" in defects:
            bitmap.fill(end - first, needed * 8)
        if "bitmap-msb-first" in defects:
            bitmap.content[:needed] = bytes(bitmap.content[:needed]).translate(_MSB_FIRST)
        if "bitmap-second-word-lost" in defects and len(bitmap.content) >= 16:
            bitmap.content[8:16] = bytes(8)


def bitmap_size(pages: int) -> int:
    """Bytes of a bitmap of so many pages: whole 64-bit words."""
    return -(-pages // 64) * 8


def _coarser(bitmap: Bitmap, page_size: int, unit: int) -> Bitmap:
    """A bitmap with ``unit`` bytes per bit out of one with ``page_size``."""
    result = Bitmap(len(bitmap.content))
    for bit in _bits(int.from_bytes(bitmap.content, "little")):
        result.put(bit * page_size // unit, 1)
    return result


def _bits(value: int) -> Iterator[int]:
    """Numbers of the bits that are set."""
    while value:
        yield (value & -value).bit_length() - 1
        value &= value - 1
