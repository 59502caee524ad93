# SPDX-License-Identifier: GPL-2.0-only
"""Recorded calls as text."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from vfio_compliance.common.calls import Behind, Call
from vfio_compliance.common.registers import Register
from vfio_compliance.migration_v1.interface import MigrationV1
from vfio_compliance.results.calls import describe
from vfio_compliance.results.totals import Totals, count
from vfio_compliance.uapi import type1, vfio

FETCH = struct.pack("<IIQQQQQ", 48, 4, 0x9000, 0x2000, 0x1000, 8, 0x7000)
FETCHED = "VFIO_IOMMU_DIRTY_PAGES {argsz=48, flags=GET_BITMAP, iova=0x9000, size=0x2000, "
FETCHED += "bitmap={pgsize=0x1000, size=0x8, data=0x7000}}"


def request(number: int, sent: bytes, received: bytes | None = None, **more: Any) -> Call:
    """A request to a container; by default, the answer leaves the argument unchanged."""
    return Call("ioctl", "container", number, len(sent), sent, sent if received is None else received, **more)


def link(kind: int, version: int, following: int, content: bytes) -> bytes:
    """One link of a capability chain."""
    return struct.pack("<HHI", kind, version, following) + content


REGION_INFO = (
    struct.pack("<IIIIQQ", 88, 0, 9, 0, 0, 0) + bytes(56),
    struct.pack("<IIIIQQ", 88, 15, 9, 32, 0x5000, 1 << 40)
    + link(1, 1, 64, struct.pack("<IIQQ", 1, 0, 0x1000, 0x4000))
    + link(2, 1, 80, struct.pack("<II", 3, 1))
    + link(9, 2, 0, b""),
)
REGION_TEXT = (
    "VFIO_DEVICE_GET_REGION_INFO {argsz=88, flags=0x0, index=9, size=0x0, offset=0x0} -> ok "
    "{flags=READ|WRITE|MMAP|CAPS, cap_offset=32, size=0x5000, offset=0x10000000000}, "
    "capability 1 (sparse mmap) version 1 {nr_areas=1, areas=[{offset=0x1000, size=0x4000}]}, "
    "capability 2 (type) version 1 {type=0x3, subtype=0x1}, capability 9 (unknown) version 2"
)

CONTAINER_INFO = (
    struct.pack("<IIQII", 56, 0, 0, 0, 0) + bytes(32),
    struct.pack("<IIQII", 56, 3, 0x1000, 24, 0) + link(2, 1, 24, struct.pack("<IIQQ", 0, 0, 0x1000, 1 << 28)),
)
CONTAINER_TEXT = (
    "VFIO_IOMMU_GET_INFO {argsz=56, flags=0x0, iova_pgsizes=0x0} -> ok "
    "{flags=PGSIZES|CAPS, iova_pgsizes=0x1000, cap_offset=24}, "
    "capability 2 (migration) version 1 {flags=0x0, pgsize_bitmap=0x1000, max_dirty_bitmap_size=0x10000000}, "
    "a link to 24, where one was already"
)

IRQ_INFO = struct.pack("<4I", 16, 0, 1, 0), struct.pack("<4I", 16, 0x19, 1, 12)
CUT_INFO = struct.pack("<IIQII", 24, 0, 0, 0, 0), struct.pack("<IIQII", 24, 2, 0, 20, 0)
CUT_TEXT = (
    "VFIO_IOMMU_GET_INFO {argsz=24, flags=0x0, iova_pgsizes=0x0} -> ok {flags=CAPS, cap_offset=20}, "
    "a link to 20, where there is no capability"
)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (request(type1.VFIO_IOMMU_DIRTY_PAGES, FETCH), f"{FETCHED} -> ok"),
        (
            request(type1.VFIO_IOMMU_DIRTY_PAGES, FETCH, behind=Behind(8, bytes(8), "", 0)),
            f"{FETCHED} -> ok, 0 of 64 bits set",
        ),
        (
            request(type1.VFIO_IOMMU_DIRTY_PAGES, FETCH, behind=Behind(100, b"", "ab" * 32, 9, tuple(range(8)))),
            f"{FETCHED} -> ok, 9 of 800 bits set: 0, 1, 2, 3, 4, 5, 6, 7, ...",
        ),
        (
            request(type1.VFIO_IOMMU_DIRTY_PAGES, FETCH, value=-1, errno=22, behind=Behind(8, bytes(8))),
            f"{FETCHED} -> EINVAL",
        ),
        (
            request(type1.VFIO_IOMMU_DIRTY_PAGES, FETCH, behind=Behind(1 << 28)),
            f"{FETCHED} -> ok, a bitmap of {1 << 28} bytes",
        ),
        (
            request(type1.VFIO_IOMMU_DIRTY_PAGES, struct.pack("<II", 8, 0x13), value=-1),
            "VFIO_IOMMU_DIRTY_PAGES {argsz=8, flags=START|STOP|0x10} -> an error without an errno",
        ),
        (request(type1.VFIO_IOMMU_DIRTY_PAGES, FETCH[:6]), "VFIO_IOMMU_DIRTY_PAGES {argsz=48} -> ok"),
        (
            request(type1.VFIO_IOMMU_UNMAP_DMA, struct.pack("<IIQQ", 24, 0, 0x9000, 0x2000)),
            "VFIO_IOMMU_UNMAP_DMA {argsz=24, flags=0x0, iova=0x9000, size=0x2000} -> ok",
        ),
        (
            request(type1.VFIO_IOMMU_MAP_DMA, struct.pack("<IIQQQ", 32, 3, 0x7000, 0x9000, 0x1000)),
            "VFIO_IOMMU_MAP_DMA {argsz=32, flags=READ|WRITE, vaddr=0x7000, iova=0x9000, size=0x1000} -> ok",
        ),
        (request(vfio.VFIO_DEVICE_GET_REGION_INFO, *REGION_INFO), REGION_TEXT),
        (request(type1.VFIO_IOMMU_GET_INFO, *CONTAINER_INFO), CONTAINER_TEXT),
        (
            request(vfio.VFIO_DEVICE_GET_IRQ_INFO, *IRQ_INFO),
            (
                "VFIO_DEVICE_GET_IRQ_INFO {argsz=16, flags=0x0, index=1, count=0} -> ok "
                "{flags=EVENTFD|NORESIZE|0x10, count=12}"
            ),
        ),
        (
            request(vfio.VFIO_DEVICE_SET_IRQS, struct.pack("<5I", 20, 33, 2, 0, 1)),
            "VFIO_DEVICE_SET_IRQS {argsz=20, flags=DATA_NONE|ACTION_TRIGGER, index=2, start=0, count=1} -> ok",
        ),
        (
            request(vfio.VFIO_DEVICE_SET_IRQS, struct.pack("<5I3i", 32, 36, 1, 10, 3, 7, -1, 8)),
            (
                "VFIO_DEVICE_SET_IRQS {argsz=32, flags=DATA_EVENTFD|ACTION_TRIGGER, index=1, start=10, count=3, "
                "data=[7, -1, 8]} -> ok"
            ),
        ),
        (
            request(vfio.VFIO_DEVICE_SET_IRQS, struct.pack("<5I", 22, 18, 1, 0, 2) + b"\1\xff", value=-1, errno=25),
            (
                "VFIO_DEVICE_SET_IRQS {argsz=22, flags=DATA_BOOL|ACTION_UNMASK, index=1, start=0, count=2, "
                "data=[1, 255]} -> ENOTTY"
            ),
        ),
        (
            request(vfio.VFIO_DEVICE_SET_IRQS, struct.pack("<5I", 24, 36, 1, 0, 1) + b"\7"),
            (
                "VFIO_DEVICE_SET_IRQS {argsz=24, flags=DATA_EVENTFD|ACTION_TRIGGER, index=1, start=0, count=1, data=[]}"
                " -> ok"
            ),
        ),
        (request(type1.VFIO_IOMMU_GET_INFO, *CUT_INFO), CUT_TEXT),
        (
            Call("ioctl", "container", vfio.VFIO_SET_IOMMU, 0, b"\3" + bytes(7)),
            "VFIO_SET_IOMMU VFIO_TYPE1v2_IOMMU -> ok",
        ),
        (
            Call("ioctl", "container", vfio.VFIO_CHECK_EXTENSION, 0, b"\x77" + bytes(7), value=1),
            "VFIO_CHECK_EXTENSION at 0x77 -> 1",
        ),
        (
            Call("ioctl", "container", type1.VFIO_IOMMU_GET_INFO, 0, b"\0\x70" + bytes(6), value=-1, errno=14),
            "VFIO_IOMMU_GET_INFO at 0x7000 -> EFAULT",
        ),
        (
            Call(
                *("ioctl", "container", type1.VFIO_IOMMU_DIRTY_PAGES, 0, b"\0\x70" + bytes(6)),
                value=-1,
                errno=14,
                behind=Behind(7, b"\x08\0\0\0\1\0\0"),
            ),
            "VFIO_IOMMU_DIRTY_PAGES at 0x7000 (7 bytes: {argsz=8}) -> EFAULT",
        ),
        (request(vfio.VFIO_GROUP_SET_CONTAINER, b"\7\0\0\0"), "VFIO_GROUP_SET_CONTAINER 0x7 -> ok"),
        (
            request(vfio.VFIO_GROUP_GET_DEVICE_FD, b"0000:01:00.0\0", value=9),
            "VFIO_GROUP_GET_DEVICE_FD 0000:01:00.0 -> 9",
        ),
        (request(0x3B99, bytes(12), b"\1" + bytes(11)), f"0x3b99 {'00' * 12} -> ok 01{'00' * 11}"),
        (Call("ioctl", "second device", vfio.VFIO_DEVICE_RESET), "VFIO_DEVICE_RESET on the second device -> ok"),
    ],
)
def test_requests_as_text(call: Call, words: str) -> None:
    """The fields of the argument, those that the answer changed, and the memory that it points to."""
    assert describe(call, {}) == f"ioctl {words}  [0 us]"


DIGEST = "0123456789abcdef" * 4
TABLE = {3: [Register("ring", 4, 4, {2: "on"})]}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (Call("read", "region 9", 8, 8, b"", b"\1" + bytes(7), 8, times=2), "read pending_bytes -> 0x1  (2 times)"),
        (Call("read", "region 9", 8, 8, b"", b"\1\0", 2), "read pending_bytes -> only 2 bytes"),
        (Call("read", "region 9", 0, 4, b"", b"\3\0\0\0", 4), "read device_state -> 0x3 (pre-copy)"),
        (
            Call("write", "second region 9", 0, 4, b"\x13\0\0\0", b"", -1, 22),
            "write second device's device_state = 0x13 -> EINVAL",
        ),
        (Call("write", "region 3", 4, 4, b"\2\0\0\0", b"", 4), "write ring = 0x2 (on) -> 4 bytes"),
        (Call("write", "region 3", 4, 2, b"\2\0", b"", 1), "write 2 bytes at 0x4 of region 3 = 0x2 -> only 1 byte"),
        (Call("read", "region 3", 0, 20, b"", bytes(20), 20), f"read 20 bytes at 0x0 of region 3 -> {'00' * 16}..."),
        (
            Call("read", "region 3", 0, 100, b"", b"\1" * 64, 100, received_digest=DIGEST),
            f"read 100 bytes at 0x0 of region 3 -> {'01' * 16}..., sha256 0123456789abcdef...",
        ),
        (
            Call("write", "region 3", 0, 100, b"\1" * 64, b"", 100, sent_digest=DIGEST),
            f"write 100 bytes at 0x0 of region 3 = {'01' * 16}..., sha256 0123456789abcdef... -> 100 bytes",
        ),
        (Call("read", "region x", 0, 4, b"", b"", 4), "read 4 bytes at 0x0 of region x -> nothing"),
        (Call("map", "region 9", 4096, 8192), "map 8192 bytes at 0x1000 of region 9 -> ok"),
        (Call("open", "second device", value=-1, errno=16), "open second device -> EBUSY"),
        (Call("open", "group", sent=b"/dev/vfio/12", value=5), "open group (/dev/vfio/12) -> ok"),
        (
            Call("version", "device", 0, 7, b"\0\0\1\0{}\0", b"\0\0\1\0[]"),
            "version 0.1 {} of the device -> 0.1 []",
        ),
        (Call("version", "device", 0, 4, bytes(4), value=-1, errno=22), "version 0.0 of the device -> EINVAL"),
    ],
)
def test_calls_as_text(call: Call, words: str) -> None:
    """The request, its target and its result; registers and their values by name."""
    assert describe(call._replace(duration_ns=3999), {9: MigrationV1.registers, **TABLE}) == f"{words}  [3 us]"


def test_a_gap_as_text() -> None:
    """The number of calls that were left out."""
    assert describe(Call("omitted", "", 1234), {}) == "(1234 calls left out)"


def test_totals_of_calls() -> None:
    """Failed calls and omitted ones count as calls; only bytes that were moved and successful opens count as such."""
    calls = [
        Call("open", "device"),
        Call("open", "group"),
        Call("open", "device", value=-1, errno=16),
        Call("read", "region 9", 8, 8, b"", bytes(8), 8, times=3),
        Call("write", "region 9", 0, 4, bytes(4), b"", -1, 22),
        Call("ioctl", "second device", vfio.VFIO_DEVICE_RESET, times=2),
        Call("omitted", "", 100),
    ]
    assert count(calls) == Totals(calls=109, opens=1, resets=2, bytes_read=24, bytes_written=0)
