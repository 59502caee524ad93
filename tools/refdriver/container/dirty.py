# SPDX-License-Identifier: GPL-2.0-only
"""Which pages of guest memory the device has written since tracking began (kabi v23:356-385).

A written page is reported once, because fetching the bitmap clears what it reports. The device may write unseen to
the pages that it has pinned: such a page is reported every time, and once more after it was unpinned.
"""

from __future__ import annotations

from collections.abc import Callable

from .pages import Bitmap, PageSet
from .pins import Pin, Pins

#: The mappings that overlap a range, each as address and size, in order.
Mapped = Callable[[int, int], list[tuple[int, int]]]


class DirtyTracker:
    """Collects written pages while it is switched on. Ranges are in bytes; those from a user are whole pages."""

    def __init__(self, mapped: Mapped, scope: str) -> None:
        """``scope``: which pages count as dirty (DEVICE.md, Options, --dirty-scope)."""
        #: Bytes per bit; the smaller page size of both sides, agreed when a client arrives. At most 4096.
        self.page_size = 4096
        #: Whether writes are being recorded.
        self.tracking = False
        #: Whether a page that was reported stays reported, until tracking ends.
        self._sticky = scope == "sticky"
        self.pins = Pins()
        self._mapped = mapped
        self._everything = scope == "everything"
        self._written = PageSet()

    def start(self) -> None:
        """Start tracking; if it is on, nothing changes (clients start once per device)."""
        self.tracking = True

    def stop(self) -> None:
        """Stop tracking, and forget the record (kabi v23:369)."""
        self.tracking = False
        self._written.clear()

    # What the device does.

    def wrote(self, address: int, length: int) -> None:
        """Record that the device wrote ``length`` bytes (at least one) into a mapping."""
        if self.tracking:
            self._written.add(address // self.page_size, (address + length - 1) // self.page_size + 1)

    def unpin(self, pin: Pin) -> None:
        """Unpin a range; until now it may have been written."""
        self.pins.remove(pin)
        if self.tracking:
            self._written.add(*self._pages(pin.address, pin.size))

    def forget(self, address: int, size: int) -> None:
        """Drop the record of a range that is no longer mapped."""
        self._written.discard(*self._pages(address, size))

    # What users ask for.

    def get(self, address: int, size: int, room: int) -> Bitmap:
        """The bitmap of a range in ``room`` bytes, bit i for the page i after ``address``; clears those pages."""
        bitmap = self._lay_out(address, size, room)
        if not self._sticky:
            self._clear(*self._pages(address, size))
        return bitmap

    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        """The same of a range that is being unmapped (kabi v23:332-340); clears nothing."""
        return self._lay_out(address, size, room)

    def _pages(self, address: int, size: int) -> tuple[int, int]:
        """The first page of a range of whole pages, and the one after the last."""
        return address // self.page_size, (address + size) // self.page_size

    def _lay_out(self, address: int, size: int, room: int) -> Bitmap:
        """The dirty pages of a range."""
        bitmap = Bitmap(room)
        if not self.tracking:
            return bitmap
        first, end = self._pages(address, size)
        for page, bits in self._written.within(first, end):
            bitmap.put(page - first, bits)
        for start, length in self._always(address, size):
            low, high = self._pages(start, length)
            bitmap.fill(max(low, first) - first, min(high, end) - first)
        return bitmap

    def _always(self, address: int, size: int) -> list[tuple[int, int]]:
        """The ranges that are reported every time and overlap this one."""
        if self._everything:
            return self._mapped(address, size)
        return [(pin.address, pin.size) for pin in self._pinned(address, size)]

    def _pinned(self, address: int, size: int) -> list[Pin]:
        """The pins that overlap a range."""
        return self.pins.meeting(address, size)

    def _clear(self, first: int, end: int) -> None:
        """Remove pages that are being reported from the record."""
        self._written.discard(first, end)


def bitmap_size(pages: int) -> int:
    """Size in bytes of a bitmap of the given number of pages: whole 64-bit words."""
    return -(-pages // 64) * 8
