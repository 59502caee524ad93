# SPDX-License-Identifier: GPL-2.0-only
"""Recorded calls in words."""

from __future__ import annotations

import struct

import pytest

from vfio_compliance.results.calls import count, describe
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_RESET


@pytest.mark.parametrize(
    ("request_number", "flags", "code", "words"),
    [
        (VFIO_IOMMU_UNMAP_DMA, 0, 0, "ioctl VFIO_IOMMU_UNMAP_DMA of 0x2000 bytes at 0x9000 -> ok"),
        (
            *(VFIO_IOMMU_UNMAP_DMA, 1, 22),
            "ioctl VFIO_IOMMU_UNMAP_DMA of 0x2000 bytes at 0x9000 with the dirty bitmap -> EINVAL",
        ),
        (VFIO_IOMMU_DIRTY_PAGES, 1, 0, "ioctl VFIO_IOMMU_DIRTY_PAGES START -> ok"),
        (
            *(VFIO_IOMMU_DIRTY_PAGES, 4, -1),
            "ioctl VFIO_IOMMU_DIRTY_PAGES GET_BITMAP of 0x2000 bytes at 0x9000 -> an error without an errno",
        ),
        (VFIO_IOMMU_DIRTY_PAGES, 7, 22, "ioctl VFIO_IOMMU_DIRTY_PAGES with flags 0x7 -> EINVAL"),
    ],
)
def test_requests_with_flags_are_told_apart(request_number, flags, code, words):
    """By what they ask for, and how they were refused."""
    sent = struct.pack("<IIQQ", 24, flags, 0x9000, 0x2000).hex()
    call = ["ioctl", "container", request_number, 24, sent, sent, -1 if code else 0, max(code, 0), 3, 1]
    assert describe(call, 9) == f"{words}  [3 us]"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["read", "region 9", 8, 8, "", "01" + "00" * 7, 8, 0, 3, 2], "read pending_bytes -> 0x1  (2 times)  [3 us]"),
        (["read", "region 9", 8, 8, "", "0100", 2, 0, 3, 1], "read pending_bytes -> only 2 bytes  [3 us]"),
        (
            ["write", "region 0", 4, 4, "02000000", "", 1, 0, 3, 1],
            "write 4 bytes at 0x4 of region 0 = 0x2 -> only 1 byte  [3 us]",
        ),
        (
            ["write", "region 0", 4, 16, "00" * 16, "", 16, 0, 3, 1],
            "write 16 bytes at 0x4 of region 0 -> 16 bytes  [3 us]",
        ),
        (["map", "region 9", 4096, 8192, "", "", 0, 0, 3, 1], "map 8192 bytes at 0x1000 of region 9 -> ok  [3 us]"),
        (["open", "second device", 0, 0, "", "", -1, 16, 3, 1], "open second device -> EBUSY  [3 us]"),
        (
            [
                "ioctl",
                "second device",
                VFIO_DEVICE_GET_REGION_INFO,
                32,
                "200000000000000003000000" + "00" * 20,
                "",
                0,
                0,
                3,
                1,
            ],
            "ioctl VFIO_DEVICE_GET_REGION_INFO of region 3 on the second device -> ok  [3 us]",
        ),
        (
            [
                "ioctl",
                "container",
                VFIO_IOMMU_MAP_DMA,
                32,
                struct.pack("<IIQQQ", 32, 3, 1, 0x9000, 0x1000).hex(),
                "",
                0,
                0,
                3,
                1,
            ],
            "ioctl VFIO_IOMMU_MAP_DMA of 0x1000 bytes at 0x9000 -> ok  [3 us]",
        ),
        (
            ["ioctl", "container", VFIO_IOMMU_MAP_DMA, 4, "04000000", "", -1, 22, 3, 1],
            "ioctl VFIO_IOMMU_MAP_DMA -> EINVAL  [3 us]",
        ),
        (["omitted", "", 1234, 0, "", "", 0, 0, 3, 1], "(1234 calls left out)"),
    ],
)
def test_calls_in_words(call, words):
    """What was asked for, of what, and what came of it."""
    assert describe(call, 9) == words


def test_totals_of_calls():
    """Failed calls count, and those that were left out; only what was moved, and only what was opened."""
    calls = [
        ["open", "device", 0, 0, "", "", 0, 0, 3, 1],
        ["open", "device", 0, 0, "", "", -1, 16, 3, 1],
        ["read", "region 9", 8, 8, "", "00" * 8, 8, 0, 3, 3],
        ["write", "region 9", 0, 4, "00" * 4, "", -1, 22, 3, 1],
        ["ioctl", "second device", VFIO_DEVICE_RESET, 0, "", "", 0, 0, 3, 2],
        ["omitted", "", 100, 0, "", "", 0, 0, 3, 1],
    ]
    assert count(calls) == {"calls": 108, "opens": 1, "bytes_read": 24, "bytes_written": 0, "resets": 2}
