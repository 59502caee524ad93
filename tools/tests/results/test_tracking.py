# SPDX-License-Identifier: GPL-2.0-only
"""Dirty pages and saves as drawn on a page, from any requests and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pages import cells, part, text, tree
from stories import ended, run_of

from vfio_compliance.common.calls import Behind, Call
from vfio_compliance.results.events import End
from vfio_compliance.results.flows import LIVE, STOPPED, Flow, Measures
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.tracking import Bitmap, rounds
from vfio_compliance.results.writers import render
from vfio_compliance.results.writers.html.pictures.pages import MOST_COLUMNS, MOST_ROUNDS, dirty_pages
from vfio_compliance.results.writers.html.pictures.save import saves
from vfio_compliance.results.writers.html.pictures.scale import scale
from vfio_compliance.uapi import type1
from vfio_compliance.uapi.vfio import ffi

PAGE = 4096
GET = type1.DirtyPagesFlags.GET_BITMAP


def request(
    first: int, pages: int, data: bytes = b"", *, page: int = PAGE, behind: Behind | None = None, value: int = 0
) -> Call:
    """The call that asks for the bitmap of some pages."""
    made = ffi.new("struct vfio_iommu_type1_dirty_bitmap *", {"argsz": 48, "flags": GET})
    get = {"iova": first * page, "size": pages * page, "bitmap": {"pgsize": page, "size": 8, "data": 1}}
    range_ = ffi.new("struct vfio_iommu_type1_dirty_bitmap_get *", get)
    sent = bytes(ffi.buffer(made)) + bytes(ffi.buffer(range_))
    bits = sum(byte.bit_count() for byte in data)
    behind = behind or Behind(max(len(data), 8), data or bytes(8), bits=bits)
    number = type1.VFIO_IOMMU_DIRTY_PAGES
    return Call("ioctl", "container", number, len(sent), sent, sent, value, behind=behind)


def unmapped(first: int, pages: int, data: bytes) -> Call:
    """The call that unmaps pages and asks for their bitmap."""
    head = {"argsz": 48, "flags": type1.DmaUnmapFlags.GET_DIRTY_BITMAP, "iova": first * PAGE, "size": pages * PAGE}
    bitmap = ffi.new("struct vfio_bitmap *", {"pgsize": PAGE, "size": 8, "data": 1})
    sent = bytes(ffi.buffer(ffi.new("struct vfio_iommu_type1_dma_unmap *", head))) + bytes(ffi.buffer(bitmap))
    number = type1.VFIO_IOMMU_UNMAP_DMA
    return Call("ioctl", "container", number, len(sent), sent, sent, behind=Behind(8, data, bits=1))


def run(*calls: Call) -> Summary:
    """A run of one case that makes these calls."""
    measures = Measures(bitmaps=len(calls))
    return summarise(run_of(replace(ended("a", "pass"), calls=calls, measures=measures)))


# -- requests and answers -------------------------------------------------------------------------------------


def test_rounds() -> None:
    """A round ends when a page is requested again."""
    calls = [request(0, 8, b"\x81"), request(8, 8, b"\x02"), request(4, 8, b"\x01"), request(0, 4)]
    assert rounds(calls) == [
        [Bitmap(0, 8, 2, (0, 7)), Bitmap(8, 8, 1, (9,))],
        [Bitmap(4, 8, 1, (4,)), Bitmap(0, 4, 0, ())],
    ]


def test_the_bitmap_of_an_unmap_request() -> None:
    """It covers the range that is unmapped."""
    assert rounds([unmapped(16, 4, b"\x04" + bytes(7))]) == [[Bitmap(16, 4, 1, (18,))]]


def test_only_the_first_bits_of_a_large_bitmap_are_known() -> None:
    """With the number of all."""
    (((found),),) = rounds([request(0, 10_000, behind=Behind(1256, b"", "ab" * 32, 500, (1, 7)))])
    assert (found.bits, found.dirty) == (500, (1, 7))


@pytest.mark.parametrize(
    "call",
    [
        request(0, 8, value=-1),
        request(0, 8)._replace(behind=None),
        request(0, 8)._replace(sent=b""),
        request(0, 8)._replace(sent=request(0, 8).sent[:20]),
        request(0, 0),
        request(0, 1, page=1 << 63),
        Call("read", "region 9", 8, 8),
    ],
    ids=["refused", "no bitmap", "nothing sent", "cut", "no pages", "a huge page", "a read"],
)
def test_calls_without_a_bitmap(call: Call) -> None:
    """They are ignored."""
    assert rounds([call]) == []


# -- the map ----------------------------------------------------------------------------------------------------------


def test_the_table_of_the_map_has_what_it_draws() -> None:
    """Each round with its pages; only requested pages have columns."""
    summary = run(request(0, 8, b"\x07"), request(1 << 30, 8, b"\x01"), request(0, 8, b"\x80"))
    found = dirty_pages(summary)
    assert found is not None
    assert (found.columns, found.pages, found.more) == (16, 16, 0)
    pictures = part(tree(render("html", summary)), "pictures")
    rows = [cells(row) for row in pictures.iter("tr")]
    assert ["1", "16", "4", "0 to 2 and 1073741824"] in rows
    assert ["2", "8", "1", "7"] in rows
    assert len([each for each in pictures.iter("path") if each.get("class") == "dirty"]) == 2


@pytest.mark.parametrize(
    ("pages", "number"), [(1, 2), (1, MOST_ROUNDS + 7), (300, 50), (1 << 40, 2), ((1 << 52) - 1, 2)]
)
def test_the_map_is_bounded(pages: int, number: int) -> None:
    """Whatever the number of rounds and pages, and wherever they are."""
    found = dirty_pages(run(*[request(0, pages, b"\1" + bytes(7))] * number))
    assert found is not None
    assert len(found.rows) == min(number, MOST_ROUNDS)
    assert found.more == max(number - MOST_ROUNDS, 0)
    assert found.columns == min(pages, MOST_COLUMNS)
    assert all(row.marked.count("M") == 1 for row in found.rows)


def test_bits_beyond_the_range_are_not_pages() -> None:
    """Rules judge a container that sets them; they are not drawn."""
    found = dirty_pages(run(*[request(0, 4, b"\xff" * 8)] * 2))
    assert found is not None
    assert found.rows[0].names == "0 to 3, ..."


@pytest.mark.parametrize("calls", [[], [request(0, 8)], [request(0, 8, value=-1)] * 3])
def test_no_map(calls: Sequence[Call]) -> None:
    """If there were too few requests, the page says so."""
    summary = run(*calls)
    assert dirty_pages(summary) is None
    assert "no case asked for several bitmaps" in text(part(tree(render("html", summary)), "pictures"))


# -- saves ------------------------------------------------------------------------------------------------------------


def saved(*flows: Flow) -> Summary:
    """A run of one case with these flows."""
    end: End = replace(ended("a", "pass"), measures=Measures(flows=flows))
    return summarise(run_of(end))


def test_the_course_of_a_save() -> None:
    """One save of each kind is drawn, with its numbers in a table and the time when the device was stopped."""
    course = ((1_000_000, 100, 0), (2_000_000, 0, 100))
    live = Flow(LIVE, 5, 2_000_005, moved=100, stopped=1_500_005, whole=True, course=course)
    short = replace(live, course=course[:1])
    found = [*saves(saved(short, live, Flow(STOPPED, 0, 1, whole=True)))]
    assert [(each.kind, each.case) for each in found] == [(LIVE, "test_it.py::test_a")]
    assert [(point.at, point.pending, point.moved, point.rate) for point in found[0].points] == [
        (1.0, 100, 0, None),
        (2.0, 0, 100, 100_000.0),
    ]
    assert all(plot.stopped for plot in found[0].plots)
    rows = [cells(row) for row in part(tree(render("html", saved(live))), "pictures").iter("tr")]
    assert ["2.000 ms", "0", "100", "100,000"] in rows


@pytest.mark.parametrize(
    "course",
    [
        ((0, 0, 0), (0, 0, 0)),
        ((5, 2**64 - 1, 0), (3, 0, 2**64 - 1)),
        ((0, 0, 2**40), (1, 1, 0), (2, 1, 7)),
        tuple((at, at % 7, at) for at in range(66)),
    ],
    ids=["nothing", "huge, backwards", "losing bytes", "many"],
)
def test_the_picture_of_an_absurd_save(course: tuple[tuple[int, int, int], ...]) -> None:
    """Everything that is drawn is inside the picture."""
    (found,) = saves(saved(Flow(LIVE, 1, 2**64 - 1, moved=2**64 - 1, stopped=0, whole=True, course=course)))
    for plot in found.plots:
        assert all(plot.left <= x <= plot.right and plot.top <= y <= plot.bottom for x, y in plot.dots)
        assert all(plot.left <= x and x + width <= plot.right + 0.1 for x, _, width, _ in plot.bars)
        assert all(plot.top <= y and y + height <= plot.bottom + 0.1 for _, y, _, height in plot.bars)


def test_without_a_save() -> None:
    """The page says so."""
    assert "no save was completed" in text(part(tree(render("html", saved())), "pictures"))


@pytest.mark.parametrize(
    ("largest", "kind", "most", "last"),
    [
        (0, "bytes", 1.0, "1 B"),
        (65536, "bytes", 81920.0, "80 KiB"),
        (1 << 64, "bytes", (1 << 40) * 2e7, "2e+07 TiB"),
        (3.2, "ms", 4.0, "4 ms"),
        (0, "ms", 0.001, "1 us"),
        (1500, "ms", 1500.0, "1.5 s"),
        (3e6, "bytes a second", 3145728.0, "3 MiB/s"),
    ],
)
def test_scales(largest: int | float, kind: str, most: float, last: str) -> None:
    """A few round numbers, the last of which no value exceeds."""
    found = scale(largest, kind)
    assert found.most == pytest.approx(most)
    at, words = found.ticks[-1]
    assert (at == pytest.approx(most), words) == (True, last)
    assert found.ticks[0][0] == 0
    assert 4 <= len(found.ticks) <= 8
