# SPDX-License-Identifier: GPL-2.0-only
"""The bitmap of a query, bit by bit."""

from __future__ import annotations

from ...overlays import defect
from .spoiling import Range, ones, second_word_lost, spoiling

#: Bits of the first page of a bitmap.
_PAGE_OF_BITS = 8 * 4096

_MSB_FIRST = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _msb_first(bits: int, of: Range) -> int:
    return int.from_bytes(bits.to_bytes(of.used // 8, "little").translate(_MSB_FIRST), "little")


defect("bitmap-shifted-by-one", "GET_BITMAP sets bit i + 1 for page i")(spoiling(lambda bits, of: bits << 1))
defect("bitmap-msb-first", "GET_BITMAP numbers the bits of each byte from the highest")(spoiling(_msb_first))
defect("bitmap-second-word-lost", "GET_BITMAP leaves the second 64-bit word zero")(spoiling(second_word_lost))
defect("bitmap-past-first-page-lost", "GET_BITMAP fills only the first 4096 bytes of a bitmap")(
    spoiling(lambda bits, of: bits & ones(0, _PAGE_OF_BITS))
)
defect("bitmap-trailing-bits", "GET_BITMAP sets the bits between the last page and the end of its word")(
    spoiling(lambda bits, of: bits | ones(of.pages, of.used))
)
defect("bitmap-slack-set", "GET_BITMAP sets all bits of the memory after the words that it needs")(
    spoiling(lambda bits, of: bits | ones(of.used, of.room))
)
