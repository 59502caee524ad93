# SPDX-License-Identifier: GPL-2.0-only
"""What can be seen of the migration region without writing to it."""

from __future__ import annotations

import mmap
from typing import Final

from ..common.words import counted
from ..device import Area, Device, DeviceError, Region
from ..run.interface import Seen
from ..uapi.migration_v1 import DEVICE_STATE, HEADER_SIZE
from .region import REGION_TYPE, MigrationRegion
from .states import name

_TRANSITIONS: Final = "Only writing it shows which transitions work in addition to those that every driver has."

#: The result of a read if the device has left its bus.
_ALL_ONES: Final = 0xFFFFFFFF


def probe(device: Device) -> Seen | None:
    """The layout of the region, and device_state as it is; None without such a region. Raises DeviceError.

    Other registers are left alone: in some states a read of data_offset makes the driver prepare data.
    """
    regions = device.regions_of_type(REGION_TYPE)
    if not regions:
        return None
    if len(regions) > 1:
        raise DeviceError(
            "looking for the migration region", "one", f"regions {', '.join(str(r.index) for r in regions)}"
        )
    (region,) = regions
    if not HEADER_SIZE < region.size < 1 << 63:
        what = f"asking for the size of the migration region, {region.index}"
        raise DeviceError(what, f"more than {counted(HEADER_SIZE, 'byte')}, and less than 2^63", f"{region.size}")
    section = data_section(region)
    state = MigrationRegion(region, region.size).read(DEVICE_STATE)
    if state == _ALL_ONES:
        raise DeviceError("reading device_state", "a state", "all ones, as of a device that has left its bus")
    return Seen(
        {"data_section": section},
        (
            f"The migration region is region {region.index}, of {counted(region.size, 'byte')}.",
            f"device_state reads {name(state)}. {_TRANSITIONS}",
        ),
    )


def data_section(region: Region) -> str:
    """The claim that fits the mappable areas. Raises DeviceError for absurd ones."""
    areas = [area for area in region.areas if area.size]
    what = f"reading the mappable areas of the migration region, {region.index}"
    for area in areas:
        if area.offset + area.size > region.size:
            raise DeviceError(what, f"areas inside its {counted(region.size, 'byte', '#x')}", str(area))
    if not areas:
        return "trapped"
    # Nothing says where the section begins. Areas without gaps after the first one may be all of it.
    return "mapped" if _without_gaps(areas, region.size) else "partitioned"


def _without_gaps(areas: list[Area], size: int) -> bool:
    end = first = min(area.offset for area in areas)
    for area in sorted(areas, key=lambda area: area.offset):
        if area.offset > end:
            return False
        end = max(end, area.offset + area.size)
    return end == size and first <= -(-HEADER_SIZE // mmap.PAGESIZE) * mmap.PAGESIZE
