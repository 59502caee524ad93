# SPDX-License-Identifier: GPL-2.0-only
"""What GET_REGION_INFO reports: the fixed part, and the capability chain of the regions that have one."""

from __future__ import annotations

from typing import NamedTuple

from ..socket import wire
from ..socket.chain import ARRANGEMENTS, Capability
from .device import Device


class Description(NamedTuple):
    """All information on one region."""

    region: int
    flags: int
    size: int
    #: The offset of the first capability, and all of them.
    first: int
    chain: bytes

    @property
    def needed(self) -> int:
        """Bytes of all of it."""
        return wire.REGION_INFO.size + len(self.chain)

    def fixed(self, argsz: int, first: int) -> bytes:
        """The fixed part, which says how much room is needed and where the capabilities begin."""
        return wire.REGION_INFO.pack(argsz, self.flags, self.region, first, self.size, 0)


def describe(device: Device, index: int, arrangement: str) -> Description:
    """Describe a region, with its capabilities in one of the ARRANGEMENTS."""
    region = device.regions.get(index)
    kind, areas = device.kind(index), device.areas(index)
    flags = 0 if region is None else wire.REGION_READABLE
    if region is not None and index not in device.layout.idle:
        flags |= wire.REGION_WRITABLE
    capabilities = []
    if kind is not None:
        capabilities.append(Capability(wire.CAPABILITY_TYPE, 1, wire.REGION_TYPE.pack(*kind)))
    if areas:
        flags |= wire.REGION_MAPPABLE
        content = wire.SPARSE_HEAD.pack(len(areas), 0)
        content += b"".join(wire.SPARSE_AREA.pack(*area) for area in areas)
        capabilities.append(Capability(wire.CAPABILITY_SPARSE_MMAP, 1, content))
    first, chain = 0, b""
    if capabilities:
        flags |= wire.REGION_CAPABILITIES
        first, chain = ARRANGEMENTS[arrangement](wire.REGION_INFO.size, capabilities)
    return Description(index, flags, 0 if region is None else region.size, first, chain)
