# SPDX-License-Identifier: GPL-2.0-only
"""One bitmap: which bit stands for which page, what is set, and how much memory it takes."""

import pytest

from vfio_compliance.dirty_type1.pages import BOUNDARIES, counted
from vfio_compliance.run.checks import declined, told
from vfio_compliance.uapi.type1 import bitmap_bytes

#: Every bit of the first two words and what follows, and the last ones of a bitmap as large as a page.
POSITIONS = (*range(130), 4094, 4095, 4096)

#: The last bits of a bitmap's first page, and the first of its second one.
FAR = (32767, 32768, 32769)

#: Sizes of more memory than a machine has: 2^63 bytes, and so many bitmaps. A driver may accept or refuse them.
HUGE = {"2^63": 0, "2^63 more": 1}

#: Sizes that a page of a bitmap cannot have, from the size that it has.
PAGE_SIZES = {
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
@pytest.mark.parametrize("position", [*POSITIONS, *FAR])
def test_bit_per_page(guest, position):
    """Bit i of the bitmap, counted from the lowest bit of its first byte, is the page i after the range's start."""
    if position in FAR:  # with a hole before, so that nobody has to map so much
        guest.single_out(0, 1)
        answer = guest.get(-position, position + 2)
        answer.complete()
        answer.bounded()
        return
    count = 130 if position < 130 else 4097
    guest.single_out(position, count)
    answer = guest.get(0, count)
    answer.complete()
    answer.bounded()


@pytest.mark.rule("dirty.bitmap.of-the-range")
@pytest.mark.parametrize("count", BOUNDARIES, ids=counted)
@pytest.mark.parametrize("where", ["the first", "the second", "both", "both and holes"])
def test_of_the_range(guest, where, count):
    """A bitmap tells of the pages of the range that is asked for, and of all of them."""
    guest.map(0, count)
    guest.map(count, 70)
    guest.start()
    behind = count + 100 if where == "both and holes" else count + 70
    guest.map(behind, 3)
    for page in dict.fromkeys((0, count - 1, count, count + 69, behind + 2)):
        guest.make_dirty(page)
    ranges = {"the first": (0, count), "the second": (count, 70), "both": (0, count + 70)}
    answer = guest.get(*ranges.get(where, (-3, count + 140)))
    answer.complete()
    answer.bounded()
    for answer in guest.get_all():
        answer.complete()


@pytest.mark.rule("dirty.bitmap.page-size")
@pytest.mark.parametrize("size", PAGE_SIZES)
def test_page_size(guest, size):
    """A bitmap of another page size than the smallest supported one is refused, and nothing is lost by that."""
    guest.map(0, 70)
    guest.start()
    guest.make_dirty(69)
    wrong = PAGE_SIZES[size](guest.page)
    declined(f"asking for a bitmap of {wrong}-byte pages", guest.try_get(0, 70, page=wrong))
    guest.get(0, 70).complete()


@pytest.mark.rule("dirty.bitmap.buffer-size")
@pytest.mark.parametrize("count", BOUNDARIES, ids=counted)
@pytest.mark.parametrize("room", ["exact", "a word more", "a page more", "a word less", "0", "2^63", "2^63 more"])
def test_buffer_size(guest, observe, room, count):
    """Memory that is large enough for the bitmap is taken, larger memory too; smaller memory is refused."""
    guest.map(0, count)
    guest.start()
    guest.make_dirty(count - 1)
    more = {"exact": 0, "a word more": 8, "a page more": 4096}
    if room in more:
        guest.get(0, count, slack=more[room]).complete()
        return
    needed = bitmap_bytes(count)
    if room in HUGE:
        outcome = guest.try_get(0, count, room=(1 << 63) + HUGE[room] * needed)
        observe("a bitmap into 2^63 bytes", "taken" if outcome.ok else f"refused with {told(outcome)}")
        guest.make_dirty(count - 1)
    else:
        size = needed - 8 if room == "a word less" else 0
        declined(f"asking for the bitmap of {counted(count)} into {size} bytes", guest.try_get(0, count, room=size))
    guest.get(0, count).complete()


@pytest.mark.rule("dirty.bitmap.written-is-set")
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
def test_written_is_set(guest, observe, writes):
    """Every page that the device wrote since it was last reported is reported."""
    for answer in guest.play(f"map 0 130; start; {writes}; get 0 130"):
        answer.complete()
    for question, seen in guest.observations.items():
        observe(question, seen)


@pytest.mark.rule("dirty.bitmap.nothing-else")
@pytest.mark.parametrize("count", BOUNDARIES, ids=counted)
@pytest.mark.parametrize(
    "around",
    ["exact", "larger memory", "a hole behind", "a hole before", "between two others", "what was unmapped behind"],
)
def test_nothing_else(guest, around, count):
    """No bit is set outside the range, over pages that are not mapped, or after the last page."""
    guest.map(0, count)
    if around == "between two others":
        guest.map(-8, 8)
        guest.map(count, 8)
    if around == "what was unmapped behind":
        guest.map(count, 8)
    guest.start()
    guest.make_dirty(0)
    if around == "between two others":
        guest.make_dirty(-1)
    if around in ("between two others", "what was unmapped behind"):
        guest.make_dirty(count)
    if around == "what was unmapped behind":
        guest.unmap(count)
    holes = {"a hole before": (5, 0), "a hole behind": (0, 70), "what was unmapped behind": (0, 8)}
    before, behind = holes.get(around, (0, 0))
    slack = 4096 if around == "larger memory" else 0
    guest.get(-before, before + count + behind, slack=slack).bounded()


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
def test_clean_is_clear(guest, script):
    """Where a device's writes are known page by page, a page that it has not written is not reported."""
    for answer in guest.play(script):
        answer.exact()


@pytest.mark.rule("dirty.bitmap.all-devices")
@pytest.mark.parametrize("writer", ["the first", "the second", "both"])
def test_all_devices(guest, other_device, writer):
    """A bitmap tells of what any device of the container wrote."""
    guest.map(0, 70)
    guest.start()
    if writer != "the second":
        guest.write(3)
    if writer != "the first":
        guest.write(69, by=other_device)
    answer = guest.get(0, 70)
    answer.complete()
    answer.bounded()
