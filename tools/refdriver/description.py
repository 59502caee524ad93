# SPDX-License-Identifier: GPL-2.0-only
"""What GET_REGION_INFO says: the fixed part, and the capability chain of the migration region."""

from __future__ import annotations

from . import wire
from .chain import ARRANGEMENTS, Capability
from .device import Device
from .layout import MIGRATION_KIND, Kind


def region_info(device: Device, index: int, room: int) -> tuple[bytes, bool]:
    """The description of one region in at most ``room`` bytes, and whether it came whole.

    Where the chain does not fit, the fixed part comes alone and says how much room is needed.
    """
    region, layout = device.regions.get(index), device.layout
    flags = 0
    start, chain = 0, b""
    if region is not None:
        flags = wire.REGION_READABLE
        if index != layout.configuration and index not in layout.idle:
            flags |= wire.REGION_WRITABLE
    if index == layout.migration:
        areas = device.migration.section.areas
        if areas:
            flags |= wire.REGION_MAPPABLE
        start, chain = _chain(device, _migration_kind(device), areas)
    elif index in layout.kinds:
        start, chain = _chain(device, layout.kinds[index], [])
    elif index >= layout.indexes:
        start, chain = _chain(device, _migration_kind(device), [])
    if chain:
        flags |= wire.REGION_CAPABILITIES
    needed = wire.REGION_INFO.size + len(chain)
    whole = needed <= room or "region-info-past-argsz" in device.defects
    if not whole and "region-info-argsz-kept" in device.defects:
        needed = room
    part = "region-info-part-of-chain" in device.defects
    first = start if chain and (whole or part) else 0
    size = 0 if region is None else region.size
    fixed = wire.REGION_INFO.pack(needed, flags, index, first, size, 0)
    if part:
        return (fixed + chain)[:room], whole
    return fixed + chain if whole else fixed, whole


def _migration_kind(device: Device) -> Kind | None:
    """What the migration region says that it is (kabi v23:38, 46-47)."""
    lost = "region-type-lost-by-reset" in device.defects and device.migration.was_reset
    if "region-type-missing" in device.defects or lost:
        return None
    kind, subtype = MIGRATION_KIND
    return kind, 0 if "region-subtype-zero" in device.defects else subtype


def _chain(device: Device, kind: Kind | None, areas: list[tuple[int, int]]) -> tuple[int, bytes]:
    """Where the first capability lies, and all of them."""
    capabilities = []
    if kind is not None:
        capabilities.append(Capability(wire.CAPABILITY_TYPE, 1, wire.REGION_TYPE.pack(*kind)))
    if areas:
        content = wire.SPARSE_HEAD.pack(len(areas), 0)
        content += b"".join(wire.SPARSE_AREA.pack(*area) for area in areas)
        capabilities.append(Capability(wire.CAPABILITY_SPARSE_MMAP, 1, content))
    return ARRANGEMENTS[device.manner.capabilities](wire.REGION_INFO.size, capabilities)
