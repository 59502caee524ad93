# SPDX-License-Identifier: GPL-2.0-only
"""One bitmap: which bit stands for which page, which bits are set, and how large the buffer must be."""

from collections.abc import Callable

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.dirty_type1.pages import BOUNDARIES
from vfio_compliance.dirty_type1.scripted_memory import ScriptedMemory
from vfio_compliance.run.checks import declined, in_words
from vfio_compliance.run.stimulus import Actor
from vfio_compliance.uapi.type1 import bitmap_bytes

#: Every bit of the first two words and a few more, and the last bits of a bitmap as large as a page.
POSITIONS = (*range(130), 4094, 4095, 4096)

#: The last bits of a bitmap's first page, and the first of its second one.
FAR = (32767, 32768, 32769)

every_count = pytest.mark.parametrize("count", BOUNDARIES, ids=lambda count: counted(count, "page"))

#: Page sizes that a bitmap cannot have, made from the one that it has.
PAGE_SIZES: dict[str, Callable[[int], int]] = {
    "0": lambda page: 0,
    "1": lambda page: 1,
    "3": lambda page: 3,
    "a half": lambda page: page // 2,
    "one less": lambda page: page - 1,
    "one more": lambda page: page + 1,
    "twice": lambda page: 2 * page,
    "2 MiB": lambda page: max(2 << 20, 2 * page),
    "1 GiB": lambda page: 1 << 30,
    "2^32 more": lambda page: (1 << 32) + page,
    "2^63": lambda page: 1 << 63,
    "2^64 - 1": lambda page: (1 << 64) - 1,
}


@pytest.mark.rule("dirty.bitmap.bit-per-page")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    ("position", "count"), [pytest.param(each, 130 if each < 130 else 4097, id=f"{each}") for each in POSITIONS]
)
def test_bit_per_page(guest: ScriptedMemory, position: int, count: int) -> None:
    """Bit i of the bitmap, counted from the lowest bit of its first byte, stands for page i from the range's start."""
    guest.single_out(position, count)
    guest.get(0, count).correct()


@pytest.mark.rule("dirty.bitmap.bit-per-page")
@pytest.mark.stimulus
@pytest.mark.parametrize("position", FAR)
def test_far_bit_per_page(guest: ScriptedMemory, position: int) -> None:
    """The same for a page far behind a hole: the range is large, and little memory is mapped."""
    guest.single_out(0, 1)
    guest.get(-position, position + 2).correct()


@pytest.mark.rule("dirty.bitmap.of-the-range")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize("where", ["the first", "the second", "both"])
def test_of_the_range(guest: ScriptedMemory, where: str, count: int) -> None:
    """A bitmap reports the pages of the requested range, and all of them."""
    three_mappings(guest, count, behind=count + 70)
    ranges = {"the first": (0, count), "the second": (count, 70), "both": (0, count + 70)}
    guest.get(*ranges[where]).correct()
    guest.nothing_lost()


@pytest.mark.rule("dirty.bitmap.of-the-range")
@pytest.mark.stimulus
@every_count
def test_of_a_range_with_holes(guest: ScriptedMemory, count: int) -> None:
    """The bitmap is right for every mapped page, with unmapped pages before, between and after them in the range."""
    three_mappings(guest, count, behind=count + 100)
    guest.get(-3, count + 140).correct()
    guest.nothing_lost()


def three_mappings(guest: ScriptedMemory, count: int, behind: int) -> None:
    """Map ``count`` pages, 70 more, and three at ``behind``, with the first and the last page of each dirty."""
    guest.map(0, count)
    guest.map(count, 70)
    guest.start()
    guest.map(behind, 3)
    for page in dict.fromkeys((0, count - 1, count, count + 69, behind + 2)):
        guest.make_dirty(page)


@pytest.mark.rule("dirty.bitmap.page-size")
@pytest.mark.stimulus
@pytest.mark.parametrize("size", PAGE_SIZES)
def test_page_size(guest: ScriptedMemory, size: str) -> None:
    """A bitmap with a page size other than the smallest supported one is refused, and nothing is lost."""
    guest.dirty_last(70)
    wrong = PAGE_SIZES[size](guest.page)
    declined(f"asking for a bitmap of {wrong}-byte pages", guest.try_get(0, 70, page=wrong))
    guest.get(0, 70).complete()


@pytest.mark.rule("dirty.bitmap.buffer-size")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize("slack", [0, 8, 4096], ids=["exact", "a word more", "a page more"])
def test_enough_memory(guest: ScriptedMemory, slack: int, count: int) -> None:
    """A buffer that is large enough for the bitmap, or larger, is accepted."""
    guest.dirty_last(count)
    guest.get(0, count, slack=slack).complete()


@pytest.mark.rule("dirty.bitmap.buffer-size")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize("room", [lambda needed: needed - 8, lambda needed: 0], ids=["a word less", "0"])
def test_too_little_memory(guest: ScriptedMemory, room: Callable[[int], int], count: int) -> None:
    """A buffer that is smaller than the bitmap is refused, and nothing is lost."""
    guest.dirty_last(count)
    size = room(bitmap_bytes(count))
    what = f"asking for the bitmap of {counted(count, 'page')} into {counted(size, 'byte')}"
    declined(what, guest.try_get(0, count, room=size))
    guest.get(0, count).complete()


