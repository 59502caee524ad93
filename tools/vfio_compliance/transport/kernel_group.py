# SPDX-License-Identifier: GPL-2.0-only
"""A device behind the kernel: container, group and device descriptors, as old as VFIO."""

from __future__ import annotations

import errno
import mmap
import os
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from ..uapi.type1 import VFIO_IOMMU_MAP_DMA, VFIO_TYPE1v2_IOMMU
from ..uapi.vfio import (
    VFIO_API_VERSION,
    VFIO_CHECK_EXTENSION,
    VFIO_DEVICE_GET_REGION_INFO,
    VFIO_GET_API_VERSION,
    VFIO_GROUP_GET_DEVICE_FD,
    VFIO_GROUP_GET_STATUS,
    VFIO_GROUP_SET_CONTAINER,
    VFIO_SET_IOMMU,
    GroupFlags,
)
from . import libc
from .base import Argument, Memory, Outcome, Target, Transport, argument_view, failure, success
from .errors import SetupError
from .guarded import UNTOUCHED
from .host import Host
from .regions import INFO_SIZE, Placement, map_region, placement

_ffi: Final = libc.ffi
_unpack: Final[Any] = _ffi.unpack

#: Accesses up to this many bytes share buffers that are kept, and so do larger ones, up to the second number.
_SMALL: Final = 4096
_LARGE: Final = 1 << 20
_ZEROS: Final = bytes(_LARGE)

#: From this many bytes on, the available memory is checked before memory is allocated.
_WORTH_A_LOOK: Final = 1 << 24

#: Linux moves at most 0x7ffff000 bytes at once, whatever is asked for; no buffer need be larger.
_LARGEST_BUFFER: Final = 1 << 31

#: Room after an argument whose argsz promises more memory than it has.
_SPILL: Final = 1 << 16


@dataclass(frozen=True)
class KernelGroupSettings:
    """Which device: its name for VFIO_GROUP_GET_DEVICE_FD, and either its group or its sysfs directory."""

    name: str
    group: int | None
    sysfs: str | None


class System(Protocol):
    """The system calls that are made here; a test can replace them."""

    def open(self, path: Path) -> int:
        """Open for reading and writing. Raises OSError."""

    def duplicate(self, descriptor: int) -> int:
        """Another descriptor for the same open file. Raises OSError."""

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""

    def ioctl(self, descriptor: int, request: int, argument: Any) -> int:
        """ioctl(2); ``argument`` is a cffi pointer."""

    def pread(self, descriptor: int, data: Any, length: int, offset: int) -> int:
        """pread64(2)."""

    def pwrite(self, descriptor: int, data: Any, length: int, offset: int) -> int:
        """pwrite64(2)."""

    def errno(self) -> int:
        """Why the last of the three above returned -1."""


