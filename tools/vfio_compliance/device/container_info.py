# SPDX-License-Identifier: GPL-2.0-only
"""A container's information, read without trusting any byte of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..common.words import counted
from ..uapi.type1 import VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, IommuInfoFlags
from ..uapi.vfio import ffi
from .capability import Capability, parse_chain
from .errors import DeviceError

ASKING = "asking for the container's information"

#: Bytes before the capabilities.
FIXED = ffi.sizeof("struct vfio_iommu_type1_info")

_HEADER = ffi.sizeof("struct vfio_info_cap_header")
_MIGRATION = ffi.sizeof("struct vfio_iommu_type1_info_cap_migration") - _HEADER


@dataclass(frozen=True)
class MigrationCapability:
    """What the container says about dirty page tracking (kabi v23, lines 290-310)."""

    version: int
    flags: int
    #: Page sizes that bitmaps may have: bit n for 2^n bytes.
    pgsize_bitmap: int
    #: Bytes.
    max_dirty_bitmap_size: int
    #: The four bytes before pgsize_bitmap, which mean nothing.
    padding: int = 0


@dataclass(frozen=True)
class ContainerInfo:
    """The whole answer to VFIO_IOMMU_GET_INFO."""

    flags: IommuInfoFlags
    #: Page sizes that can be mapped: bit n for 2^n bytes; 0 if the container does not say.
    iova_pgsizes: int
    chain: list[Capability]

    @classmethod
    def parse(cls, answer: bytes) -> ContainerInfo:
        """Read the structure, of at least FIXED bytes. Raises MalformedChain."""
        fixed: Any = ffi.from_buffer("struct vfio_iommu_type1_info *", answer[:FIXED])
        flags = IommuInfoFlags(fixed.flags)
        return cls(
            flags,
            fixed.iova_pgsizes if IommuInfoFlags.PGSIZES in flags else 0,
            parse_chain(ASKING, answer, fixed.cap_offset, FIXED) if IommuInfoFlags.CAPS in flags else [],
        )

    @property
    def migration(self) -> MigrationCapability | None:
        """The capability that announces dirty page tracking; None without it. Raises DeviceError if it is cut short."""
        found = self._find("migration", VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, _MIGRATION)
        if found is None:
            return None
        fields = (0, 4), (8, 8), (16, 8), (4, 4)
        return MigrationCapability(found.version, *(_number(found, *field) for field in fields))

    @property
    def iova_ranges(self) -> list[tuple[int, int]] | None:
        """First and last address of each range that can be mapped; None if the container does not say.

        Raises DeviceError for a capability that promises more ranges than it holds.
        """
        found = self._find("IOVA range", VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 8)
        if found is None:
            return None
        count, room = _number(found, 0, 4), (len(found.payload) - 8) // 16
        if count > room:
            most = f"at most {counted(room, 'IOVA range')} in what was returned"
            raise DeviceError(ASKING, most, f"nr_iovas {count}")
        return [(_number(found, at, 8), _number(found, at + 8, 8)) for at in range(8, 8 + 16 * count, 16)]

    def _find(self, name: str, capability: int, least: int) -> Capability | None:
        """The first link of this id. Raises DeviceError if fewer than ``least`` bytes follow its header."""
        found = next((link for link in self.chain if link.id == capability), None)
        if found and len(found.payload) < least:
            raise DeviceError(
                ASKING,
                f"a {name} capability of {counted(_HEADER + least, 'byte')} at least",
                f"{_HEADER + len(found.payload)} up to the end of the structure",
            )
        return found


def _number(capability: Capability, offset: int, width: int) -> int:
    return int.from_bytes(capability.payload[offset : offset + width], "little")
