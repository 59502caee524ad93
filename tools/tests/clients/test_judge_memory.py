# SPDX-License-Identifier: GPL-2.0-only
"""The clauses of dirty page tracking: the arguments of a client's calls to the container."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from vfio_compliance.dirty_type1.client import LOST, NO_BITMAP, NOT_CLEARED, DirtyJudge
from vfio_compliance.run.client import Access, Bitmap, ContainerCall, Verb
from vfio_compliance.run.container_calls import as_ioctl, by_ioctl, by_message
from vfio_compliance.run.ledger import Offence
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA

PAGE, HUGE = 4096, (1 << 64) - 1
START, STOP = ContainerCall(8, 1), ContainerCall(8, 2)


def get(
    pages: int = 64, size: int = 8, argsz: int = 48, pgsize: int = PAGE, zero: bool | None = None
) -> tuple[Verb, ContainerCall]:
    """A request for the bitmap (GET_BITMAP)."""
    return "dirty", ContainerCall(argsz, 4, 0, pages * PAGE, Bitmap(pgsize, size, zero))


def unmap(
    pages: int = 64, size: int = 8, argsz: int = 48, pgsize: int = PAGE, zero: bool | None = None
) -> tuple[Verb, ContainerCall]:
    """Unmapping with the bitmap."""
    return "dma-unmap", ContainerCall(argsz, 1, 0, pages * PAGE, Bitmap(pgsize, size, zero))


def judged(
    *calls: tuple[Verb, ContainerCall | None], message: bool = False, value: int = 0
) -> tuple[DirtyJudge, list[Offence]]:
    """The judge of these calls, and their offences."""
    judge = DirtyJudge()
    found: list[Offence] = []
    for number, (verb, call) in enumerate(calls, 1):
        found += judge.take(Access(verb, value=value, number=number, called=call, message=message))
    found += judge.end()
    assert [offence.access for offence in found] == sorted(offence.access for offence in found)
    return judge, found


#: Requests for a bitmap: the function, and the clauses on argsz and on memory.
ASKING = {"get": (get, "DRT-06", "DRT-08"), "unmap": (unmap, "UNM-02", "UNM-03")}

#: The clauses that each of them exercises.
EXERCISED = {"get": {"DRT-06", "DRT-08", "DRT-12"}, "unmap": {"UNM-02", "UNM-03"}}


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize(("pages", "size"), [(1, 1), (8, 1), (9, 2), (64, 8), (65, 9), (65, 16), (1, 1 << 20)])
@pytest.mark.parametrize("message", [False, True], ids=["ioctl", "message"])
def test_enough_memory(ask: str, pages: int, size: int, message: bool) -> None:
    """A bit for each page, or more."""
    make, *_ = ASKING[ask]
    judge, found = judged(make(pages, size, zero=True), message=message)
    assert found == []
    assert {clause for clause, count in judge.kept.items() if count} == EXERCISED[ask]
    assert judge.unclear == {}


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize(("pages", "size"), [(1, 0), (9, 1), (64, 7), (65, 8), (HUGE // PAGE, 1 << 40)])
@pytest.mark.parametrize("value", [0, -1], ids=["carried out", "refused"])
def test_too_small(ask: str, pages: int, size: int, value: int) -> None:
    """Less than a bit for each page is an offence, even if the kernel refuses it."""
    make, _, memory = ASKING[ask]
    _, (offence,) = judged(make(pages, size), value=value)
    assert offence.clause == memory
    assert f"bitmap.size was {size}" in offence.seen


@pytest.mark.parametrize("ask", ASKING)
def test_not_cleared(ask: str) -> None:
    """Memory that was not cleared breaks the clause. If it was not seen, that is unclear; a message has no memory."""
    make, _, memory = ASKING[ask]
    assert [offence.clause for offence in judged(make(zero=False))[1]] == [memory]
    judge, found = judged(make())
    assert (found, judge.unclear) == ([], {memory: {NOT_CLEARED: 1}})
    assert judged(make(), message=True)[0].unclear == {}


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize(("message", "least"), [(False, 48), (True, 40)], ids=["ioctl", "message"])
def test_argsz(ask: str, message: bool, least: int) -> None:
    """argsz covers the structure that describes the bitmap, which is shorter in a message."""
    make, reach, _ = ASKING[ask]
    for argsz in (8, 24, least - 1):
        _, (offence,) = judged(make(argsz=argsz), message=message)
        assert (offence.clause, str(argsz) in offence.seen) == (reach, True)
    assert judged(make(argsz=least), message=message)[1] == []
    assert judged(make(argsz=1 << 20), message=message)[1] == []


@pytest.mark.parametrize("argsz", [0, 4, 7])
def test_argsz_below_the_flags(argsz: int) -> None:
    """An argsz that does not cover the flags is an offence."""
    _, (offence,) = judged(("dirty", ContainerCall(argsz)))
    assert offence.clause == "DRT-12"


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize("gone", ["size", "bitmap", "pgsize", "bitmap size"])
def test_unknown_fields(ask: str, gone: str) -> None:
    """If a range or size is not in the trace, it is unclear whether the memory suffices."""
    make, reach, memory = ASKING[ask]
    verb, call = make()
    call = {
        "size": call._replace(size=None),
        "bitmap": call._replace(bitmap=None),
        "pgsize": call._replace(bitmap=Bitmap(None, 8)),
        "bitmap size": call._replace(bitmap=Bitmap(PAGE, None)),
    }[gone]
    judge, found = judged((verb, call))
    assert (found, judge.unclear) == ([], {memory: {NO_BITMAP: 1}})
    assert judge.kept[reach] == 1


@pytest.mark.parametrize("flags", [0, 3, 5, 6, 7, 8, 0x80000004])
def test_invalid_flags(flags: int) -> None:
    """A request with no flag, several or unknown ones does not ask for a bitmap."""
    judge, found = judged(("dirty", ContainerCall(8, flags)))
    assert found == []
    assert judge.kept == {"UNM-02": 0, "UNM-03": 0, "DRT-06": 0, "DRT-08": 0, "DRT-12": 1}


@pytest.mark.parametrize("call", [get(pages=0), unmap(pages=0), get(pgsize=0), unmap(pgsize=0)])
def test_no_pages(call: tuple[Verb, ContainerCall]) -> None:
    """An empty range, or a page size of 0, needs no memory."""
    judge, found = judged(call)
    assert (found, judge.unclear) == ([], {})


PLAIN: tuple[Verb, ContainerCall] = "dma-unmap", ContainerCall(24, 0, 0, PAGE)


@pytest.mark.parametrize(
    ("calls", "noted"),
    [
        ([PLAIN], 0),
        ([("dirty", START), PLAIN], 1),
        ([("dirty", START), PLAIN, PLAIN], 2),
        ([("dirty", START), unmap(zero=True)], 0),
        ([("dirty", START), ("dirty", STOP), PLAIN], 0),
        ([("dirty", START), ("gap", None), PLAIN], 0),
    ],
    ids=["not tracked", "tracked", "twice", "with the bitmap", "no longer", "after a gap"],
)
def test_unmapping_tracked_memory(calls: Sequence[tuple[Verb, ContainerCall | None]], noted: int) -> None:
    """Unmapping tracked memory without its bitmap is allowed, and worth a note."""
    judge, found = judged(*calls)
    assert found == []
    assert judge.remarks == ({LOST: noted} if noted else {})


def test_refused_calls_change_nothing() -> None:
    """If START is refused, nothing is tracked."""
    judge, _ = judged(("dirty", START), PLAIN, value=-1)
    assert judge.remarks == {}


@pytest.mark.parametrize("argsz", range(0, 64, 4))
@pytest.mark.parametrize(
    ("request_number", "argument"),
    [
        (VFIO_IOMMU_MAP_DMA, struct.pack("<IQQQ", 3, 1 << 40, 0x10000, 0x4000)),
        (VFIO_IOMMU_UNMAP_DMA, struct.pack("<IQQQQQ", 1, 0x10000, 0x4000, PAGE, 8, 1 << 40)),
        (VFIO_IOMMU_DIRTY_PAGES, struct.pack("<IQQQQQ", 4, 0x10000, 0x4000, PAGE, 8, 1 << 40)),
        (VFIO_IOMMU_DIRTY_PAGES, struct.pack("<I", 1)),
    ],
    ids=["map", "unmap", "get", "start"],
)
def test_fields_beyond_argsz_are_ignored(request_number: int, argument: bytes, argsz: int) -> None:
    """Only the fields that argsz covers are read."""
    understood = by_ioctl(request_number, struct.pack("<I", argsz) + argument)
    assert understood is not None
    verb, call = understood
    again, bytes_ = as_ioctl(verb, call)
    assert again == request_number
    assert by_ioctl(again, bytes_) == (verb, call)
    fields = [call.flags, call.iova, call.size, *(call.bitmap or ())]
    assert all(value is None for value in fields) == (argsz < 8)
    if argsz >= 32 and verb != "dma-map" and call.bitmap:
        assert call.bitmap.pgsize == PAGE
        assert (call.bitmap.size == 8) == (argsz >= 40)


def test_messages() -> None:
    """Calls in messages are read in the same way; a short or another message is not a call."""
    asked = struct.pack("<IIQQQQ", 48, 4, 0x10000, 0x4000, PAGE, 8)
    assert by_message(14, asked) == ("dirty", ContainerCall(48, 4, 0x10000, 0x4000, Bitmap(PAGE, 8)))
    assert by_message(2, struct.pack("<IIQQQ", 32, 3, 77, 0x10000, 0x4000)) == (
        "dma-map",
        ContainerCall(32, 3, 0x10000, 0x4000),
    )
    assert by_message(14, asked[:3]) is None
    assert by_message(9, asked) is None
