# SPDX-License-Identifier: GPL-2.0-only
"""Sets of pages, and bitmaps of them as they are sent: fast for a few pages in a range of any size."""

from __future__ import annotations

import mmap

_CHUNK = 4096


class PageSet:
    """Page numbers. The cost of an operation depends on the pages in the set, not on the size of the range."""

    def __init__(self) -> None:
        #: Bit i of the number under n stands for page n * _CHUNK + i; never 0.
        self._chunks: dict[int, int] = {}

    def add(self, first: int, end: int) -> None:
        """Add the pages from ``first`` to before ``end``."""
        for number in range(first // _CHUNK, -(-end // _CHUNK)):
            self._chunks[number] = self._chunks.get(number, 0) | _mask(number, first, end)

    def discard(self, first: int, end: int) -> None:
        """Remove the pages from ``first`` to before ``end``."""
        for number in self._numbers(first, end):
            left = self._chunks[number] & ~_mask(number, first, end)
            if left:
                self._chunks[number] = left
            else:
                del self._chunks[number]

    def within(self, first: int, end: int) -> list[tuple[int, int]]:
        """The pages from ``first`` to before ``end``, as pairs: bit i of the second number is the page first + i."""
        found = []
        for number in self._numbers(first, end):
            bits = self._chunks[number] & _mask(number, first, end)
            if bits:
                found.append((number * _CHUNK, bits))
        return found

    def clear(self) -> None:
        """Remove all pages."""
        self._chunks.clear()

    def _numbers(self, first: int, end: int) -> list[int]:
        """The chunks of a range that have pages."""
        numbers = range(first // _CHUNK, -(-end // _CHUNK))
        if len(numbers) <= len(self._chunks):
            return [number for number in numbers if number in self._chunks]
        return [number for number in self._chunks if number in numbers]


class Bitmap:
    """A given number of zero bytes, in which bits are set. Bit 0 is the lowest of the first byte."""

    def __init__(self, size: int) -> None:
        self._size = size
        # Zeros that cost nothing until they are touched. A mapping cannot be empty.
        pages = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        #: The bitmap as bytes.
        self.content = memoryview(pages)[:size]

    def put(self, at: int, bits: int) -> None:
        """Set bit ``at`` + i for each bit i of ``bits``; bits that would be before bit 0 must be 0."""
        bits = bits >> -at if at < 0 else bits << (at & 7)
        start = max(at, 0) >> 3
        end = min(start + (bits.bit_length() + 7 >> 3), self._size)
        if start < end:
            length = end - start
            bits = (bits | int.from_bytes(self.content[start:end], "little")) & (1 << 8 * length) - 1
            self.content[start:end] = bits.to_bytes(length, "little")

    def fill(self, start: int, end: int) -> None:
        """Set the bits from ``start`` to before ``end``."""
        start, end = max(start, 0), min(end, self._size * 8)
        first, last = -(-start // 8), end // 8
        if first >= last:
            self.put(start, (1 << max(end - start, 0)) - 1)
            return
        self.put(start, (1 << first * 8 - start) - 1)
        self.content[first:last] = b"\xff" * (last - first)
        self.put(last * 8, (1 << end - last * 8) - 1)


def _mask(number: int, first: int, end: int) -> int:
    """The bits of one chunk that are pages of a range."""
    low = max(first - number * _CHUNK, 0)
    high = min(end - number * _CHUNK, _CHUNK)
    return (1 << high) - (1 << low)
