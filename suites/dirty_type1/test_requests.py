# SPDX-License-Identifier: GPL-2.0-only
"""The arguments of the requests: too short, too long, at bad addresses, with flags that nobody knows."""

from __future__ import annotations

import pytest

from vfio_compliance.run import checks
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_UNMAP_DMA, DirtyPagesFlags, DmaUnmapFlags

START, STOP, GET = DirtyPagesFlags.START, DirtyPagesFlags.STOP, DirtyPagesFlags.GET_BITMAP
TELLING = DmaUnmapFlags.GET_DIRTY_BITMAP

#: argsz of DIRTY_PAGES without a range, of UNMAP_DMA without a bitmap, and of both with it.
HEAD, UNMAP, FULL = 8, 24, 48

#: Addresses at which no argument can be read, by the names of the fixture.
UNREADABLE = ("NULL", "unmapped", "cut")

#: The largest argsz of all; where less can be asked for, that is tried instead.
MOST = 2**32 - 1


def size_name(size):
    """An argsz in the name of a case."""
    return "the largest argsz" if size == MOST else f"argsz {size}"


#: Bytes of memory that an argsz of more is given.
ROOM = 4096

ONES = b"\xff"

#: Names of operations, with the tracking that they would end or, off, begin.
OPERATIONS = {"START": (START, False), "STOP": (STOP, True), "GET_BITMAP": (GET, True)}


def state(tracking):
    return "on" if tracking else "off"


# ---- VFIO_IOMMU_DIRTY_PAGES -----------------------------------------------------------------------------------------


@pytest.mark.rule("dirty.request.numbers")
@pytest.mark.parametrize(("flag", "before", "after"), [(1, False, True), (2, True, False), (4, True, True)])
def test_request_numbers(container, witness, flag, before, after):
    """Request 0x3b75 with flag 1 begins tracking, with 2 it ends it, and with 4 it fills the bitmap."""
    witness.begin(tracking=before)
    what = f"request 0x3b75 with flag {flag}"
    checks.succeeded(what, container.try_request(0x3B75, witness.dirty_request(flag, HEAD if flag < 4 else FULL)))
    witness.settles(tracking=after, after=what, got=flag == 4)


COMBINED = {"no flag": 0, "1+2": 3, "1+4": 5, "2+4": 6, "1+2+4": 7}

#: Each flag that is not known, alone and beside each that is.
UNKNOWN = [(known, bit) for bit in range(3, 32) for known in (0, START, STOP, GET)]


def flags_case(case):
    """``0x8+1``: the unknown bit, and the known one beside it."""
    known, bit = case
    return f"0x{1 << bit:x}" + (f"+{int(known)}" if known else "")


@pytest.mark.rule("dirty.request.one-flag")
@pytest.mark.parametrize(
    ("flags", "tracking"),
    [
        *(
            pytest.param(flags, on, id=f"{name}, {state(on)}")
            for name, flags in COMBINED.items()
            for on in (True, False)
        ),
        *(pytest.param(case[0] | 1 << case[1], case[0] != START, id=flags_case(case)) for case in UNKNOWN),
    ],
)
def test_one_flag(container, witness, flags, tracking):
    """Flags that are not one of the three are refused, and what was tracked still is, or is not."""
    witness.begin(tracking=tracking)
    what = f"VFIO_IOMMU_DIRTY_PAGES with flags 0x{flags:x}, tracking {state(tracking)}"
    outcome = container.try_request(VFIO_IOMMU_DIRTY_PAGES, witness.dirty_request(flags, FULL))
    checks.declined(what, outcome)
    witness.unchanged(what)