class _Kernel:
    ioctl = staticmethod(libc.ioctl)
    pread = staticmethod(libc.pread64)
    pwrite = staticmethod(libc.pwrite64)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def duplicate(self, descriptor: int) -> int:
        return os.dup(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def errno(self) -> int:
        code: int = _ffi.errno
        return code


class KernelGroup(Transport):
    """A device reached through /dev/vfio/N.

    ``root`` is the folder above dev, sys and proc, ``system`` carries out the system calls: by both, tests
    show set-up faults without having them.

    A region's offset in the device's descriptor comes from the last answer to VFIO_DEVICE_GET_REGION_INFO; an
    access to a region not queried yet asks first, and fails as that request fails.

    A device ``beside`` another one, which has to be open, joins its container, as the devices of one virtual machine
    do; if both are in the same group, the group is open already. It is closed when the other one is: a container
    exists as long as any group is in it.
    """

    takes_pointers: ClassVar[bool] = True
    kernel: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    def __init__(
        self,
        settings: KernelGroupSettings,
        root: Path = Path("/"),
        system: System | None = None,
        beside: KernelGroup | None = None,
    ) -> None:
        super().__init__(beside)
        self._beside = beside
        self._joined: weakref.WeakSet[KernelGroup] = weakref.WeakSet()
        if beside is not None:
            beside._joined.add(self)
        self.settings = settings
        #: The group's number, known once the device was opened.
        self.group: int | None = settings.group
        self._host = Host(root)
        self._system: System = system or _Kernel()
        self._pread, self._pwrite = self._system.pread, self._system.pwrite
        self._files: dict[Target, int] = {}
        self._device = -1
        self._regions: dict[int, Placement] = {}
        self._spare = [_ffi.new("char[]", _SMALL)]
        self._large: list[Any] = []

    def identity(self) -> dict[str, str]:
        """Transport, device, group, the driver that is bound, and the kernel's release."""
        found = {
            "transport": "kernel-group",
            "kernel": os.uname().release,
            "machine": os.uname().machine,
            "device": self.settings.name,
        }
        if self.group is not None:
            found["group"] = str(self.group)
            driver = self._host.group_devices(self.group).get(self.settings.name)
            if driver:
                found["driver"] = driver
        return found

    def places(self) -> dict[str, str]:
        """``name`` and, if its folder is known, ``sysfs``."""
        found = {"name": self.settings.name}
        if self.settings.sysfs is not None:
            found["sysfs"] = self.settings.sysfs
        elif self.group is not None:
            found["sysfs"] = f"/sys/kernel/iommu_groups/{self.group}/devices/{self.settings.name}"
        return found

    def host_fault(self, request: int, outcome: Outcome, length: int) -> SetupError | None:
        """A VFIO_IOMMU_MAP_DMA refused for lack of lockable memory."""
        if request == VFIO_IOMMU_MAP_DMA and outcome.errno == errno.ENOMEM:
            return self._host.memory_limit(length)
        return None

    def memory(self, length: int) -> Memory:
        """As in the base class, but raises SetupError if this machine does not have enough to spare.

        The kernel locks all of it: if it were too much, another process would be killed to make room.
        """
        if length >= _WORTH_A_LOOK and (free := self._host.free_memory()) is not None and length > free:
            raise self._host.no_memory(length, free)
        try:
            return super().memory(length)
        except OSError:
            raise self._host.no_memory(length, self._host.free_memory()) from None

    def close(self) -> None:
        """As in the base class, after the devices that have joined its container."""
        with ExitStack() as then:
            then.callback(super().close)
            for other in list(self._joined):
                then.callback(other.close)

    def _open(self) -> None:
        try:
            self._open_all()
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        # The device first: the group and the container are in use until it is gone.
        for target in (Target.DEVICE, Target.GROUP, Target.CONTAINER):
            descriptor = self._files.pop(target, -1)
            if descriptor >= 0:
                self._system.close(descriptor)
        self._device = -1
        self._regions.clear()

    def _open_all(self) -> None:
        host = self._host
        group = self.settings.group
        if group is None:
            group = host.group_of(self.settings.sysfs)
        self.group = group
        beside = self._beside
        if beside is None:
            self._open_container()
        else:
            self._files[Target.CONTAINER] = self._system.duplicate(beside._opened(Target.CONTAINER))
        if beside is not None and beside.group == group:
            self._files[Target.GROUP] = self._system.duplicate(beside._opened(Target.GROUP))
        else:
            self._open_group(group)
        name = _ffi.new("char[]", os.fsencode(self.settings.name))
        outcome = self.ioctl(Target.GROUP, VFIO_GROUP_GET_DEVICE_FD, name)
        if not outcome.ok:
            raise host.device_refused(group, self.settings.name, outcome)
        self._device = self._files[Target.DEVICE] = outcome.value

    def _open_container(self) -> None:
        host = self._host
        try:
            self._files[Target.CONTAINER] = self._open_file(Target.CONTAINER, host.container)
        except OSError as error:
            raise host.container_unopened(error) from None
        version = self.ioctl(Target.CONTAINER, VFIO_GET_API_VERSION, None)
        if version.value != VFIO_API_VERSION:
            raise host.not_vfio(version)
        if self.ioctl(Target.CONTAINER, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU).value <= 0:
            raise host.no_type1()

    def _open_group(self, group: int) -> None:
        """Open the group and put it into the container, which gets its IOMMU with the first group."""
        host = self._host
        try:
            self._files[Target.GROUP] = self._open_file(Target.GROUP, host.group_file(group))
        except OSError as error:
            raise host.group_unopened(group, error) from None
        status = _ffi.new("uint32_t[2]", [8, 0])
        outcome = self.ioctl(Target.GROUP, VFIO_GROUP_GET_STATUS, status)
        if not outcome.ok:
            raise host.refused("VFIO_GROUP_GET_STATUS", group, outcome)
        if not status[1] & GroupFlags.VIABLE:
            raise host.not_viable(group)
        container = _ffi.new("int[1]", [self._files[Target.CONTAINER]])
        outcome = self.ioctl(Target.GROUP, VFIO_GROUP_SET_CONTAINER, container)
        if not outcome.ok:
            raise host.container_refused(group, outcome)
        if self._beside is None:
            outcome = self.ioctl(Target.CONTAINER, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)
            if not outcome.ok:
                raise host.iommu_refused(group, outcome)

    def _open_file(self, target: Target, path: Path) -> int:
        """The descriptor of an opened file; traced like other calls. Raises OSError."""
        with self.tracer.recorded("open", self._names[target], sent=os.fsencode(path)) as answer:
            descriptor = answer.value = self._system.open(path)
        return descriptor

    def _opened(self, target: Target) -> int:
        descriptor = self._files.get(target)
        if descriptor is None:
            raise SetupError("the device is not open", "open() it first")
        return descriptor

    def _ioctl(self, target: Target, request: int, argument: Argument) -> Outcome:
        descriptor = self._opened(target)
        view = argument_view(argument)
        if view is None:
            address = argument if isinstance(argument, int) else 0
            return self._outcome(self._system.ioctl(descriptor, request, libc.pointer(address)))
        argsz = int.from_bytes(view[:4], "little") if len(view) >= 4 else 0
        if argsz > len(view):
            # The caller misstates the size of its memory on purpose; the kernel must not write to other memory of ours.
            data = _ffi.new("char[]", len(view) + _SPILL)
            _ffi.memmove(data, view, len(view))
            outcome = self._outcome(self._system.ioctl(descriptor, request, data))
            view[:] = _ffi.buffer(data, len(view))
        else:
            with _ffi.from_buffer(view) as data:
                outcome = self._outcome(self._system.ioctl(descriptor, request, data))
        if request == VFIO_DEVICE_GET_REGION_INFO and target is Target.DEVICE:
            self._learn(outcome, view)
        return outcome

    def _learn(self, outcome: Outcome, view: memoryview) -> None:
        if outcome.ok and len(view) >= INFO_SIZE:
            index, where = placement(view)
            self._regions[index] = where

    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        where = self._regions.get(region)
        if where is None or length > _SMALL:
            return self._read_otherwise(region, offset, length)
        try:
            buffer = self._spare.pop()
        except IndexError:  # another thread has it
            buffer = _ffi.new("char[]", _SMALL)
        _ffi.memmove(buffer, _ZEROS, length)  # bytes that a driver leaves out must not show earlier data
        try:
            count = self._pread(self._device, buffer, length, where.offset + offset)
        except OverflowError:
            count = self._pread(self._device, buffer, length, libc.signed64(where.offset + offset))
        if count < 0:
            result = failure(self._system.errno()), b""
        else:
            # A driver that claims more than was asked must not show what else is in the buffer.
            result = success(count), _unpack(buffer, min(count, length))
        self._spare.append(buffer)
        return result

    def _read_otherwise(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        """A region not queried yet, or much data."""
        where, code = self._ask(region)
        if where is None:
            return failure(code), b""
        position = libc.signed64(where.offset + offset)
        if length > _LARGE:
            return self._read_much(position, length)
        buffer = self._large.pop() if self._large else _ffi.new("char[]", _LARGE)
        _ffi.memmove(buffer, _ZEROS, length)  # bytes that a driver leaves out must not show earlier data
        outcome = self._outcome(self._pread(self._device, buffer, length, position))
        data = _unpack(buffer, min(max(outcome.value, 0), length))
        self._large = [buffer]
        return outcome, data

    def _read_much(self, position: int, length: int) -> tuple[Outcome, bytes]:
        """Into memory of its own, untouched by whatever is not read."""
        with mmap.mmap(-1, min(length, _LARGEST_BUFFER), UNTOUCHED) as pages:
            with _ffi.from_buffer(pages) as buffer:
                outcome = self._outcome(self._pread(self._device, buffer, length, position))
            return outcome, pages[: min(max(outcome.value, 0), length)]

    def _write(self, region: int, offset: int, data: bytes) -> Outcome:
        where, code = self._ask(region)
        if where is None:
            return failure(code)
        position = where.offset + offset
        try:
            count = self._pwrite(self._device, data, len(data), position)
        except OverflowError:
            count = self._pwrite(self._device, data, len(data), libc.signed64(position))
        return success(count) if count >= 0 else failure(self._system.errno())

    def _map(self, region: int, offset: int, length: int) -> mmap.mmap:
        where, code = self._ask(region)
        if where is None:
            raise OSError(code, f"no information on region {region}: {os.strerror(code)}")
        return map_region(self._device, where, offset, length)

    def _ask(self, region: int) -> tuple[Placement | None, int]:
        """Where a region is, or errno if the driver does not say."""
        known = self._regions.get(region)
        if known is not None:
            return known, 0
        info = bytearray(INFO_SIZE)
        info[0] = INFO_SIZE
        info[8:12] = region.to_bytes(4, "little")
        outcome = self.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, info)
        return self._regions.get(region), outcome.errno or errno.ENXIO

    def _outcome(self, value: int) -> Outcome:
        return success(value) if value >= 0 else failure(self._system.errno())
