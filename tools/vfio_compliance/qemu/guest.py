# SPDX-License-Identifier: GPL-2.0-only
"""A device as the guest of a running QEMU reaches it: by base address registers and configuration space."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Mapping
from typing import Any, ClassVar

from ..device import Device
from ..profiles import Profile
from ..run.stimulus import Actor
from ..transport import Argument, Outcome, Target, Transport
from ..transport.base import argument_view, failure, success
from ..uapi.vfio import VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_REGION_INFO, DeviceFlags, RegionFlags, ffi
from .bars import CONFIGURATION_SIZE, Configuration, place
from .qtest import Bus

#: vfio-pci's indexes for the parts of a PCI device; the first ones are the base address registers.
_REGIONS, _CONFIGURATION = 9, 7


class InGuest(Transport):
    """Registers and memory of the device through QEMU. That is all: no mappings, no interrupts, no reset."""

    takes_pointers: ClassVar[bool] = False
    kernel: ClassVar[bool] = False

    def __init__(self, bus: Bus, places: Mapping[str, str]) -> None:
        super().__init__()
        self._bus, self._places = bus, dict(places)
        self._configuration = Configuration(bus)
        self._bars = place(self._configuration)

    def identity(self) -> dict[str, str]:
        """The transport."""
        return {"transport": "a guest of QEMU", **self._places}

    def places(self) -> dict[str, str]:
        """Those of the device on the host."""
        return self._places

    def _open(self) -> None:
        pass

    def _close(self) -> None:
        pass

    def _ioctl(self, target: Target, request: int, argument: Argument) -> Outcome:
        view = argument_view(argument)
        if target is Target.DEVICE and view is not None and request == VFIO_DEVICE_GET_INFO:
            about: Any = ffi.from_buffer("struct vfio_device_info *", view)
            about.flags, about.num_regions, about.num_irqs = DeviceFlags.PCI, _REGIONS, 0
            return success(0)
        if target is Target.DEVICE and view is not None and request == VFIO_DEVICE_GET_REGION_INFO:
            info: Any = ffi.from_buffer("struct vfio_region_info *", view)
            info.size = self._size(info.index)
            info.flags = RegionFlags.READ | RegionFlags.WRITE if info.size else 0
            return success(0)
        return failure(errno.ENOTTY)

    def _size(self, region: int) -> int:
        bar = self._bars.get(region)
        return CONFIGURATION_SIZE if region == _CONFIGURATION else bar.size if bar else 0

    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        if not 0 <= offset <= offset + length <= self._size(region):
            return failure(errno.ENXIO), b""
        if region in self._bars and not self._bars[region].ports:
            data = self._bus.read(self._bars[region].address + offset, length)
            return success(len(data)), data
        width = _width(offset, length)
        if region == _CONFIGURATION:
            number = self._configuration.read(offset, width)
        else:
            number = self._bus.port_in(self._bars[region].address + offset, width)
        return success(width), (number & (1 << 8 * width) - 1).to_bytes(width, "little")

    def _write(self, region: int, offset: int, data: bytes) -> Outcome:
        if not 0 <= offset <= offset + len(data) <= self._size(region):
            return failure(errno.ENXIO)
        if region in self._bars and not self._bars[region].ports:
            self._bus.write(self._bars[region].address + offset, data)
            return success(len(data))
        width = _width(offset, len(data))
        number = int.from_bytes(data[:width], "little")
        if region == _CONFIGURATION:
            self._configuration.write(offset, width, number)
        else:
            self._bus.port_out(self._bars[region].address + offset, width, number)
        return success(width)

    def _map(self, region: int, offset: int, length: int) -> mmap.mmap:
        raise OSError(errno.ENODEV, "a device in a guest cannot be mapped")


def _width(offset: int, length: int) -> int:
    """Bytes that one access by ports moves: 4, 2 or 1, naturally aligned."""
    return next(width for width in (4, 2, 1) if width <= length and offset % width == 0)


def actor(bus: Bus, profile: Profile, places: Mapping[str, str]) -> Actor:
    """The actions that the profile has for the device, through a QEMU that has just started.

    The steps of ``setup.after_open`` are done. Raises QemuError, DeviceError, Unreachable, ProfileFault.
    """
    device = Device(InGuest(bus, places))
    device.open()
    doer = Actor(device, profile)
    doer.set_up("after_open", lambda device: ())
    return doer
