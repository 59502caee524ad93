# SPDX-License-Identifier: GPL-2.0-only
"""What a tree or headers show of a kernel: the compiler that it needs, the options that it lacks."""

import re
from pathlib import Path

from vfio_compliance.vm.errors import VmError

#: The options that a kernel needs to boot in a guest, and for VFIO to be judged.
_NEEDED = {
    "VFIO": "VFIO itself",
    "VFIO_IOMMU_TYPE1": "the container that the rules are for",
    "VFIO_GROUP": "groups: /dev/vfio/NUMBER",
    "VFIO_CONTAINER": "containers: /dev/vfio/vfio",
    "VFIO_PCI": "the driver of the devices that are judged by default",
    "IOMMU_SUPPORT": "IOMMUs",
    "INTEL_IOMMU": "the IOMMU of the virtual machine",
    "IRQ_REMAP": "interrupts through that IOMMU",
    "MODULES": "modules",
    "MODULE_UNLOAD": "replacing modules",
    "PCI": "devices",
    "PCI_MSI": "interrupts of devices",
    "VIRTIO_PCI": "devices of the virtual machine",
    "VIRTIO_CONSOLE": "what the commands print",
    "SERIAL_8250_CONSOLE": "the kernel's log",
    "NET_9P": "files of the host",
    "NET_9P_VIRTIO": "files of the host",
    "9P_FS": "files of the host",
    "OVERLAY_FS": "files of the host that stay as they are",
    "TMPFS": "files in memory",
    "DEVTMPFS": "/dev",
    "UNIX": "udev",
    "EVENTFD": "interrupts",
}
#: Options that only some kernels have; in others, their function is always there.
_NOT_ALWAYS = {"VFIO_GROUP": "drivers/vfio/Kconfig", "VFIO_CONTAINER": "drivers/vfio/Kconfig"}


def compiler(headers: Path) -> str:
    """The compiler that the kernel was built with, and modules should be, too. Empty if unknown."""
    config = options(headers)
    return config.get("CC_VERSION_TEXT", "").strip('"')


def options(tree: Path) -> dict[str, str]:
    """The configuration of a tree or of headers, by name without CONFIG_. Raises VmError without one."""
    for place in (tree / ".config", tree / "include" / "config" / "auto.conf"):
        try:
            text = place.read_text(errors="replace")
        except OSError:
            continue
        return {match[1]: match[2] for match in re.finditer(r"(?m)^CONFIG_(\w+)=(.*)$", text)}
    raise VmError(f"{tree} has no .config: run make defconfig, or make olddefconfig, there first")


def lacking(tree: Path) -> dict[str, str]:
    """The options that are needed here and that a tree has not set, each with its purpose. Raises VmError."""
    config = options(tree)
    return {
        name: what
        for name, what in _NEEDED.items()
        if config.get(name) not in ("y", "m") and (name not in _NOT_ALWAYS or _known(tree, name))
    }


def _known(tree: Path, name: str) -> bool:
    """Whether the tree has this option."""
    try:
        return bool(re.search(rf"(?m)^config {name}$", (tree / _NOT_ALWAYS[name]).read_text()))
    except OSError:
        return False
