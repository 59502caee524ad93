# SPDX-License-Identifier: GPL-2.0-only
"""A look at a device: it is opened, queried, read and closed; nothing else is done to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..common.words import counted, enumerated
from ..device import Container, Device, DeviceError, Region
from ..profiles import Limits, VfioUserDevice
from ..results.inflight import Inflight
from ..run.interface import Interface, Seen
from ..transport import KernelGroupSettings, Transport, TransportError, VfioUserSettings, create
from ..uapi.vfio import DeviceFlags, RegionFlags
from .errors import ProbeError
from .target import Where

#: The most regions, and areas of a region, that are listed.
_MOST_REGIONS, _MOST_AREAS = 32, 8

_CONFIG_SPACE = 7


class Look(NamedTuple):
    """What was seen of a device."""

    #: PCI vendor and device from the device's own configuration space; empty if it has none.
    ids: tuple[str, str]
    #: A sentence each: the device, and each of its regions.
    device: str
    regions: Sequence[str]
    #: What was seen, by the interface's name. Interfaces that the device does not have are left out.
    seen: Mapping[str, Seen]


def look(where: Where, interfaces: Sequence[Interface], calls: Inflight | None = None) -> Look:
    """Look at a device; each call is noted in ``calls`` before it is made.

    Raises ProbeError if the device cannot be reached, goes away or gives an answer that cannot be used.
    """
    transport = _way_to(where)
    transport.tracer.on_begin = calls.begin if calls else None
    device = Device(transport)
    try:
        device.open()
        return _asked(device, Container(transport), interfaces)
    except TransportError as error:
        raise ProbeError(f"{error.message}; {error.remedy}") from None
    except DeviceError as error:
        raise ProbeError(f"the device gave an answer that no working device gives: {error}") from None
    finally:
        transport.shutdown()
        if calls:
            calls.none()


def _way_to(where: Where) -> Transport:
    if isinstance(where, VfioUserDevice):
        limits = Limits()
        return create(VfioUserSettings(where.socket, where.command, limits.call, limits.test))
    return create(KernelGroupSettings(where.name, where.group, where.sysfs))


def _asked(device: Device, container: Container, interfaces: Sequence[Interface]) -> Look:
    flags, count = device.info()
    kinds = [flag.name for flag in DeviceFlags if flag in flags and flag not in (DeviceFlags.CAPS, DeviceFlags.RESET)]
    kind = enumerated(map(str, kinds), "and") or "of no known one"
    says = f"The device announces {counted(count, 'region')}, its kind as {kind}, and "
    says += "that it can be reset." if DeviceFlags.RESET in flags else "no reset."
    regions = [region for region in device.regions if region.size]
    described = [_described(region) for region in regions[:_MOST_REGIONS]]
    if len(regions) > _MOST_REGIONS:
        described.append(f"and {len(regions) - _MOST_REGIONS} more")
    seen = {interface.name: interface.probe(device, container) for interface in interfaces}
    return Look(
        _ids(device) if DeviceFlags.PCI in flags else ("", ""),
        says,
        described,
        {name: each for name, each in seen.items() if each is not None},
    )


def _described(region: Region) -> str:
    can = [
        str(flag.name).lower()
        for flag in (RegionFlags.READ, RegionFlags.WRITE, RegionFlags.MMAP)
        if flag in region.flags
    ]
    text = f"{region.index}: {counted(region.size, 'byte', '#x')}, {enumerated(can, 'and') or 'no access'}"
    if region.type:
        text += f", type {region.type[0]:#x}, subtype {region.type[1]:#x}"
    if areas := [area for area in region.areas if area.size != region.size]:
        text += f"; mappable: {', '.join(map(str, areas[:_MOST_AREAS]))}"
        text += f" and {len(areas) - _MOST_AREAS} more" if len(areas) > _MOST_AREAS else ""
    return text


def _ids(device: Device) -> tuple[str, str]:
    """Raises DeviceError."""
    if len(device.regions) <= _CONFIG_SPACE or device.regions[_CONFIG_SPACE].size < 4:
        return "", ""
    number = device.regions[_CONFIG_SPACE].read(0, 4)
    if number == 0xFFFFFFFF:
        raise DeviceError("reading vendor and device", "ids", "all ones, as from a device that has left its bus")
    return f"{number & 0xFFFF:04x}", f"{number >> 16:04x}"
