# SPDX-License-Identifier: GPL-2.0-only
"""The arguments of the requests: too short, too long, at bad addresses, with undefined flags."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vfio_compliance.device import Container
from vfio_compliance.dirty_type1.argsz_probe import ArgszProbe
from vfio_compliance.dirty_type1.canary import Canary
from vfio_compliance.run import checks
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_UNMAP_DMA, DirtyPagesFlags, DmaUnmapFlags

START, STOP, GET = DirtyPagesFlags.START, DirtyPagesFlags.STOP, DirtyPagesFlags.GET_BITMAP
WITH_BITMAP = DmaUnmapFlags.GET_DIRTY_BITMAP

#: argsz of DIRTY_PAGES without a range, of UNMAP_DMA without a bitmap, and of both with it.
HEAD, UNMAP, FULL = 8, 24, 48

#: Addresses at which no argument can be read, by the names of the fixture.
UNREADABLE = ("NULL", "unmapped", "cut")

#: The largest possible argsz; if the transport allows less, that is tried instead.
MOST = 2**32 - 1


def size_name(size: int | str) -> str:
    """An argsz in the name of a case."""
    return "the largest argsz" if size == MOST else f"argsz {size}"


#: Bytes of memory behind an argsz that is larger than this.
ROOM = 4096

ONES = b"\xff"

#: The least argsz of each operation.
ENOUGH: dict[int, int] = {START: HEAD, STOP: HEAD, GET: FULL}

#: Names of operations, and whether tracking is on before: they would end it or, if it is off, start it.
OPERATIONS = {"START": (START, False), "STOP": (STOP, True), "GET_BITMAP": (GET, True)}


def state(tracking: bool) -> str:
    return "on" if tracking else "off"


# ---- VFIO_IOMMU_DIRTY_PAGES -----------------------------------------------------------------------------------------


@pytest.mark.rule("dirty.request.numbers")
@pytest.mark.parametrize(("flag", "before", "after"), [(1, False, True), (2, True, False), (4, True, True)])
def test_request_numbers(container: Container, canary: Canary, flag: int, before: bool, after: bool) -> None:
    """Request 0x3b75 starts tracking with flag 1, stops it with flag 2, and fills the bitmap with flag 4."""
    canary.begin(tracking=before)
    what = f"request 0x3b75 with flag {flag}"
    checks.succeeded(what, container.try_request(0x3B75, canary.dirty_request(flag, ENOUGH[flag])))
    canary.settles(tracking=after, after=what, got=flag == GET)


COMBINED = {"no flag": 0, "1+2": 3, "1+4": 5, "2+4": 6, "1+2+4": 7}

#: Each unknown flag, alone and together with each known one.
UNKNOWN = [(known, bit) for bit in range(3, 32) for known in (0, START, STOP, GET)]


def flags_case(case: tuple[int, int]) -> str:
    """``0x8+1``: the unknown bit, and the known one with it."""
    known, bit = case
    return f"0x{1 << bit:x}" + (f"+{int(known)}" if known else "")


@pytest.mark.rule("dirty.request.one-flag")
@pytest.mark.stimulus
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
def test_one_flag(container: Container, canary: Canary, flags: int, tracking: bool) -> None:
    """Flags other than one of the three are refused, and tracking stays on or off as it was."""
    canary.begin(tracking=tracking)
    what = f"VFIO_IOMMU_DIRTY_PAGES with flags 0x{flags:x}, tracking {state(tracking)}"
    canary.declined(what, container.try_request(VFIO_IOMMU_DIRTY_PAGES, canary.dirty_request(flags, FULL)))


@pytest.mark.rule("dirty.request.argsz")
@pytest.mark.parametrize("argsz", range(HEAD))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_request_argsz(container: Container, canary: Canary, operation: str, argsz: int) -> None:
    """An argsz below 8 is refused for each operation."""
    flag, tracking = OPERATIONS[operation]
    argument = canary.dirty_request(flag, argsz)
    canary.begin(tracking=tracking)
    outcome = container.try_request(VFIO_IOMMU_DIRTY_PAGES, argument)
    canary.declined(f"{operation} with argsz {argsz}", outcome)


@pytest.mark.rule("dirty.request.argsz")
@pytest.mark.parametrize("place", UNREADABLE)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_request_address(
    container: Container, canary: Canary, bad_pointer: Callable[[str, bytes], int], operation: str, place: str
) -> None:
    """An argument that cannot be read is refused for each operation."""
    flag, tracking = OPERATIONS[operation]
    enough = ENOUGH[flag]
    argument = bad_pointer(place, bytes(canary.dirty_request(flag, enough)[:enough]))
    canary.begin(tracking=tracking)
    outcome = container.try_request(VFIO_IOMMU_DIRTY_PAGES, argument)
    canary.declined(f"{operation} at an address that is {place}", outcome)


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
def test_request_long_argsz(container: Container, canary: Canary, operation: str, argsz: int) -> None:
    """More argument than the operation needs, filled with ones, makes no difference."""
    flag, before = OPERATIONS[operation]
    canary.begin(tracking=before)
    argsz = min(argsz, container.largest_argsz)
    argument = canary.dirty_request(flag, argsz)
    what = f"{operation} with argsz {argsz}"
    argument += ONES * (min(argsz, ROOM) - len(argument))
    checks.succeeded(what, container.try_request(VFIO_IOMMU_DIRTY_PAGES, argument))
    canary.settles(tracking=flag != STOP, after=what, got=flag == GET)


@pytest.mark.rule("dirty.bitmap.argsz")
@pytest.mark.stimulus
@pytest.mark.parametrize("argsz", range(HEAD, FULL))
def test_bitmap_argsz(container: Container, canary: Canary, argsz: int) -> None:
    """GET_BITMAP with an argsz from 8 to 47 is refused; the bitmap buffer and the record of dirty pages stay as is."""
    canary.begin(tracking=True)
    what = f"GET_BITMAP with argsz {argsz}"
    canary.declined(what, container.try_request(VFIO_IOMMU_DIRTY_PAGES, canary.dirty_request(GET, argsz)))


# ---- VFIO_IOMMU_UNMAP_DMA -------------------------------------------------------------------------------------------


@pytest.mark.rule("dirty.unmap.argsz")
@pytest.mark.stimulus
@pytest.mark.parametrize("argsz", range(FULL))
def test_unmap_argsz(container: Container, canary: Canary, argsz: int) -> None:
    """With the bitmap flag, an argsz below 48 is refused: everything stays mapped and recorded."""
    argument = canary.unmap_request(WITH_BITMAP, argsz)
    canary.begin(tracking=True)
    outcome = container.try_request(VFIO_IOMMU_UNMAP_DMA, argument)
    canary.declined(f"unmapping with the bitmap, argsz {argsz}", outcome)


@pytest.mark.rule("dirty.unmap.argsz")
@pytest.mark.parametrize("place", UNREADABLE)
def test_unmap_address(
    container: Container, canary: Canary, bad_pointer: Callable[[str, bytes], int], place: str
) -> None:
    """With the bitmap flag, an argument that cannot be read is refused: everything stays mapped and recorded."""
    argument = bad_pointer(place, bytes(canary.unmap_request(WITH_BITMAP, FULL)))
    canary.begin(tracking=True)
    outcome = container.try_request(VFIO_IOMMU_UNMAP_DMA, argument)
    canary.declined(f"unmapping with the bitmap, at an address that is {place}", outcome)


on_or_off = pytest.mark.parametrize("tracking", [True, False], ids=state)


@pytest.mark.rule("dirty.unmap.plain")
@pytest.mark.stimulus
@on_or_off
@pytest.mark.parametrize("argsz", [UNMAP, UNMAP + 1, 40, FULL - 1, FULL, ROOM, MOST], ids=size_name)
def test_unmap_plain(container: Container, canary: Canary, argsz: int, tracking: bool) -> None:
    """An argument of 24 bytes unmaps, and so does a longer one, filled with ones; only the size in it is written."""
    argsz = min(argsz, container.largest_argsz)
    argument = canary.unmap_request(0, argsz)
    argument += ONES * (min(argsz, ROOM) - len(argument))
    before = bytes(argument)
    what = f"unmapping with argsz {argsz}, flags 0x0"
    canary.begin(tracking=tracking)
    checks.succeeded(what, container.try_request(VFIO_IOMMU_UNMAP_DMA, argument))
    checks.equal(f"reading the size after {what}", int.from_bytes(argument[16:24], "little"), canary.size)
    checks.equal(f"reading what is not the size after {what}", argument[:16] + argument[24:], before[:16] + before[24:])
    canary.gone(what)


@pytest.mark.rule("dirty.unmap.plain")
@pytest.mark.stimulus
@on_or_off
@pytest.mark.parametrize(
    ("argsz", "flags"),
    [
        *(pytest.param(argsz, 0, id=size_name(argsz)) for argsz in range(UNMAP)),
        *(pytest.param(UNMAP, 1 << bit, id=f"flag 0x{1 << bit:x}") for bit in range(3, 32)),
    ],
)
def test_unmap_plain_refused(container: Container, canary: Canary, argsz: int, flags: int, tracking: bool) -> None:
    """An argument of fewer than 24 bytes, or with an undefined flag, is refused and changes nothing."""
    argument = canary.unmap_request(flags, argsz)
    canary.begin(tracking=tracking)
    outcome = container.try_request(VFIO_IOMMU_UNMAP_DMA, argument)
    canary.declined(f"unmapping with argsz {argsz}, flags 0x{flags:x}", outcome)


@pytest.mark.rule("dirty.unmap.plain")
@on_or_off
@pytest.mark.parametrize("place", UNREADABLE)
def test_unmap_plain_address(
    container: Container, canary: Canary, bad_pointer: Callable[[str, bytes], int], place: str, tracking: bool
) -> None:
    """An argument that cannot be read is refused and changes nothing."""
    argument = bad_pointer(place, bytes(canary.unmap_request(0, UNMAP)[:UNMAP]))
    canary.begin(tracking=tracking)
    outcome = container.try_request(VFIO_IOMMU_UNMAP_DMA, argument)
    canary.declined(f"unmapping with argsz {UNMAP}, flags 0x0, at an address that is {place}", outcome)


# ---- information ----------------------------------------------------------------------------------------------------


def exactly(size: int) -> Callable[[ArgszProbe], int]:
    """An argsz that is known beforehand."""
    return lambda probe: size


def around(by: int) -> Callable[[ArgszProbe], int]:
    """An argsz ``by`` more than the whole needs."""
    return lambda probe: probe.needed + by


#: argsz: each from 0 to a little past the fixed parts, each around the end of the whole, and far more.
SIZES = {
    **{size_name(size): exactly(size) for size in range(64)},
    **{size_name(f"whole{by:+}"): around(by) for by in range(-40, 9)},
    **{size_name(size): exactly(size) for size in (ROOM, MOST)},
}

every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)

#: Those that are tried before an inaccessible page as well.
guarded_sizes = pytest.mark.parametrize("name", [size_name(size) for size in (16, 20, 24, 32, "whole-1", "whole+0")])

every_place = pytest.mark.parametrize("place", [*UNREADABLE, "read-only"])


@pytest.mark.rule("dirty.info.argsz")
@every_size
def test_container_information(
    container: Container, container_argsz: ArgszProbe, size: Callable[[ArgszProbe], int]
) -> None:
    """A short argsz is refused, a full one gets all, one in between the size needed; nothing is written past it."""
    judge_size(container, container_argsz, size)


@pytest.mark.rule("dirty.info.argsz")
@guarded_sizes
def test_container_information_guarded(
    container: Container, container_argsz: ArgszProbe, bad_pointer: Callable[[str, bytes], int], name: str
) -> None:
    """The same if the argument ends before a page that cannot be accessed."""
    judge_guarded(container_argsz, bad_pointer, name)


@pytest.mark.rule("dirty.info.argsz")
@every_place
def test_container_information_address(
    container: Container, container_argsz: ArgszProbe, bad_pointer: Callable[[str, bytes], int], place: str
) -> None:
    """An argument that cannot be read or written is refused."""
    container_argsz.judge_bad_pointer(place, bad_pointer)


@pytest.mark.rule("dirty.region-info.argsz")
@every_size
def test_region_information(container: Container, region_argsz: ArgszProbe, size: Callable[[ArgszProbe], int]) -> None:
    """The same as for the container, for a region that has capabilities."""
    judge_size(container, region_argsz, size)


@pytest.mark.rule("dirty.region-info.argsz")
@guarded_sizes
def test_region_information_guarded(
    container: Container, region_argsz: ArgszProbe, bad_pointer: Callable[[str, bytes], int], name: str
) -> None:
    """The same if the argument ends before a page that cannot be accessed."""
    judge_guarded(region_argsz, bad_pointer, name)


@pytest.mark.rule("dirty.region-info.argsz")
@every_place
def test_region_information_address(
    container: Container, region_argsz: ArgszProbe, bad_pointer: Callable[[str, bytes], int], place: str
) -> None:
    """An argument that cannot be read or written is refused."""
    region_argsz.judge_bad_pointer(place, bad_pointer)


def judge_size(container: Container, probe: ArgszProbe, size: Callable[[ArgszProbe], int]) -> None:
    """Judge the answer to an argsz, up to the largest that the transport allows."""
    probe.judge(min(max(size(probe), 0), container.largest_argsz))


def judge_guarded(probe: ArgszProbe, bad_pointer: Callable[[str, bytes], int], name: str) -> None:
    """Judge the answer to an argsz, in memory that ends there."""
    bad_pointer("unmapped", b"?")  # n/a if addresses cannot be expressed
    probe.judge_guarded(max(SIZES[name](probe), probe.shape.least))
