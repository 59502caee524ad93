# SPDX-License-Identifier: GPL-2.0-only
"""What a container reported of dirty pages: the bitmaps that a case asked for, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from ..common.calls import Call, plain
from ..uapi.requests import BITMAP_REQUESTS


class Bitmap(NamedTuple):
    """One bitmap: the pages that it covers, by number, and those of them that are dirty."""

    first: int
    pages: int
    #: How many are dirty, and which, as far as known: all, unless the bitmap is larger than what is recorded.
    bits: int
    dirty: tuple[int, ...]

    @property
    def end(self) -> int:
        """The number after the last page."""
        return self.first + self.pages


#: Bitmaps that belong together: no page is in more than one of them.
Round = list[Bitmap]

_LARGEST_PAGE: Final = 1 << 40


def rounds(calls: Sequence[Call]) -> list[Round]:
    """The rounds. A round ends when a page is asked about again."""
    made: list[Round] = []
    for bitmap in _bitmaps(calls):
        if not made or any(bitmap.first < other.end and other.first < bitmap.end for other in made[-1]):
            made.append([])
        made[-1].append(bitmap)
    return made


def _bitmaps(calls: Sequence[Call]) -> Iterator[Bitmap]:
    """The bitmaps of calls that succeeded and whose request is recorded."""
    from .structures import LAYOUTS, members  # needs cffi, which is slow to load

    for call in plain(calls):
        behind = call.get("behind")
        if call.get("number") not in BITMAP_REQUESTS or call.get("value", 0) < 0 or not behind:
            continue
        named: dict[str, Any] = {}
        for name, value in members(LAYOUTS[call["number"]], bytes.fromhex(call.get("sent", ""))):
            named.setdefault(name, value)  # a bitmap has a size as well, after that of the range
        page, size, first = (named.get(name, 0) for name in ("pgsize", "size", "iova"))
        if 0 < page <= _LARGEST_PAGE and size >= page:
            yield _bitmap(first // page, size // page, behind)


def _bitmap(first: int, pages: int, behind: dict[str, Any]) -> Bitmap:
    data = bytes.fromhex(behind.get("data", ""))
    bits = [8 * at + bit for at, byte in enumerate(data) for bit in range(8) if byte >> bit & 1]
    dirty = tuple(first + bit for bit in (bits if data else behind.get("first", ())) if bit < pages)
    return Bitmap(first, pages, behind.get("bits", len(dirty)), dirty)
