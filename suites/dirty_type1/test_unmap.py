# SPDX-License-Identifier: GPL-2.0-only
"""Unmapping with the dirty bitmap."""

import pytest

from vfio_compliance.dirty_type1.pages import BOUNDARIES, counted
from vfio_compliance.run.checks import NotApplicable, declined
from vfio_compliance.uapi.type1 import bitmap_bytes

POSITIONS = (*range(66), 127, 128, 129)


@pytest.mark.rule("dirty.unmap.reports-then-unmaps")
@pytest.mark.parametrize("count", BOUNDARIES, ids=counted)
@pytest.mark.parametrize("how", ["written", "pinned"])
def test_reports_then_unmaps(guest, how, count):
    """The bitmap says what the last query before the unmapping would have said, and then the range is unmapped."""
    guest.map(0, count)
    guest.start()
    for page in dict.fromkeys((0, count - 1)):
        if how == "pinned":
            guest.pin(page, 1)
        else:
            guest.make_dirty(page)
    guest.unmap_telling(0).complete()
    guest.map(0, count, judged=True)  # there is room for another mapping
    guest.get(0, count).bounded()


@pytest.mark.rule("dirty.unmap.buffer-size")
@pytest.mark.parametrize("count", BOUNDARIES, ids=counted)
@pytest.mark.parametrize("room", ["exact", "a page more", "a word less", "0"])
def test_buffer_size(guest, room, count):
    """Memory that is large enough for the bitmap is taken; smaller memory is refused."""
    guest.map(0, count)
    guest.start()
    guest.make_dirty(count - 1)
    if room in ("exact", "a page more"):
        guest.unmap_telling(0, slack=4096 if room == "a page more" else 0).complete()
        return
    size = {"a word less": bitmap_bytes(count) - 8, "0": 0}[room]
    declined(f"unmapping {counted(count)} with {size} bytes for the bitmap", guest.try_unmap_telling(0, room=size))
    guest.still_mapped(0)
    guest.unmap_telling(0).complete()


@pytest.mark.rule("dirty.unmap.bit-per-page")
@pytest.mark.parametrize(
    ("position", "first"),
    [
        *(pytest.param(position, 0, id=f"{position}") for position in POSITIONS),
        *(pytest.param(position, 5, id=f"{position}, from page 5 on") for position in (0, 1, 58, 59, 63, 64, 129)),
    ],
)
def test_bit_per_page(guest, position, first):
    """Bit i of the bitmap is the page i after the start of what is unmapped."""
    guest.map(first, 130)
    guest.start()
    guest.make_dirty(first + position)
    answer = guest.unmap_telling(first)
    answer.complete()
    answer.bounded()


@pytest.mark.rule("dirty.unmap.page-size")
@pytest.mark.parametrize("size", ["0", "3", "a half", "twice", "2^63"])
def test_page_size(guest, size):
    """A bitmap of a page size that is not supported is refused, and nothing is unmapped then."""
    guest.map(0, 70)
    guest.start()
    guest.make_dirty(69)
    wrong = {"0": 0, "3": 3, "a half": guest.page // 2, "twice": 2 * guest.page, "2^63": 1 << 63}[size]
    if wrong and wrong & guest.page_sizes == wrong:
        raise NotApplicable(f"pages of {wrong} bytes are supported")
    declined(f"unmapping with a bitmap of {wrong}-byte pages", guest.try_unmap_telling(0, page=wrong))
    guest.still_mapped(0)
    guest.unmap_telling(0).complete()


@pytest.mark.rule("dirty.unmap.written-is-set")
@pytest.mark.parametrize(
    "writes", ["dirty 0", "dirty 64", "dirty 63 2", "dirty 0; dirty 129", "dirty 5; get 0 130; dirty 6"]
)
def test_written_is_set(guest, writes):
    """Every page that the device wrote since it was last reported has its bit set."""
    guest.play(f"map 0 130; start; {writes}")
    guest.unmap_telling(0).complete()


@pytest.mark.rule("dirty.unmap.range-only")
@pytest.mark.parametrize("first", [0, 64, 130, 200])
@pytest.mark.parametrize("slack", [0, 4096], ids=["exact memory", "larger memory"])
def test_range_only(guest, slack, first):
    """The bitmap is that of the range which is unmapped; other mappings keep what is known of them."""
    guest.play("map 0 64; map 64 66; map 130 1; map 200 9; start; dirty 63; dirty 64; dirty 129; dirty 130; dirty 200")
    answer = guest.unmap_telling(first, slack=slack)
    answer.complete()
    answer.bounded()
    for answer in guest.get_all():
        answer.complete()


@pytest.mark.rule("dirty.unmap.refused-keeps")
@pytest.mark.parametrize("wrong", ["no memory for the bitmap", "another page size", "a bitmap that cannot be written"])
def test_refused_keeps(guest, wrong):
    """A refused unmapping unmaps nothing, and loses nothing of what was written."""
    if wrong == "a bitmap that cannot be written" and not guest.transport.takes_pointers:
        raise NotApplicable("bad pointers cannot be expressed here")
    guest.play("map 0 70; start; dirty 5; dirty 69")
    outcome = guest.try_unmap_telling(
        0,
        room=0 if wrong.startswith("no memory") else None,
        page=3 if wrong.startswith("another") else None,
        readonly=wrong.endswith("written"),
    )
    declined(f"unmapping with {wrong}", outcome)
    guest.still_mapped(0)
    answer = guest.get(0, 70)
    answer.complete()
    guest.make_dirty(6)
    guest.unmap_telling(0).complete()
