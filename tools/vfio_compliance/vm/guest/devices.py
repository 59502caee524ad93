# SPDX-License-Identifier: GPL-2.0-only
"""Prepares devices so that VFIO can open them."""

import os
from collections.abc import Sequence
from pathlib import Path

from . import programs

#: Two that a run opens together, and two to continue with if a call never returns.
DEVICES = 4
_LAST = Path(f"/sys/bus/platform/devices/vfio_refdriver.{DEVICES - 1}")
_PCI = Path("/sys/bus/pci")
_SECONDS = 15.0


def _ready(device: Path) -> bool:
    group = device / "iommu_group"
    return group.exists() and Path("/dev/vfio", os.path.basename(os.readlink(group))).exists()


def load_reference(words: Sequence[str]) -> str:
    """Loads the reference driver and waits until its devices can be opened; returns a complaint, or nothing.

    ``words``: its file, and parameters.
    """
    path, *parameters = words
    complaint = programs.do([programs.which("insmod"), path, f"devices={DEVICES}", *parameters])
    if complaint:
        return f"{Path(path).name}: {complaint}"
    if not programs.wait(lambda: _ready(_LAST), _SECONDS):
        return f"{Path(path).name}: loaded, but no /dev/vfio group of {_LAST.name} appeared within {_SECONDS:.0f} s"
    return ""


def give_to_vfio(address: str) -> str:
    """Binds a PCI device to vfio-pci and waits until it can be opened; returns a complaint, or nothing."""
    device = _PCI / "devices" / address
    if not (device / "iommu_group").exists():
        return f"{address} has no IOMMU group: this kernel does not use the IOMMU"
    try:
        (device / "driver_override").write_text("vfio-pci")
        (_PCI / "drivers_probe").write_text(address)
    except OSError as error:
        return f"{address} cannot be bound to vfio-pci: {error}"
    if not programs.wait(lambda: _ready(device), _SECONDS):
        return f"no /dev/vfio group of {address} appeared within {_SECONDS:.0f} s: is there a driver vfio-pci?"
    return ""


def shared_memory() -> str:
    """The file that maps the memory in which the host reads the present call; empty without one."""
    for device in (_PCI / "devices").glob("*"):
        try:
            ids = [(device / name).read_text().strip() for name in ("vendor", "device")]
            if ids == ["0x1af4", "0x1110"]:
                (device / "enable").write_text("1")
                return str(device / "resource2")
        except OSError:
            continue
    return ""