@pytest.mark.rule("dirty.bitmap.buffer-size")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize("bitmaps", [0, 1], ids=["2^63", "2^63 more"])
def test_huge_memory(guest: ScriptedMemory, observe: Callable[[str, str], None], bitmaps: int, count: int) -> None:
    """A buffer of 2^63 bytes or more, which no machine has, is accepted or refused; tracking works afterwards."""
    guest.dirty_last(count)
    outcome = guest.try_get(0, count, room=(1 << 63) + bitmaps * bitmap_bytes(count))
    observe("a bitmap with a buffer of 2^63 bytes", "taken" if outcome.ok else f"refused with {in_words(outcome)}")
    guest.make_dirty(count - 1)
    guest.get(0, count).complete()


@pytest.mark.rule("dirty.bitmap.written-is-set")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    "writes",
    [
        "write 0",
        "write 129",
        "write 62; write 63; write 64",
        "write 63 2",
        "write 10 3",
        "write 0 65",
        "write 5; write 5",
        "write 0; write 9; write 18; write 27; write 36; write 45; write 54; write 63; write 72; write 81",
        "write 5; get 0 130; write 5",
        "write 5; get 0 130; write 6; get 0 130; write 5; write 7",
    ],
)
def test_written_is_set(guest: ScriptedMemory, observe: Callable[[str, str], None], writes: str) -> None:
    """Every page that the device has written since the page was last reported is reported."""
    for answer in guest.play(f"map 0 130; start; {writes}; get 0 130"):
        answer.complete()
    for question, seen in guest.observations.items():
        observe(question, seen)


@pytest.mark.rule("dirty.bitmap.written-is-set")
@pytest.mark.stimulus
@pytest.mark.parametrize("times", [1, 8])
def test_chosen_is_set(guest: ScriptedMemory, times: int) -> None:
    """The same for pages that the device chooses itself, in memory of several pages."""
    guest.map(0, 16)
    guest.start()
    for _ in range(times):
        guest.write_in(0, 16)
    guest.get(0, 16).complete()


@pytest.mark.rule("dirty.bitmap.nothing-else")
@pytest.mark.stimulus
@every_count
@pytest.mark.parametrize(
    ("before", "behind", "slack"),
    [(0, 0, 0), (0, 0, 4096), (0, 70, 0), (5, 0, 0)],
    ids=["exact", "larger memory", "a hole behind", "a hole before"],
)
def test_nothing_else(guest: ScriptedMemory, before: int, behind: int, slack: int, count: int) -> None:
    """No bit is set outside the range, for pages that are not mapped, or after the last page."""
    guest.map(0, count)
    guest.start()
    guest.make_dirty(0)
    guest.get(-before, before + count + behind, slack=slack).bounded()


@pytest.mark.rule("dirty.bitmap.nothing-else")
@pytest.mark.stimulus
@every_count
def test_nothing_of_the_neighbours(guest: ScriptedMemory, count: int) -> None:
    """No bit is set for pages that the device wrote right before or right after the range."""
    guest.map(0, count)
    guest.map(-8, 8)
    guest.map(count, 8)
    guest.start()
    for page in (0, -1, count):
        guest.make_dirty(page)
    guest.get(0, count).bounded()


@pytest.mark.rule("dirty.bitmap.nothing-else")
@pytest.mark.stimulus
@every_count
def test_nothing_of_what_was_unmapped(guest: ScriptedMemory, count: int) -> None:
    """No bit is set for pages that the device wrote before they were unmapped."""
    guest.map(0, count)
    guest.map(count, 8)
    guest.start()
    guest.make_dirty(0)
    guest.make_dirty(count)
    guest.unmap(count)
    guest.get(0, count + 8).bounded()


@pytest.mark.rule("dirty.bitmap.clean-is-clear")
@pytest.mark.usefixtures("known_writes")
@pytest.mark.parametrize(
    "script",
    [
        "map 0 130; start; get 0 130",
        "map 0 130; start; write 64; get 0 130",
        "map 0 130; start; write 64; get 0 130; get 0 130",
        "map 0 130; map 130 8; start; write 130; get 0 130; get 0 138",
        "map 0 130; start; map 130 8; get 0 138",
    ],
)
def test_clean_is_clear(guest: ScriptedMemory, script: str) -> None:
    """If a device's writes are known page by page, a page that it has not written is not reported."""
    for answer in guest.play(script):
        answer.exact()


@pytest.mark.rule("dirty.bitmap.all-devices")
@pytest.mark.parametrize("writers", [(0,), (1,), (0, 1)], ids=["the first", "the second", "both"])
def test_all_devices(guest: ScriptedMemory, other_device: Actor, writers: tuple[int, ...]) -> None:
    """A bitmap reports the pages that any device of the container wrote."""
    guest.map(0, 70)
    guest.start()
    for writer in writers:
        guest.write((3, 69)[writer], by=(guest.actor, other_device)[writer])
    guest.get(0, 70).correct()
