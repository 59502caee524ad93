# SPDX-License-Identifier: GPL-2.0-only
"""Why this host does not hand out a device, and what can be done about it.

Everything is looked up below one root directory, and only after something has gone wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import resource
import stat
from pathlib import Path
from typing import Final

from ..common.words import counted
from .base import Outcome
from .errors import SetupError

#: Drivers under which a device leaves its group usable (in addition to any with vfio in its name).
_HARMLESS: Final = ("pci-stub", "pcieport")

_HOW_TO_BIND: Final = (
    "a PCI device by `vfio-compliance bind`; any other by writing the driver's name to its driver_override in /sys, "
    "then its name to drivers_probe of its bus"
)


class Host:
    """The parts of dev, sys and proc that VFIO's set-up depends on."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.container = root / "dev/vfio/vfio"
        self._groups = root / "sys/kernel/iommu_groups"

    def group_file(self, group: int) -> Path:
        """The device file of a group."""
        return self._root / f"dev/vfio/{group}"

    def group_of(self, sysfs: str | None) -> int:
        """The group that a device's directory below /sys links to. Raises SetupError."""
        if sysfs is None:
            raise SetupError(
                "the profile names neither the device's group nor its sysfs directory",
                "give device.group or device.sysfs in the profile",
            )
        device = self._root / sysfs.lstrip("/")
        if not device.is_dir():
            raise SetupError(
                f"there is no device {sysfs}",
                "correct device.sysfs in the profile, or load the driver that creates the device",
            )
        try:
            return int(os.path.basename(os.readlink(device / "iommu_group")))
        except OSError:
            raise SetupError(
                f"{sysfs} belongs to no IOMMU group: the IOMMU is off, or does not cover the device",
                "switch on VT-d or AMD-Vi in the firmware and boot with intel_iommu=on or amd_iommu=on;"
                " a software-only device gets its group when its vfio driver binds it",
            ) from None
        except ValueError:
            raise SetupError(
                f"{sysfs}/iommu_group does not lead to a numbered group", "give device.group in the profile"
            ) from None

    def group_devices(self, group: int) -> dict[str, str]:
        """Name and driver ("" if unbound) of each device in a group."""
        found = {}
        with contextlib.suppress(OSError):
            for device in sorted((self._groups / str(group) / "devices").iterdir()):
                driver = device / "driver"
                found[device.name] = os.path.basename(os.readlink(driver)) if driver.is_symlink() else ""
        return found

    def obstacles(self, group: int) -> dict[str, str]:
        """Name and driver of each device that makes its group unusable: its driver is not a VFIO driver."""
        return {
            name: driver
            for name, driver in self.group_devices(group).items()
            if driver and driver not in _HARMLESS and "vfio" not in driver
        }

    def holders(self, place: str) -> list[str]:
        """Which processes have a file open, as far as this user can see: ``process 12 (its name)``."""
        found = []
        with contextlib.suppress(OSError):
            for process in sorted((self._root / "proc").iterdir()):
                if process.name.isdigit() and _has_open(process, place):
                    found.append(_process(process))
        return found

    # One method for each way in which the set-up can fail.

    def container_unopened(self, error: OSError) -> SetupError:
        """/dev/vfio/vfio cannot be opened."""
        if error.errno in (errno.EACCES, errno.EPERM):
            return self._forbidden(self.container, "/dev/vfio/vfio")
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            if (self._root / "sys/module/vfio").is_dir():
                remedy = (
                    "VFIO is loaded, but its container is missing: check that /dev is devtmpfs or that udev is running,"
                    " and that the kernel has CONFIG_VFIO_CONTAINER"
                )
            else:
                remedy = "modprobe -a vfio vfio_iommu_type1; without such modules, use another kernel"
            return SetupError(f"/dev/vfio/vfio cannot be opened: {error.strerror}", remedy)
        return SetupError(f"/dev/vfio/vfio cannot be opened: {error.strerror}", "see the kernel log for the reason")

    def not_vfio(self, version: Outcome) -> SetupError:
        """VFIO_GET_API_VERSION did not return 0."""
        seen = f"version {version.value}" if version.ok else os.strerror(version.errno)
        return SetupError(
            f"/dev/vfio/vfio does not speak VFIO's version 0: {seen}",
            "check what kind of file /dev/vfio/vfio is (ls -l); the device is character 10:196",
        )

    def no_type1(self) -> SetupError:
        """The container does not offer the type1 IOMMU."""
        return SetupError(
            "the container does not offer VFIO_TYPE1v2_IOMMU",
            "modprobe vfio_iommu_type1 (machines with another IOMMU model are not supported)",
        )

    def group_unopened(self, group: int, error: OSError) -> SetupError:
        """/dev/vfio/N cannot be opened."""
        place = f"/dev/vfio/{group}"
        if error.errno in (errno.EACCES, errno.EPERM):
            return self._forbidden(self.group_file(group), place)
        if error.errno == errno.EBUSY:
            return SetupError(
                f"group {group} is in use: {self._holders(place)}",
                f"end the process that has {place} open; only one at a time may",
            )
        if error.errno == errno.ENOENT:
            return self._no_group(group, place)
        return SetupError(f"{place} cannot be opened: {error.strerror}", "see the kernel log for the reason")

    def refused(self, request: str, group: int, outcome: Outcome) -> SetupError:
        """A request failed that has no reason to fail."""
        return SetupError(
            f"{request} of group {group}: {os.strerror(outcome.errno)}",
            f"check what kind of file /dev/vfio/{group} is (ls -l), and see the kernel log",
        )

    def not_viable(self, group: int) -> SetupError:
        """A device of the group is bound to a driver that is not a VFIO driver."""
        others = ", ".join(f"{name} ({driver})" for name, driver in self.obstacles(group).items())
        others = others or ", ".join(f"{n} ({d or 'no driver'})" for n, d in self.group_devices(group).items())
        return SetupError(
            f"group {group} is not viable: other drivers hold devices of it: {others or 'none that can be seen'}",
            "unbind each of these, or give it to VFIO (`vfio-compliance bind`): a group goes to one user as a whole",
        )

    def container_refused(self, group: int, outcome: Outcome) -> SetupError:
        """VFIO_GROUP_SET_CONTAINER failed."""
        if outcome.errno in (errno.EBUSY, errno.EINVAL):
            place = f"/dev/vfio/{group}"
            return SetupError(
                f"the container is busy: group {group} is attached to another one or it cannot take"
                f" it ({os.strerror(outcome.errno)}); {self._holders(place)}",
                f"end the process that has {place} open",
            )
        return self.refused("VFIO_GROUP_SET_CONTAINER", group, outcome)

    def iommu_refused(self, group: int, outcome: Outcome) -> SetupError:
        """VFIO_SET_IOMMU failed."""
        if outcome.errno == errno.EPERM:
            return SetupError(
                f"the kernel does not trust the IOMMU with group {group}: no interrupt remapping",
                "switch on interrupt remapping in the firmware, or, knowing the risk, load vfio_iommu_type1"
                " with allow_unsafe_interrupts=1",
            )
        if outcome.errno == errno.EBUSY:
            return SetupError(
                f"the container of group {group} is busy: {os.strerror(outcome.errno)}",
                f"end the other users of the group: {self._holders(f'/dev/vfio/{group}')}",
            )
        return self.refused("VFIO_SET_IOMMU with VFIO_TYPE1v2_IOMMU", group, outcome)

    def device_refused(self, group: int, name: str, outcome: Outcome) -> SetupError:
        """VFIO_GROUP_GET_DEVICE_FD failed."""
        devices = self.group_devices(group)
        if outcome.errno == errno.ENODEV:
            listed = ", ".join(f"{each} ({driver or 'no driver'})" for each, driver in devices.items())
            remedy = "correct device.name in the profile"
            if name in devices:
                remedy = f"bind {name} to its vfio driver: {_HOW_TO_BIND}"
            return SetupError(f"group {group} has no device {name!r}; it holds {listed or 'none'}", remedy)
        return SetupError(
            f"the driver refused to open {name}: {os.strerror(outcome.errno)}",
            "see the kernel log: the driver's own open failed",
        )

    def memory_limit(self, needed: int) -> SetupError:
        """A mapping was refused for lack of memory: lockable memory, or memory at all."""
        free = self.free_memory()
        if free is not None and needed > free:
            return self.no_memory(needed, free)
        soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        return SetupError(
            f"the kernel may not lock {counted(needed, 'byte')} of memory for DMA: RLIMIT_MEMLOCK is {_amount(soft)}"
            f" (at most {_amount(hard)}), and memory mapped earlier counts too",
            f"ulimit -l {-(-needed // 1024) + 65536} (in KiB) before the run, or LimitMEMLOCK= in its unit;"
            " root with CAP_IPC_LOCK has no limit",
        )

    def free_memory(self) -> int | None:
        """Bytes that the kernel estimates to be available, or None if it does not say."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (self._root / "proc/meminfo").read_text().splitlines():
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return None

    def no_memory(self, needed: int, free: int | None) -> SetupError:
        """There is not enough memory."""
        left = f"it has {free} to spare" if free is not None else "it has less to spare"
        return SetupError(
            f"this machine cannot give a device {counted(needed, 'byte')} of memory: {left}",
            "end processes that use the memory, or give the machine more (a guest of vfio-compliance vm: --memory 2G)",
        )

    def _no_group(self, group: int, place: str) -> SetupError:
        devices = self.group_devices(group)
        if (self._groups / str(group)).is_dir():
            listed = ", ".join(f"{name} ({driver or 'no driver'})" for name, driver in devices.items())
            return SetupError(
                f"{place} does not exist: no device of group {group} is bound to a vfio driver: "
                f"{listed or 'it is empty'}",
                f"bind the device to its vfio driver: {_HOW_TO_BIND}",
            )
        with contextlib.suppress(OSError):
            known = sorted(int(each.name) for each in self._groups.iterdir() if each.name.isdigit())
            if known:
                return SetupError(
                    f"there is no IOMMU group {group}; there are {_ranges(known)}",
                    "correct device.group in the profile, or give device.sysfs: numbers change between boots",
                )
        return SetupError(
            f"there is no IOMMU group {group}, nor any other: the IOMMU is off",
            "switch on VT-d or AMD-Vi in the firmware and boot with intel_iommu=on or amd_iommu=on",
        )

    def _forbidden(self, path: Path, place: str) -> SetupError:
        try:
            found = path.stat()
            owner = f"it belongs to {_user(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o}"
        except OSError:
            owner = "its owner is unknown"
        user = _user(os.geteuid())
        return SetupError(f"{user} may not open {place}: {owner}", f"run as root, or: chown {user} {place}")

    def _holders(self, place: str) -> str:
        found = self.holders(place)
        return f"by {', '.join(found)}" if found else "by a process that this user cannot see, or by the kernel"


def _has_open(process: Path, place: str) -> bool:
    try:
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(descriptor) == place:
                    return True
    except OSError:
        pass
    return False


def _process(process: Path) -> str:
    if process.name == str(os.getpid()):
        return f"process {process.name} (this one)"
    try:
        return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    except OSError:
        return f"process {process.name}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _amount(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else counted(limit, "byte")


def _ranges(numbers: list[int]) -> str:
    """Sorted numbers in short form: "0-4, 7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
