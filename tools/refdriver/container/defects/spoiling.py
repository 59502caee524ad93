# SPDX-License-Identifier: GPL-2.0-only
"""How a bitmap can be wrong although the record of pages is right.

A bitmap is a number here; bit i is page i of its range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..dirty import DirtyTracker
from ..pages import Bitmap

#: Bits of a word.
WORD = 64
#: Bytes of the largest bitmap that is spoiled.
_LARGEST_SPOILED = 1 << 20


class Range(NamedTuple):
    """The range of a bitmap."""

    #: Its first page, and its number of pages.
    first: int
    pages: int
    #: The number of bits in the caller's memory.
    room: int
    #: Each mapping's pages in it, first and end, counted from the first page of the range.
    mapped: list[tuple[int, int]]

    @property
    def used(self) -> int:
        """The number of bits in the whole words that it needs."""
        return -(-self.pages // WORD) * WORD


Spoiler = Callable[[int, Range], int]


def ones(low: int, high: int) -> int:
    """The bits from ``low`` to before ``high``."""
    return (1 << max(high, low)) - (1 << low)


class Spoilt(DirtyTracker):
    """Can change a bitmap that was laid out."""

    def _respell(self, bitmap: Bitmap, address: int, size: int, spoiler: Spoiler) -> None:
        """Change the bitmap of a range."""
        if len(bitmap.content) > _LARGEST_SPOILED:
            return
        first, end = self._pages(address, size)
        mapped = [self._pages(*mapping) for mapping in self._mapped(address, size)]
        inside = [(max(low, first) - first, min(high, end) - first) for low, high in mapped]
        of = Range(first, end - first, 8 * len(bitmap.content), inside)
        bits = spoiler(int.from_bytes(bitmap.content, "little"), of)
        bitmap.content[:] = (bits & (1 << of.room) - 1).to_bytes(of.room // 8, "little")


def spoiling(spoiler: Spoiler) -> type[Spoilt]:
    """A tracker that spoils the bitmap of a query."""

    class Spoiling(Spoilt):
        def get(self, address: int, size: int, room: int) -> Bitmap:
            bitmap = super().get(address, size, room)
            self._respell(bitmap, address, size, spoiler)
            return bitmap

    return Spoiling


def spoiling_unmapped(spoiler: Spoiler) -> type[Spoilt]:
    """A tracker that spoils the bitmap of an unmapping."""

    class SpoilingUnmapped(Spoilt):
        def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
            bitmap = super().get_unmapped(address, size, room)
            self._respell(bitmap, address, size, spoiler)
            return bitmap

    return SpoilingUnmapped


def second_word_lost(bits: int, _: Range) -> int:
    """Without the second word."""
    return bits & ~ones(WORD, 2 * WORD)
