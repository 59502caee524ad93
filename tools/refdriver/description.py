# SPDX-License-Identifier: GPL-2.0-only
"""What GET_REGION_INFO says: the fixed part, and the capability chain of the migration region."""

from __future__ import annotations

from . import wire
from .device import CONFIGURATION, MIGRATION, Device


def region_info(device: Device, index: int, room: int) -> tuple[bytes, bool]:
    """The description of one region in at most ``room`` bytes, and whether it came whole.

    Where the chain does not fit, the fixed part comes alone and says how much room is needed.
    """
    region = device.regions.get(index)
    flags = 0
    chain = b""
    if region is not None:
        flags = wire.REGION_READABLE
        if index != CONFIGURATION:
            flags |= wire.REGION_WRITABLE
    if index == MIGRATION:
        areas = device.migration.section.areas
        if areas:
            flags |= wire.REGION_MAPPABLE
        chain = _chain(device, areas)
    elif index > MIGRATION:
        chain = _chain(device, [])
    if chain:
        flags |= wire.REGION_CAPABILITIES
    needed = wire.REGION_INFO.size + len(chain)
    whole = needed <= room or "region-info-past-argsz" in device.defects
    if not whole and "region-info-argsz-kept" in device.defects:
        needed = room
    part = "region-info-part-of-chain" in device.defects
    first = wire.REGION_INFO.size if chain and (whole or part) else 0
    size = 0 if region is None else region.size
    fixed = wire.REGION_INFO.pack(needed, flags, index, first, size, 0)
    if part:
        return (fixed + chain)[:room], whole
    return fixed + chain if whole else fixed, whole


def _chain(device: Device, areas: list[tuple[int, int]]) -> bytes:
    """Capabilities one after another, each saying where the next one begins."""
    capabilities: list[tuple[int, bytes]] = []
    lost = "region-type-lost-by-reset" in device.defects and device.migration.was_reset
    if "region-type-missing" not in device.defects and not lost:
        subtype = 0 if "region-subtype-zero" in device.defects else wire.REGION_SUBTYPE_MIGRATION
        # kabi v23:38, 46-47
        capabilities.append((wire.CAPABILITY_TYPE, wire.REGION_TYPE.pack(wire.REGION_TYPE_MIGRATION, subtype)))
    if areas:
        content = wire.SPARSE_HEAD.pack(len(areas), 0)
        content += b"".join(wire.SPARSE_AREA.pack(*area) for area in areas)
        capabilities.append((wire.CAPABILITY_SPARSE_MMAP, content))
    chain = b""
    for position, (ident, content) in enumerate(capabilities):
        end = wire.REGION_INFO.size + len(chain) + wire.CAPABILITY.size + len(content)
        following = end if position + 1 < len(capabilities) else 0
        chain += wire.CAPABILITY.pack(ident, 1, following) + content
    return chain
