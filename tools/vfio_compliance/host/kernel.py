# SPDX-License-Identifier: GPL-2.0-only
"""What a device behind the running kernel needs of it: an IOMMU, modules, its group, lockable memory."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ..common.kernel_modules import kernel_name, name_of
from ..common.words import counted
from ..profiles import KernelGroupDevice, SpareInKernel
from ..transport import SetupError
from ..transport.host import Host
from .machine import Machine, pci_address
from .needs import Need, State, is_debian, need

#: Number of CAP_IPC_LOCK, which may lock any amount.
_IPC_LOCK: Final = 14

_GROUPS: Final = "sys/kernel/iommu_groups"


def iommu(machine: Machine) -> Need:
    """Whether the kernel uses an IOMMU, or some device has a group without one."""
    groups = machine.names(_GROUPS)
    option = "amd_iommu=on" if "AuthenticAMD" in machine.text("proc/cpuinfo") else "intel_iommu=on"
    remedy = f"switch on VT-d or AMD-Vi in the firmware, and add {option} to the kernel's command line"
    if is_debian(machine):
        remedy += " (GRUB_CMDLINE_LINUX in /etc/default/grub), then: update-grub && reboot"
    if not groups and not machine.exists("sys/kernel"):
        return Need("IOMMU", State.UNKNOWN, "/sys cannot be read: mount -t sysfs sysfs /sys")
    return need("IOMMU", bool(groups), remedy, counted(len(groups), "group"))


def module(machine: Machine, name: str, release: str) -> Need:
    """Whether a module is loaded or built in; whether the kernel has it at all."""
    what = f"module {name}"
    if machine.exists(f"sys/module/{kernel_name(name)}"):
        return Need(what, State.OK, "loaded")
    folder = f"lib/modules/{release}"
    lists = {kind: _listed(machine, f"{folder}/modules.{kind}") for kind in ("builtin", "dep")}
    if kernel_name(name) in lists["builtin"]:
        return Need(what, State.OK, "built in")
    if kernel_name(name) in lists["dep"]:
        return Need(what, State.MISSING, f"modprobe {name}")
    if not any(lists.values()):
        return Need(what, State.UNKNOWN, f"it is not loaded, and /{folder} does not say which modules there are")
    remedy = f"Linux {release} was built without it: boot another kernel"
    if is_debian(machine):
        remedy += ", such as the one from: apt-get install linux-image-amd64"
    return Need(what, State.MISSING, remedy)


def _listed(machine: Machine, path: str) -> set[str]:
    """Names of the modules in a list of lines that each begin with a path."""
    return {name_of(line.partition(":")[0]) for line in machine.text(path).splitlines() if line}


def container(machine: Machine) -> Need:
    """Whether /dev/vfio/vfio can be opened."""
    host, what = Host(machine.root), "/dev/vfio/vfio"
    return _opened(what, host.container, host.container_unopened)


def device(machine: Machine, where: KernelGroupDevice | SpareInKernel, wanted: str) -> Iterator[Need]:
    """Whether a device is there, has a VFIO driver, such as ``wanted``, and its group can be opened."""
    host, what = Host(machine.root), f"device {where.name}"
    try:
        group = where.group if where.group is not None else host.group_of(where.sysfs)
    except SetupError as error:
        yield Need(what, State.MISSING, _said(error))
        return
    devices, obstacles = host.group_devices(group), host.obstacles(group)
    if where.name not in devices:
        yield Need(what, State.MISSING, f"group {group} does not hold it: correct device.name in the profile")
        return
    driver, place = devices[where.name], host.group_file(group)
    # A vendor's driver may have any name: it is recognised by the group, which can be opened.
    bound = bool(driver) and (where.name not in obstacles or place.exists())
    yield need(what, bound, _how_to_bind(where.name, driver, wanted), f"bound to {driver}")
    others = {name: by for name, by in obstacles.items() if name != where.name and not (bound and by == driver)}
    remedy = "; ".join(f"{name} belongs to it: {_how_to_bind(name, by, '')}" for name, by in others.items())
    yield need(f"group {group}", not others, remedy, counted(len(devices), "device"))
    if bound:
        yield _opened(f"/dev/vfio/{group}", place, lambda error: host.group_unopened(group, error))


def _how_to_bind(name: str, driver: str, wanted: str) -> str:
    has = f"it is bound to {driver}" if driver else "it has no driver"
    if not pci_address(name):
        return f"{has}: bind it to its VFIO driver"
    return f"{has}: vfio-compliance bind {name}" + (f" --driver {wanted}" if wanted not in ("", "vfio-pci") else "")


def _opened(what: str, path: Path, complaint: Callable[[OSError], SetupError]) -> Need:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Need(what, State.MISSING, _said(complaint(error)))
    return Need(what, State.OK, "can be opened")


def lockable(machine: Machine, needed: int) -> Need:
    """Whether this process may lock ``needed`` bytes of memory for DMA."""
    what = "lockable memory"
    capabilities = re.search(r"(?m)^CapEff:\s*([0-9a-f]+)$", machine.text("proc/self/status"))
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Need(what, State.OK, "no limit" if soft == resource.RLIM_INFINITY else counted(soft, "byte"))
    if capabilities and int(capabilities[1], 16) >> _IPC_LOCK & 1:
        return Need(what, State.OK, "no limit for this user (CAP_IPC_LOCK)")
    kilobytes = -(-needed // 1024)
    remedy = f"a run locks up to {counted(needed, 'byte')}, the limit is {soft}: ulimit -l {kilobytes}"
    if hard != resource.RLIM_INFINITY and hard < needed:
        remedy += f", which root allows by `USER hard memlock {kilobytes}` in /etc/security/limits.conf"
    return Need(what, State.MISSING, remedy)


def _said(error: SetupError) -> str:
    return f"{error.message}: {error.remedy}"
