# SPDX-License-Identifier: GPL-2.0-only
"""The device: its information, regions, interrupts and reset."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, NamedTuple

from ..common.words import counted
from ..transport import Argument, Outcome, Target, Transport
from ..uapi.vfio import (
    VFIO_DEVICE_GET_INFO,
    VFIO_DEVICE_GET_REGION_INFO,
    VFIO_DEVICE_RESET,
    DeviceFlags,
    RegionFlags,
    ffi,
)
from .capability import parse_chain
from .errors import DeviceError, accepted
from .interrupts import Interrupts
from .region import Region

#: More regions or larger information structures than these count as malformed.
_MOST_REGIONS = 4096
_LARGEST_INFO = 1 << 20

_REGION_FIXED = ffi.sizeof("struct vfio_region_info")


class _Info(NamedTuple):
    """The device's information."""

    flags: DeviceFlags
    regions: int
    irqs: int


class Device:
    """An open device. Its information is read right after each open, and kept until the next.

    A device may refuse to answer later, in the middle of a migration. A refusal is kept, too: it is raised when
    the answer is needed.
    """

    def __init__(self, transport: Transport, set_up: Callable[[Device, str], None] | None = None) -> None:
        """``set_up`` is called with ``after_open`` after each open, with ``after_reset`` after each reset."""
        self.transport = transport
        self._set_up = set_up or (lambda device, moment: None)
        self._info: _Info | None = None
        self._regions: list[Region] | None = None
        self._refusal: DeviceError | None = None
        self.interrupts = Interrupts(transport, lambda: self._known_info().irqs)

    def open(self) -> None:
        """Open the device and read its information. Raises TransportError, but not if the information is refused."""
        self._info = self._regions = self._refusal = None
        self.transport.open()
        try:
            self._info = self._info_now()
            self._regions = self._regions_of(self._info.regions)
        except DeviceError as error:
            self._refusal = error
        self._set_up(self, "after_open")

    def close(self) -> None:
        """Close it as a program that ends does: without writing anything first."""
        self.transport.close()

    def reopen(self) -> None:
        """Close, then open as the next user would. Raises TransportError."""
        self.close()
        self.open()

    def try_reset(self) -> Outcome:
        """VFIO_DEVICE_RESET; returns the driver's answer."""
        outcome = self.try_request(VFIO_DEVICE_RESET, None)
        if outcome.ok:
            self._set_up(self, "after_reset")
        return outcome

    def reset(self) -> None:
        """VFIO_DEVICE_RESET. Raises DeviceError."""
        accepted("resetting the device", self.try_reset())

    def try_request(self, request: int, argument: Argument) -> Outcome:
        """Any request with any argument, memory or address; returns the answer."""
        return self.transport.ioctl(Target.DEVICE, request, argument)

    def info(self) -> tuple[DeviceFlags, int]:
        """Flags, and how many region indexes there are. Raises DeviceError."""
        info = self._known_info()
        return info.flags, info.regions

    @property
    def announces_reset(self) -> bool:
        """Whether the device announces a reset. Raises DeviceError."""
        return DeviceFlags.RESET in self.info()[0]

    @property
    def regions(self) -> list[Region]:
        """Every region index in order. Raises DeviceError for an answer that cannot be used."""
        if self._regions is None:
            self._raise_refusal()
            self._regions = self._regions_of(self._known_info().regions)
        return self._regions

    def regions_now(self) -> list[Region]:
        """As ``regions``, but read again, and not kept. Raises DeviceError."""
        return self._regions_of(self._info_now().regions)

    def region(self, index: int) -> Region:
        """The region of this index. Raises DeviceError for one that the device does not have."""
        if index >= len(self.regions):
            wanted = f"more than {counted(index, 'region')}"
            raise DeviceError(f"looking for region {index}", wanted, f"{len(self.regions)}")
        return self.regions[index]

    def regions_of_type(self, wanted: tuple[int, int]) -> list[Region]:
        """The regions that announce themselves by this type and subtype. Raises DeviceError."""
        return [region for region in self.regions if region.type == wanted]

    def _raise_refusal(self) -> None:
        if (refusal := self._refusal) is not None:
            again = DeviceError(refusal.what, refusal.expected, refusal.seen, refusal.errno)
            again.after = refusal.after
            raise again from refusal

    def _known_info(self) -> _Info:
        if self._info is None:
            self._raise_refusal()
            self._info = self._info_now()
        return self._info

    def _info_now(self) -> _Info:
        what = "asking for the device's information"
        info: Any = ffi.new("struct vfio_device_info *", {"argsz": ffi.sizeof("struct vfio_device_info")})
        self._ask(what, VFIO_DEVICE_GET_INFO, info)
        if info.num_regions > _MOST_REGIONS:
            raise DeviceError(what, f"at most {counted(_MOST_REGIONS, 'region')}", f"{info.num_regions}")
        return _Info(DeviceFlags(info.flags), info.num_regions, info.num_irqs)

    def _regions_of(self, count: int) -> list[Region]:
        return [self._region(index) for index in range(count)]

    def _region(self, index: int) -> Region:
        what = f"asking for the information of region {index}"
        answer, info, outcome = self._region_info(index, _REGION_FIXED)
        if outcome.errno == errno.EINVAL:
            # vfio-pci counts an index for VGA on each PCI device, and refuses it if there is no VGA.
            return Region(self.transport, index, 0, RegionFlags(0), [])
        if outcome.ok and _REGION_FIXED < info.argsz <= _LARGEST_INFO:
            answer, info, outcome = self._region_info(index, info.argsz)
        accepted(what, outcome)
        if info.argsz > len(answer):
            raise DeviceError(
                what,
                f"no more than the {counted(len(answer), 'byte')} asked for, and {_LARGEST_INFO} at most",
                f"{info.argsz}",
            )
        flags = RegionFlags(info.flags)
        chain = (
            parse_chain(what, bytes(ffi.buffer(answer)), info.cap_offset, _REGION_FIXED)
            if RegionFlags.CAPS in flags
            else []
        )
        return Region(self.transport, index, info.size, flags, chain)

    def _region_info(self, index: int, size: int) -> tuple[Any, Any, Outcome]:
        """The answer with room for ``size`` bytes: the bytes, the structure at their start, whether it succeeded."""
        answer = ffi.new("uint8_t[]", size)
        info: Any = ffi.cast("struct vfio_region_info *", answer)
        info.argsz, info.index = size, index
        return answer, info, self.try_request(VFIO_DEVICE_GET_REGION_INFO, answer)

    def _ask(self, what: str, request: int, argument: Any) -> None:
        accepted(what, self.try_request(request, argument))
