# SPDX-License-Identifier: GPL-2.0-only
"""Sets of pages, and how a dirty bitmap compares with one (kabi v23, lines 336-340 and 379-382)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from ..common.words import counted

#: Bits in a word of a bitmap.
WORD_BITS: Final = 64

#: Bytes compared in one go: they stay in the processor's cache while they are copied and compared.
_CHUNK: Final = 1 << 18

#: Bytes in which single bits are looked for once a chunk is known to be wrong.
_CLOSER: Final = 64

_UNIFORM: Final = (bytes(_CHUNK), b"\xff" * _CHUNK)

#: Runs of pages that are named one by one.
_SHOWN: Final = 8

#: Runs of wrong bits that a comparison gathers before it leaves the rest out.
_MOST_RUNS: Final = 256

#: Numbers of pages around the edges of a bitmap's bytes and words, and of a page of it.
BOUNDARIES: Final = (1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097)


class Pages:
    """A set of page numbers, kept as runs in order: (first, end), the end not included."""

    __slots__ = ("runs",)

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        """``runs`` may come in any order, touch and overlap."""
        merged: list[tuple[int, int]] = []
        for first, end in sorted(runs):
            if first >= end:
                continue
            if merged and first <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((first, end))
        self.runs = tuple(merged)

    @classmethod
    def _in_order(cls, runs: Iterable[tuple[int, int]]) -> Pages:
        """Pages from runs in order, none of which is empty or touches another."""
        pages = cls()
        pages.runs = tuple(runs)
        return pages

    @classmethod
    def of(cls, *pages: int) -> Pages:
        """These pages."""
        return cls((page, page + 1) for page in pages)

    @classmethod
    def run(cls, first: int, count: int) -> Pages:
        """``count`` pages from ``first`` on."""
        return cls._in_order([(first, first + count)] if count > 0 else ())

    def __or__(self, other: Pages) -> Pages:
        return Pages(self.runs + other.runs) if self.runs and other.runs else self if self.runs else other

    def __and__(self, other: Pages) -> Pages:
        return Pages._in_order(
            (max(first, start), min(end, stop))
            for first, end in self.runs
            for start, stop in other.runs
            if first < stop and start < end
        )

    def __sub__(self, other: Pages) -> Pages:
        if not (self.runs and other.runs):
            return self
        rest = list(self.runs)
        for start, stop in other.runs:
            rest = [
                piece
                for first, end in rest
                for piece in ((first, min(end, start)), (max(first, stop), end))
                if piece[0] < piece[1]
            ]
        return Pages._in_order(rest)

    def shifted(self, by: int) -> Pages:
        """Each page ``by`` further."""
        return Pages._in_order((first + by, end + by) for first, end in self.runs) if by else self

    def __contains__(self, page: int) -> bool:
        return any(first <= page < end for first, end in self.runs)

    def __iter__(self) -> Iterator[int]:
        for first, end in self.runs:
            yield from range(first, end)

    def __len__(self) -> int:
        return sum(end - first for first, end in self.runs)

    def __bool__(self) -> bool:
        return bool(self.runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pages) and self.runs == other.runs

    def __hash__(self) -> int:
        return hash(self.runs)

    def __repr__(self) -> str:
        return f"Pages({self})"

    def at(self, address: Callable[[int], int]) -> str:
        """``the page at 0x9003000, 6 pages from 0x9007000``: where they are, by what ``address`` gives for a page."""
        shown = [
            f"{counted(end - first, 'page')} from 0x{address(first):x}"
            if end - first > 1
            else f"the page at 0x{address(first):x}"
            for first, end in self.runs[:_SHOWN]
        ]
        if len(self.runs) > _SHOWN:
            shown.append(f"... ({counted(len(self), 'page')})")
        return ", ".join(shown) or "none"

    def __str__(self) -> str:
        """``3, 7-12`` and how many there are if not all are shown."""
        if not self.runs:
            return "none"
        shown = [f"{first}-{end - 1}" if end - first > 1 else f"{first}" for first, end in self.runs[:_SHOWN]]
        if len(self.runs) > _SHOWN:
            shown.append(f"... ({counted(len(self), 'page')})")
        return ", ".join(shown)


class Difference(NamedTuple):
    """How a bitmap differs from what it should be; if very much is wrong, only the beginning is listed."""

    #: Bits that are clear and should be set.
    missing: Pages
    #: Bits that are set and should be clear.
    extra: Pages


def compare(bitmap: memoryview, must: Pages, may: Pages) -> Difference:
    """Compare all bits of ``bitmap``: those of ``must`` set, those of ``may`` either way, all others clear.

    Bit i, counted from the lowest bit of the first byte, is page i. Takes only a small buffer in addition to
    the bitmap, however large that is.
    """
    bits = len(bitmap) * 8
    missing: list[tuple[int, int]] = []
    extra: list[tuple[int, int]] = []
    free = may - must
    for runs, value, wrong in ((must.runs, 1, missing), ((Pages([(0, bits)]) - must - free).runs, 0, extra)):
        for first, end in runs:
            for run in _deviating(bitmap, first, min(end, bits), value):
                wrong.append(run)
                if len(wrong) >= _MOST_RUNS:
                    break
            if end > bits and value:
                wrong.append((max(first, bits), end))
            if len(wrong) >= _MOST_RUNS:
                break
    return Difference(Pages(missing), Pages(extra))


def set_bits(bitmap: memoryview) -> Pages:
    """The bits that are set; if very many are set, only the beginning."""
    return compare(bitmap, Pages(), Pages()).extra


def _deviating(bitmap: memoryview, first: int, end: int, value: int) -> Iterator[tuple[int, int]]:
    """Runs of bits in [first, end) that are not ``value``."""
    at = first
    while at < end:
        if at % 8 == 0 and end - at >= 8 * _CLOSER:
            size = min((end - at) // 8, _CHUNK)
            start = at // 8
            chunk = bytes(bitmap[start : start + size])
            if chunk == (_UNIFORM[value] if size == _CHUNK else _UNIFORM[value][:size]):
                at += 8 * size
                continue
            # Go to the first word of this chunk that is wrong.
            good = size - len(chunk.lstrip(b"\xff" if value else b"\0"))
            at += 8 * (good // _CLOSER * _CLOSER)
        stop = min(end, (at // 8 + _CLOSER) * 8)
        yield from _bits(bitmap, at, stop, value)
        at = stop


def _bits(bitmap: memoryview, first: int, end: int, value: int) -> Iterator[tuple[int, int]]:
    """The same for a few bits."""
    start = first // 8
    number = int.from_bytes(bitmap[start : -(-end // 8)], "little") >> first - 8 * start
    number &= (1 << end - first) - 1
    if value:
        number ^= (1 << end - first) - 1
    at = first
    while number:
        low = (number & -number).bit_length() - 1
        number >>= low
        length = (~number & number + 1).bit_length() - 1
        yield at + low, at + low + length
        number >>= length
        at += low + length
