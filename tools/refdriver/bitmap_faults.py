# SPDX-License-Identifier: GPL-2.0-only
"""How a bitmap comes out wrong although the pages on record are right: one function for each defect.

A bitmap is a number here, bit i standing for the page i of its range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: Bits of a word, and of the first page of a bitmap.
_WORD, _PAGE_OF_BITS = 64, 8 * 4096

_MSB_FIRST = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Range(NamedTuple):
    """What a bitmap is of."""

    #: Its first page, and pages.
    first: int
    pages: int
    #: Bits of memory that it is given.
    room: int
    #: Each mapping's pages in it, first and end, from the first page of the range on.
    mapped: list[tuple[int, int]]

    @property
    def used(self) -> int:
        """Bits of the whole words that it takes."""
        return -(-self.pages // _WORD) * _WORD


Spoiler = Callable[[int, Range], int]


def ones(low: int, high: int) -> int:
    """The bits from ``low`` to before ``high``."""
    return (1 << max(high, low)) - (1 << low)


def _mapped(_: int, of: Range) -> int:
    """All pages that are mapped."""
    return sum(ones(low, high) for low, high in of.mapped)


def _holes(bits: int, of: Range) -> int:
    return bits | ones(0, of.pages) & ~_mapped(0, of)


def _msb_first(bits: int, of: Range) -> int:
    return int.from_bytes(bits.to_bytes(of.used // 8, "little").translate(_MSB_FIRST), "little")


def _second_word_lost(bits: int, _: Range) -> int:
    return bits & ~ones(_WORD, 2 * _WORD)


def _whole_words(bits: int, of: Range) -> int:
    words = (ones(at, at + _WORD) for at in range(0, of.used, _WORD) if bits & ones(at, at + _WORD))
    return bits | sum(words) & _mapped(0, of)


def _up_to_first_mapping(bits: int, of: Range) -> int:
    return bits & ones(0, of.mapped[0][1]) if of.mapped else bits


def _up_to_first_hole(bits: int, of: Range) -> int:
    reached = of.mapped[0][1] if of.mapped else 0
    for low, high in of.mapped[1:]:
        if low == reached:
            reached = high
    return bits & ones(0, reached)


#: What becomes of the bitmap of a query.
OF_QUERIES: dict[str, Spoiler] = {
    "bitmap-shifted-by-one": lambda bits, of: bits << 1,
    "bitmap-loses-last-page": lambda bits, of: bits & ones(0, of.pages - 1),
    "bitmap-msb-first": _msb_first,
    "bitmap-second-word-lost": _second_word_lost,
    "bitmap-past-first-page-lost": lambda bits, of: bits & ones(0, _PAGE_OF_BITS),
    "bitmap-trailing-bits": lambda bits, of: bits | ones(of.pages, of.used),
    "bitmap-slack-set": lambda bits, of: bits | ones(of.used, of.room),
    "bitmap-hole-bits": _holes,
    "bitmap-everything-dirty": lambda bits, of: bits | _mapped(0, of),
    "bitmap-word-dirty": _whole_words,
    "bitmap-first-mapping-only": _up_to_first_mapping,
    "bitmap-stops-at-hole": _up_to_first_hole,
}

#: The same of an unmapping.
OF_UNMAPPINGS: dict[str, Spoiler] = {
    "unmap-before-bitmap": lambda bits, of: 0,
    "unmap-bitmap-shifted": lambda bits, of: bits << 1,
    "unmap-bitmap-from-word": lambda bits, of: bits << of.first % _WORD,
    "unmap-bitmap-inverted": lambda bits, of: ~bits & ones(0, of.pages),
    "unmap-bitmap-second-word-lost": _second_word_lost,
}
