# SPDX-License-Identifier: GPL-2.0-only
"""Which device a user means: a PCI address, a folder in /sys, a group, a socket, or the command of a server."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from ..host.machine import pci_address
from ..profiles import KernelGroupDevice, VfioUserDevice, quoted
from ..transport.host import Host
from .errors import ProbeError

#: How a profile says which device it is about.
Where: TypeAlias = KernelGroupDevice | VfioUserDevice

_GROUP: Final = re.compile(r"(?:/dev/vfio/)?([0-9]{1,9})(?::(.+))?")
_MEANT: Final = (
    "name a PCI address (0000:65:00.0), a folder in /sys, a group (12, /dev/vfio/12, or 12:NAME for one of its"
    " devices), or the socket of a vfio-user server"
)
#: The most names in a message.
_MOST_NAMED: Final = 16


def where(word: str | None, command: Sequence[str] = (), root: Path = Path("/")) -> Where:
    """The device that an argument of the command line names; ``command`` starts its server. Raises ProbeError.

    ``root`` is the folder above dev and sys.
    """
    if command:
        return VfioUserDevice(transport="vfio-user", socket=word, command=tuple(command))
    if word is None:
        raise ProbeError(f"which device? {_MEANT}")
    if address := pci_address(word):
        return _in_sysfs(f"/sys/bus/pci/devices/{address}", root)
    if group := _GROUP.fullmatch(word):
        return _in_group(int(group[1]), group[2], root)
    if word.startswith("/sys/"):
        return _in_sysfs(word.rstrip("/"), root)
    try:
        if stat.S_ISSOCK(os.stat(word).st_mode):
            return VfioUserDevice(transport="vfio-user", socket=word)
    except (OSError, ValueError):
        raise ProbeError(f"there is no {quoted(word)}: {_MEANT}") from None
    raise ProbeError(f"{quoted(word)} is neither a device nor a socket: {_MEANT}")


def _in_sysfs(folder: str, root: Path) -> KernelGroupDevice:
    if not (root / folder.lstrip("/")).is_dir():
        raise ProbeError(
            f"there is no device {quoted(folder)}; correct the name, or load the driver that creates the device"
        )
    return KernelGroupDevice(transport="kernel-group", name=os.path.basename(folder), sysfs=folder)


def _in_group(group: int, name: str | None, root: Path) -> KernelGroupDevice:
    """The device of this name in a group, or the only one there with a VFIO driver."""
    devices = Host(root).group_devices(group)
    if not devices:
        raise ProbeError(f"there is no IOMMU group {group}, or no device is in it; see /sys/kernel/iommu_groups")
    if name is None:
        driven = [each for each, driver in devices.items() if driver and driver != "pcieport"]
        driven = driven if len(devices) > 1 else [*devices]
        if len(driven) != 1:
            raise ProbeError(
                f"group {group} holds {_listed(devices)}; name one of them, such as {group}:{next(iter(devices))}"
            )
        (name,) = driven
    elif name not in devices:
        raise ProbeError(f"group {group} holds no device {quoted(name)}; it holds {_listed(devices)}")
    link = root / f"sys/kernel/iommu_groups/{group}/devices/{name}"
    bus = os.path.basename(os.path.realpath(link / "subsystem"))
    # By its bus: the number of a group can change when the machine is rebooted.
    return _in_sysfs(f"/sys/bus/{bus}/devices/{name}", root)


def _listed(devices: Mapping[str, str]) -> str:
    named = [f"{name} ({driver or 'no driver'})" for name, driver in [*devices.items()][:_MOST_NAMED]]
    more = len(devices) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
