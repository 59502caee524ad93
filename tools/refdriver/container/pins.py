# SPDX-License-Identifier: GPL-2.0-only
"""The ranges of guest memory that the device has pinned, and may write to unseen at any time."""

from __future__ import annotations

from errno import EINVAL, ENOSPC

from ..refusal import Refusal

MOST_RANGES = 1024
#: In all of them together, of 4 KiB.
MOST_PAGES = 4096
_PAGE = 4096


class Pin:
    """One range, as it was requested."""

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size

    def meets(self, address: int, size: int) -> bool:
        """Whether it overlaps a range."""
        return self.address < address + size and address < self.address + self.size


class Pins:
    """All that is pinned. Ranges may overlap; each is unpinned by itself."""

    def __init__(self) -> None:
        self._ranges: list[Pin] = []
        self._pages = 0

    def add(self, pin: Pin) -> None:
        """Pin a range of whole pages; ENOSPC beyond MOST_RANGES or MOST_PAGES."""
        pages = pin.size // _PAGE
        if len(self._ranges) >= MOST_RANGES or self._pages + pages > MOST_PAGES:
            raise Refusal(ENOSPC)
        self._ranges.append(pin)
        self._pages += pages

    def find(self, address: int, size: int) -> Pin:
        """The pinned range with exactly this address and size; EINVAL if there is no such range."""
        for pin in self._ranges:
            if (pin.address, pin.size) == (address, size):
                return pin
        raise Refusal(EINVAL)

    def remove(self, pin: Pin) -> None:
        """Unpin a range."""
        self._ranges.remove(pin)
        self._pages -= pin.size // _PAGE

    def meeting(self, address: int, size: int) -> list[Pin]:
        """The pinned ranges that overlap this one."""
        return [pin for pin in self._ranges if pin.meets(address, size)]
