# SPDX-License-Identifier: GPL-2.0-only
"""Dirty pages as a map: a row for each round of bitmaps, a column for each page that was asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .....common.words import enumerated, runs
from ....summary import Summary
from ....tracking import Round, rounds

#: The most rounds and columns of a map. Of more rounds, the first are drawn; more pages share columns.
MOST_ROUNDS, MOST_COLUMNS = 48, 128

WIDTH, LEFT, TOP, ROW = 560, 36, 6, 11

#: The fewest rounds of a case that are worth a map.
_FEWEST: Final = 2

#: How many pages, or ranges of pages, of a round are named.
_MOST_NAMED: Final = 8


class Row(NamedTuple):
    """A round: its number, how many pages it covered, how many were dirty, and which."""

    number: int
    top: float
    asked: int
    dirty: int
    names: str
    #: Paths of the cells that are clean, and of those that have a dirty page.
    clean: str
    marked: str


class Map(NamedTuple):
    """The layout of the map."""

    case: str
    rows: Sequence[Row]
    #: Rounds that are not drawn, and pages in a column.
    more: int
    pages: int
    columns: int
    height: float
    width: int = WIDTH
    left: int = LEFT
    row: int = ROW


class Columns:
    """The column of each page; pages that were not asked about have none."""

    def __init__(self, shown: Sequence[Round]) -> None:
        self._spans: list[tuple[int, int, int]] = []
        for first, end in sorted((bitmap.first, bitmap.end) for round_ in shown for bitmap in round_):
            begun, until, before = self._spans[-1] if self._spans else (0, -1, 0)
            if first <= until:
                self._spans[-1] = (begun, max(until, end), before)
            else:
                self._spans.append((first, end, before + max(until, begun) - begun))
        first, end, before = self._spans[-1]
        self.pages = before + end - first
        self.number = min(self.pages, MOST_COLUMNS)

    def of(self, page: int) -> int:
        """The column of a page that was asked about."""
        first, _, before = next(span for span in self._spans if span[0] <= page < span[1])
        return (before + page - first) * self.number // self.pages


def dirty_pages(summary: Summary) -> Map | None:
    """The map of the case that asked for the most bitmaps; None if no case asked for several."""
    case = max(summary.cases.values(), key=lambda each: each.measures.bitmaps, default=None)
    if case is None or case.measures.bitmaps < _FEWEST or len(found := rounds(case.calls)) < _FEWEST:
        return None
    shown = found[:MOST_ROUNDS]
    columns = Columns(shown)
    rows = [_row(number, round_, columns) for number, round_ in enumerate(shown, 1)]
    height = TOP + ROW * len(rows) + 4
    return Map(case.name, rows, len(found) - len(shown), columns.pages, columns.number, height)


def _row(number: int, round_: Round, columns: Columns) -> Row:
    top = TOP + ROW * (number - 1)
    asked = {column for bitmap in round_ for column in range(columns.of(bitmap.first), columns.of(bitmap.end - 1) + 1)}
    pages = sorted({page for bitmap in round_ for page in bitmap.dirty})
    marked = {columns.of(page) for page in pages}
    dirty = sum(bitmap.bits for bitmap in round_)
    return Row(
        number,
        top,
        sum(bitmap.pages for bitmap in round_),
        dirty,
        _named(pages, dirty),
        "".join(_dots(asked - marked, top, columns.number)),
        "".join(_boxes(marked, top, columns.number)),
    )


def _named(pages: Sequence[int], dirty: int) -> str:
    names = [*runs(pages)]
    more = "" if len(names) <= _MOST_NAMED and len(pages) == dirty else ", ..."
    return (", ".join(names[:_MOST_NAMED]) if more else enumerated(names, "and")) + more


def _dots(cells: set[int], top: int, number: int) -> Iterator[str]:
    """A dot in the middle of each."""
    for cell in sorted(cells):
        yield f"M{_left(cell + 0.5, number) - 0.75:.1f} {top + ROW / 2 - 0.5:g}h1.5"


def _boxes(cells: set[int], top: int, number: int) -> Iterator[str]:
    """A box for each run of adjacent cells."""
    for first, last in _spans(sorted(cells)):
        left, right = _left(first, number), _left(last + 1, number)
        yield f"M{left:.1f} {top}h{right - left - 0.5:.1f}v{ROW - 1}h-{right - left - 0.5:.1f}z"


def _spans(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    begun: int | None = None
    for at, number in enumerate(numbers):
        begun = number if begun is None else begun
        if at + 1 == len(numbers) or numbers[at + 1] != number + 1:
            yield begun, number
            begun = None


def _left(column: float, number: int) -> float:
    return LEFT + (WIDTH - LEFT - 4) * column / number
