# SPDX-License-Identifier: GPL-2.0-only
"""The container: its information is checked before use, and requests are passed on unchanged."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from vfio_compliance.device import Container, DeviceError, DmaMap
from vfio_compliance.transport import Memory, Outcome, Target
from vfio_compliance.transport.base import argument_view
from vfio_compliance.uapi.type1 import (
    VFIO_IOMMU_DIRTY_PAGES,
    VFIO_IOMMU_GET_INFO,
    VFIO_IOMMU_MAP_DMA,
    VFIO_IOMMU_UNMAP_DMA,
)

RANGES = struct.pack("<HHIII4Q", 1, 1, 24 + 48, 2, 0, 0, 0xFEDFFFFF, 0xFEF00000, 2**39 - 1)
MIGRATION = struct.pack("<HHIIIQQ", 2, 1, 0, 5, 0, 0x1000, 1 << 28)
PAGE = 4096


class Kernel:
    """Answers as a container does, and records mappings; refuses the requests in ``refuses``."""

    def __init__(
        self, chain: bytes = b"", refuses: Mapping[int, int] = MappingProxyType({}), kernel: bool = True
    ) -> None:
        self.answer = struct.pack("<IIQII", 24 + len(chain), 3, 0x40201000, 24 if chain else 0, 0) + chain
        self.refuses = refuses
        self.asked: list[bytes] = []
        self.tracking = False
        self.mapped: set[tuple[int, int]] = set()
        self.transport: Any = SimpleNamespace(
            ioctl=self.ioctl,
            memory=Memory,
            kernel=kernel,
            gone=False,
            dirty_page_size=None,
            no_tracking="",
            largest_bitmap=2**64 - 1,
            host_fault=lambda *_: None,
        )

    def ioctl(self, target: Target, request: int, argument: Any) -> Outcome:
        view = argument_view(argument)
        assert view is not None
        if request in self.refuses:
            return Outcome(-1, self.refuses[request])
        if request == VFIO_IOMMU_GET_INFO:
            self.asked.append(bytes(view))
            room = int.from_bytes(view[:4], "little")
            if room >= len(self.answer):
                view[: len(self.answer)] = self.answer
            elif room >= 20:
                view[:20] = self.answer[:16] + bytes(4)
        elif request == VFIO_IOMMU_DIRTY_PAGES:
            self.tracking = view[4] == 1
        elif request == VFIO_IOMMU_MAP_DMA:
            _, _, _, iova, size = struct.unpack("<IIQQQ", view)
            if (iova, size) in self.mapped:
                return Outcome(-1, errno.EEXIST)
            self.mapped.add((iova, size))
        elif request == VFIO_IOMMU_UNMAP_DMA:
            self.mapped.discard(struct.unpack_from("<QQ", view, 8))
        return Outcome(0, 0)


def test_information_is_read_completely() -> None:
    """The second request has the argsz of the first answer; the chain is read from its answer."""
    kernel = Kernel(RANGES + MIGRATION)
    info = Container(kernel.transport).info()
    assert [len(each) for each in kernel.asked] == [24, 24 + 48 + 32]
    assert info.iova_pgsizes == 0x40201000
    assert info.iova_ranges == [(0, 0xFEDFFFFF), (0xFEF00000, 2**39 - 1)]
    migration = info.migration
    assert migration is not None
    assert (migration.version, migration.flags, migration.pgsize_bitmap) == (1, 5, 0x1000)
    assert migration.max_dirty_bitmap_size == 1 << 28


def test_no_capabilities() -> None:
    """Without capabilities, migration and ranges are None."""
    info = Container(Kernel().transport).info()
    assert (info.migration, info.iova_ranges, info.chain) == (None, None, [])


def test_more_ranges_than_fit() -> None:
    """A count too large for the structure is reported."""
    kernel = Kernel(RANGES[:4] + bytes(4) + struct.pack("<I", 3) + RANGES[12:])
    with pytest.raises(DeviceError, match="nr_iovas 3"):
        _ = Container(kernel.transport).info().iova_ranges


@pytest.mark.parametrize(("argsz", "room", "length"), [(0, 0, 4), (24, 0, 24), (2**32 - 1, 64, 64), (3, 56, 56)])
def test_raw_request(argsz: int, room: int, length: int) -> None:
    """It has the given length, filling and argsz."""
    kernel = Kernel(MIGRATION)
    Container(kernel.transport).try_info(argsz, room=room, fill=0xFF)
    assert kernel.asked == [argsz.to_bytes(4, "little") + b"\xff" * (length - 4)]


@pytest.mark.parametrize(
    ("code", "kernel", "has_information"),
    [(errno.ENOTTY, True, True), (errno.ENOTTY, False, False), (errno.EINVAL, False, True)],
    ids=["a kernel without it", "a transport without it", "refused otherwise"],
)
def test_whether_information_is_supported(code: int, kernel: bool, has_information: bool) -> None:
    """A kernel without the request breaks a rule; a transport without such a message does not."""
    container = Container(Kernel(refuses={VFIO_IOMMU_GET_INFO: code}, kernel=kernel).transport)
    assert container.has_info is has_information


def test_whether_a_range_is_mapped() -> None:
    """A range that cannot be mapped again is mapped; the attempt leaves no mapping."""
    kernel = Kernel()
    container = Container(kernel.transport)
    with DmaMap(kernel.transport, 0, PAGE):
        assert container.maps(0, PAGE)
        assert not container.maps(PAGE, PAGE)
        assert kernel.mapped == {(0, PAGE)}
    assert not container.maps(0, PAGE)


@pytest.mark.parametrize(
    ("chain", "refuses", "offered"),
    [
        (MIGRATION, {VFIO_IOMMU_DIRTY_PAGES: errno.ENOTTY}, True),
        (b"", {VFIO_IOMMU_DIRTY_PAGES: errno.ENOTTY}, False),
        (RANGES, {VFIO_IOMMU_DIRTY_PAGES: errno.ENOTTY}, False),
        (b"", {}, True),
        (b"", {VFIO_IOMMU_GET_INFO: errno.ENOTTY, VFIO_IOMMU_DIRTY_PAGES: errno.ENOTTY}, False),
        (b"", {VFIO_IOMMU_GET_INFO: errno.ENOTTY}, True),
    ],
    ids=["announced only", "neither", "ranges only", "unannounced", "no information", "no information, but START"],
)
def test_whether_tracking_is_offered(chain: bytes, refuses: Mapping[int, int], offered: bool) -> None:
    """Announced or implemented: if only one is true, a rule judges it. Tracking is off afterwards."""
    kernel = Kernel(chain, refuses)
    assert Container(kernel.transport).offers_tracking is offered
    assert kernel.tracking is False


def test_arguments_as_bytes() -> None:
    """With a bitmap, both requests have its address, size and page size; without one, those bits are all ones."""
    container = Container(Kernel().transport)
    with container.guarded(8) as bitmap:
        wanted: dict[str, Any] = {"page": 4096, "bitmap": bitmap, "bitmap_size": 8}
        described = struct.pack("<QQQ", 4096, 8, bitmap.address)
        head = struct.pack("<QQ", 0x1000, 0x2000)
        dirty = container.dirty_request(4, argsz=48, iova=0x1000, size=0x2000, **wanted)
        assert dirty == struct.pack("<II", 48, 4) + head + described
        unmap = container.unmap_request(0x1000, 0x2000, flags=1, argsz=48, **wanted)
        assert unmap == struct.pack("<II", 48, 1) + head + described
    assert container.dirty_request(1) == struct.pack("<II", 8, 1) + b"\xff" * 40
    assert container.unmap_request(0x1000, 0x2000) == struct.pack("<II", 24, 0) + head + b"\xff" * 24
