# SPDX-License-Identifier: GPL-2.0-only
"""Unmapping with the dirty bitmap."""

from collections.abc import Callable
from typing import TypedDict

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.dirty_type1.pages import BOUNDARIES
from vfio_compliance.dirty_type1.scripted_memory import ScriptedMemory
from vfio_compliance.run.checks import NotApplicable, declined
from vfio_compliance.transport import Outcome
from vfio_compliance.uapi.type1 import bitmap_bytes

POSITIONS = (*range(66), 127, 128, 129)

every_count = pytest.mark.parametrize("count", BOUNDARIES, ids=lambda count: counted(count, "page"))


def judge_refusal(guest: ScriptedMemory, what: str, outcome: Outcome) -> None:
    """An unmapping was refused, and nothing was unmapped."""
    declined(what, outcome)
    guest.still_mapped(0)


@pytest.mark.rule("dirty.unmap.reports-then-unmaps")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize("how", ["make_dirty", "pin"], ids=["written", "pinned"])
def test_reports_then_unmaps(guest: ScriptedMemory, how: str, count: int) -> None:
    """The bitmap reports what a last query before the unmapping would have reported; then the range is unmapped."""
    guest.map(0, count)
    guest.start()
    for page in dict.fromkeys((0, count - 1)):
        getattr(guest, how)(page, 1)
    guest.unmap_with_bitmap(0).complete()
    guest.map(0, count, judged=True)  # there is room for another mapping
    guest.get(0, count).bounded()


@pytest.mark.rule("dirty.unmap.buffer-size")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize("slack", [0, 4096], ids=["exact", "a page more"])
def test_enough_memory(guest: ScriptedMemory, slack: int, count: int) -> None:
    """A buffer that is large enough for the bitmap is accepted."""
    guest.dirty_last(count)
    guest.unmap_with_bitmap(0, slack=slack).complete()


@pytest.mark.rule("dirty.unmap.buffer-size")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize("room", [lambda needed: needed - 8, lambda needed: 0], ids=["a word less", "0"])
def test_too_little_memory(guest: ScriptedMemory, room: Callable[[int], int], count: int) -> None:
    """A buffer that is smaller than the bitmap is refused, and nothing is unmapped."""
    guest.dirty_last(count)
    size = room(bitmap_bytes(count))
    what = f"unmapping {counted(count, 'page')} with {counted(size, 'byte')} for the bitmap"
    judge_refusal(guest, what, guest.try_unmap_with_bitmap(0, room=size))
    guest.unmap_with_bitmap(0).complete()


@pytest.mark.rule("dirty.unmap.bit-per-page")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    ("position", "first"),
    [
        *(pytest.param(position, 0, id=f"{position}") for position in POSITIONS),
        *(pytest.param(position, 5, id=f"{position}, from page 5 on") for position in (0, 1, 58, 59, 63, 64, 129)),
    ],
)
def test_bit_per_page(guest: ScriptedMemory, position: int, first: int) -> None:
    """Bit i of the bitmap stands for page i from the start of the unmapped range."""
    guest.map(first, 130)
    guest.start()
    guest.make_dirty(first + position)
    guest.unmap_with_bitmap(first).correct()


@pytest.mark.rule("dirty.unmap.page-size")
@pytest.mark.stimulus
@pytest.mark.parametrize("size", ["0", "3", "a half", "twice", "2^63"])
def test_page_size(guest: ScriptedMemory, size: str) -> None:
    """A bitmap with an unsupported page size is refused, and nothing is unmapped."""
    guest.dirty_last(70)
    wrong = {"0": 0, "3": 3, "a half": guest.page // 2, "twice": 2 * guest.page, "2^63": 1 << 63}[size]
    if wrong and wrong & guest.page_sizes == wrong:
        raise NotApplicable(f"pages of {counted(wrong, 'byte')} are supported")
    judge_refusal(guest, f"unmapping with a bitmap of {wrong}-byte pages", guest.try_unmap_with_bitmap(0, page=wrong))
    guest.unmap_with_bitmap(0).complete()


@pytest.mark.rule("dirty.unmap.written-is-set")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    "writes", ["dirty 0", "dirty 64", "dirty 63 2", "dirty 0; dirty 129", "dirty 5; get 0 130; dirty 6"]
)
def test_written_is_set(guest: ScriptedMemory, writes: str) -> None:
    """Every page that the device has written since the page was last reported has its bit set."""
    guest.play(f"map 0 130; start; {writes}")
    guest.unmap_with_bitmap(0).complete()


@pytest.mark.rule("dirty.unmap.range-only")
@pytest.mark.stimulus
@pytest.mark.parametrize("first", [0, 64, 130, 200])
@pytest.mark.parametrize("slack", [0, 4096], ids=["exact memory", "larger memory"])
def test_range_only(guest: ScriptedMemory, slack: int, first: int) -> None:
    """The bitmap is that of the unmapped range; what is recorded for other mappings is kept."""
    guest.play("map 0 64; map 64 66; map 130 1; map 200 9; start; dirty 63; dirty 64; dirty 129; dirty 130; dirty 200")
    guest.unmap_with_bitmap(first, slack=slack).correct()
    guest.nothing_lost()


@pytest.mark.rule("dirty.unmap.range-only")
@pytest.mark.parametrize("first", [0, 64])
def test_range_only_pinned(guest: ScriptedMemory, first: int) -> None:
    """If pages are pinned across the border of two mappings, those of the other mapping are still reported."""
    guest.play("map 0 64; map 64 66; start; pin 62 4")
    guest.unmap_with_bitmap(first).correct()
    guest.nothing_lost()


class Wrong(TypedDict, total=False):
    """What is wrong with a request."""

    page: int
    room: int
    readonly: bool


@pytest.mark.rule("dirty.unmap.refused-keeps")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    ("wrong", "request_"),
    [
        pytest.param(words, request_, id=words)
        for words, request_ in (("no memory for the bitmap", {"room": 0}), ("another page size", {"page": 3}))
    ],
)
def test_refused_keeps(guest: ScriptedMemory, wrong: str, request_: Wrong) -> None:
    """A refused unmapping unmaps nothing, and loses no record of written pages."""
    judge_keeping(guest, wrong, request_)


@pytest.mark.rule("dirty.unmap.refused-keeps")
def test_refused_for_its_memory_keeps(guest: ScriptedMemory) -> None:
    """The same for a bitmap that cannot be written."""
    if not guest.transport.takes_pointers:
        raise NotApplicable("a bad pointer cannot be passed over this transport")
    judge_keeping(guest, "a bitmap that cannot be written", {"readonly": True})


def judge_keeping(guest: ScriptedMemory, wrong: str, request_: Wrong) -> None:
    """The unmapping is refused; afterwards everything is still mapped and recorded."""
    guest.play("map 0 70; start; dirty 5; dirty 69")
    judge_refusal(guest, f"unmapping with {wrong}", guest.try_unmap_with_bitmap(0, **request_))
    guest.get(0, 70).complete()
    guest.make_dirty(6)
    guest.unmap_with_bitmap(0).complete()
