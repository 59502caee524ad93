# SPDX-License-Identifier: GPL-2.0-only
"""Which ranges of guest memory a container accepts, where the specification leaves that to it."""

from __future__ import annotations

from errno import EINVAL

from ..refusal import Refusal

#: Ranges of IOVA that devices can use, first and last address each: everything, or what a PC leaves, which is
#: interrupted by the range of its interrupts.
USABLE: dict[str, list[tuple[int, int]]] = {
    "all": [(0, (1 << 64) - 1)],
    "pc": [(0, 0xFEDF_FFFF), (0xFEF0_0000, (1 << 48) - 1)],
    "none": [(0, (1 << 64) - 1)],
}

#: Address and size.
Extent = tuple[int, int]

EVERYWHERE: Extent = (0, 1 << 64)


def check_usable(kind: str, address: int, size: int) -> None:
    """EINVAL for a range that no device can use."""
    if not any(first <= address and address + size - 1 <= last for first, last in USABLE[kind]):
        raise Refusal(EINVAL)


def check_whole(extents: list[Extent], address: int, size: int) -> None:
    """EINVAL for a range that begins or ends inside a mapping."""
    if any(start < address or address + size < start + length for start, length in extents):
        raise Refusal(EINVAL)


def check_mapped(extents: list[Extent], size: int) -> None:
    """EINVAL for a range of whole mappings that has holes."""
    if sum(length for _, length in extents) != size:
        raise Refusal(EINVAL)
