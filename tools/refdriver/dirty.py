# SPDX-License-Identifier: GPL-2.0-only
"""Which pages of guest memory the device has written since tracking began (kabi v23:356-385).

The device pins nothing: a page is reported once after it was written, and fetching the bitmap clears what
it reports.
"""

from __future__ import annotations

from errno import EINVAL

from .refusal import Refusal


class DirtyTracker:
    """Collects written pages while it is switched on."""

    def __init__(self, defects: frozenset[str] = frozenset()) -> None:
        self._defects = defects
        #: Bytes per bit; the smaller page size of both sides, agreed when a client arrives.
        self.page_size = 4096
        #: Whether writes are being recorded.
        self.tracking = False
        self._pages: set[int] = set()

    def start(self) -> None:
        """Begin; when already begun nothing changes (clients start once per device)."""
        if self.tracking and "dirty-restart-refused" in self._defects:
            raise Refusal(EINVAL)
        self.tracking = True

    def stop(self) -> None:
        """End, and forget what was recorded (kabi v23:369)."""
        self.tracking = False
        self._pages.clear()

    def wrote(self, address: int, length: int) -> None:
        """Take note that the device wrote ``length`` bytes (at least one) at an IOVA."""
        if self.tracking:
            self._pages.update(range(address // self.page_size, (address + length - 1) // self.page_size + 1))

    def forget(self, address: int, size: int) -> None:
        """Drop the record of a range that is mapped no longer."""
        self._collect(address, size)

    def check(self, address: int, size: int, page_size: int, bitmap_size: int, largest: int) -> None:
        """Refuse with EINVAL a request for a bitmap that cannot be met.

        Only the smallest page size is known (kabi v23:376), and the caller's bitmap must have room for the
        range in whole 64-bit words, and no more than ``largest`` bytes.
        """
        if not self.tracking or page_size != self.page_size:
            raise Refusal(EINVAL)
        if not size or address % page_size or size % page_size or address + size > 1 << 64:
            raise Refusal(EINVAL)
        words = -(-(size // page_size) // 64)
        if not words * 8 <= bitmap_size <= largest:
            raise Refusal(EINVAL)

    def fetch(self, address: int, size: int, bitmap_size: int) -> bytes:
        """The bitmap of a checked range, bit i for the page i after ``address``; clears those pages."""
        bitmap = bytearray(bitmap_size)
        first = address // self.page_size
        for page in self._collect(address, size):
            bitmap[page - first >> 3] |= 1 << (page - first & 7)
        return bytes(bitmap)

    def _collect(self, address: int, size: int) -> list[int]:
        first = address // self.page_size
        end = (address + size) // self.page_size
        pages = [page for page in self._pages if first <= page < end]
        self._pages.difference_update(pages)
        return pages
