# SPDX-License-Identifier: GPL-2.0-only
"""Recorded calls in words."""

from __future__ import annotations

import struct

import pytest

from vfio_compliance.results.calls import describe
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_UNMAP_DMA


@pytest.mark.parametrize(
    ("request_number", "flags", "code", "words"),
    [
        (VFIO_IOMMU_UNMAP_DMA, 0, 0, "ioctl VFIO_IOMMU_UNMAP_DMA -> ok"),
        (VFIO_IOMMU_UNMAP_DMA, 1, 22, "ioctl VFIO_IOMMU_UNMAP_DMA with the dirty bitmap -> EINVAL"),
        (VFIO_IOMMU_DIRTY_PAGES, 1, 0, "ioctl VFIO_IOMMU_DIRTY_PAGES START -> ok"),
        (VFIO_IOMMU_DIRTY_PAGES, 4, -1, "ioctl VFIO_IOMMU_DIRTY_PAGES GET_BITMAP -> an error without an errno"),
        (VFIO_IOMMU_DIRTY_PAGES, 7, 22, "ioctl VFIO_IOMMU_DIRTY_PAGES with flags 0x7 -> EINVAL"),
    ],
)
def test_requests_with_flags_are_told_apart(request_number, flags, code, words):
    """By what they ask for, and how they were refused."""
    sent = struct.pack("<IIQQ", 24, flags, 0, 0).hex()
    call = ["ioctl", "container", request_number, 24, sent, sent, -1 if code else 0, max(code, 0), 3, 1]
    assert describe(call, 9) == f"{words}  [3 us]"