@pytest.mark.rule("dirty.request.argsz")
@pytest.mark.parametrize("wrong", [*range(HEAD), *UNREADABLE], ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_request_argsz(container, witness, misplace, operation, wrong):
    """An argsz below 8 is refused for each operation, and so is an argument that cannot be read."""
    flag, tracking = OPERATIONS[operation]
    enough = FULL if flag == GET else HEAD
    if isinstance(wrong, int):
        what, argument = f"{operation} with argsz {wrong}", witness.dirty_request(flag, wrong)
    else:
        what, argument = f"{operation} at an address that is {wrong}", witness.dirty_request(flag, enough)
        argument = misplace(wrong, argument[:enough])
    witness.begin(tracking=tracking)
    checks.declined(what, container.try_request(VFIO_IOMMU_DIRTY_PAGES, argument))
    witness.unchanged(what)


@pytest.mark.rule("dirty.request.long-argsz")
@pytest.mark.parametrize(
    ("operation", "argsz"),
    [
        pytest.param(operation, argsz, id=f"{operation}-{size_name(argsz).removeprefix('argsz ')}")
        for operation in OPERATIONS
        for argsz in (HEAD + 1, HEAD + 8, FULL + 1, FULL + 8, ROOM, MOST)
        if operation != "GET_BITMAP" or argsz > FULL
    ],
)
def test_request_long_argsz(container, witness, operation, argsz):
    """More argument than the operation needs, filled with ones, makes no difference."""
    flag, before = OPERATIONS[operation]
    witness.begin(tracking=before)
    argsz = min(argsz, container.largest_argsz)
    argument = witness.dirty_request(flag, argsz)
    what = f"{operation} with argsz {argsz}"
    argument += ONES * (min(argsz, ROOM) - len(argument))
    checks.succeeded(what, container.try_request(VFIO_IOMMU_DIRTY_PAGES, argument))
    witness.settles(tracking=flag != STOP, after=what, got=flag == GET)


@pytest.mark.rule("dirty.bitmap.argsz")
@pytest.mark.parametrize("argsz", range(HEAD, FULL))
def test_bitmap_argsz(container, witness, argsz):
    """GET_BITMAP with an argsz from 8 to 47 is refused; the bitmap's memory and what is on record stay as they were."""
    witness.begin(tracking=True)
    what = f"GET_BITMAP with argsz {argsz}"
    checks.declined(what, container.try_request(VFIO_IOMMU_DIRTY_PAGES, witness.dirty_request(GET, argsz)))
    witness.unchanged(what)


# ---- VFIO_IOMMU_UNMAP_DMA -------------------------------------------------------------------------------------------


@pytest.mark.rule("dirty.unmap.argsz")
@pytest.mark.parametrize("wrong", [*range(FULL), *UNREADABLE], ids=str)
def test_unmap_argsz(container, witness, misplace, wrong):
    """With the bitmap's flag an argsz below 48 is refused: all stays mapped, and on record."""
    if isinstance(wrong, int):
        what, argument = f"unmapping with the bitmap, argsz {wrong}", witness.unmap_request(TELLING, wrong)
    else:
        what = f"unmapping with the bitmap, at an address that is {wrong}"
        argument = misplace(wrong, witness.unmap_request(TELLING, FULL))
    witness.begin(tracking=True)
    checks.declined(what, container.try_request(VFIO_IOMMU_UNMAP_DMA, argument))
    witness.unchanged(what)


LONG_ENOUGH = (UNMAP, UNMAP + 1, 40, FULL - 1, FULL, ROOM, MOST)


@pytest.mark.rule("dirty.unmap.plain")
@pytest.mark.parametrize("tracking", [True, False], ids=state)
@pytest.mark.parametrize(
    ("argsz", "flags", "place"),
    [
        *(pytest.param(argsz, 0, None, id=size_name(argsz)) for argsz in (*range(UNMAP), *LONG_ENOUGH)),
        *(pytest.param(UNMAP, 1 << bit, None, id=f"flag 0x{1 << bit:x}") for bit in range(3, 32)),
        *(pytest.param(UNMAP, 0, place, id=place) for place in UNREADABLE),
    ],
)
def test_unmap_plain(container, witness, misplace, argsz, flags, place, tracking):
    """An argument of 24 bytes unmaps, so does more, all ones; less, an unknown flag, a bad address change nothing."""
    argsz = min(argsz, container.largest_argsz)
    argument = witness.unmap_request(flags, argsz)
    argument += ONES * (min(argsz, ROOM) - len(argument))
    before = bytes(argument)
    what = f"unmapping with argsz {argsz}, flags 0x{flags:x}" + (f", at an address that is {place}" if place else "")
    used = misplace(place, before[:UNMAP]) if place else argument
    witness.begin(tracking=tracking)
    outcome = container.try_request(VFIO_IOMMU_UNMAP_DMA, used)
    if place or flags or argsz < UNMAP:
        checks.declined(what, outcome)
        witness.unchanged(what)
        return
    checks.succeeded(what, outcome)
    checks.equal(f"reading the size after {what}", int.from_bytes(argument[16:24], "little"), witness.size)
    checks.equal(f"reading what is not the size after {what}", argument[:16] + argument[24:], before[:16] + before[24:])
    witness.gone(what)


# ---- information ----------------------------------------------------------------------------------------------------


#: argsz: each from 0 to what the fixed parts have and a little more, each around the end of the whole, and much more.
SIZES = [*range(64), *(f"whole{by:+}" for by in range(-40, 9)), ROOM, MOST]

#: Those that are tried before an inaccessible page as well.
GUARDED = (16, 20, 24, 32, "whole-1", "whole+0")

INFORMATION = [
    *(pytest.param(size, None, id=size_name(size)) for size in SIZES),
    *(pytest.param(size, "guarded", id=f"argsz {size}, guarded") for size in GUARDED),
    *(pytest.param("whole+0", place, id=place) for place in (*UNREADABLE, "read-only")),
]


def judge_information(container, growth, misplace, size, place):
    argsz = size if isinstance(size, int) else growth.needed + int(size.removeprefix("whole"))
    if place is None:
        growth.judge(min(max(argsz, 0), container.largest_argsz))
    elif place == "guarded":
        misplace("unmapped", b"?")  # addresses can be expressed
        growth.judge_guarded(max(argsz, growth.shape.least))
    else:
        growth.judge_misplaced(place, misplace)


@pytest.mark.rule("dirty.info.argsz")
@pytest.mark.parametrize(("size", "place"), INFORMATION)
def test_container_information(container, container_growth, misplace, size, place):
    """Too little is refused, enough brings the whole, what is between tells what is enough; nothing goes past argsz."""
    judge_information(container, container_growth, misplace, size, place)


@pytest.mark.rule("dirty.region-info.argsz")
@pytest.mark.parametrize(("size", "place"), INFORMATION)
def test_region_information(container, region_growth, misplace, size, place):
    """The same for a region that has capabilities."""
    judge_information(container, region_growth, misplace, size, place)
