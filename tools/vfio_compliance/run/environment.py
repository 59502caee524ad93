# SPDX-License-Identifier: GPL-2.0-only
"""What a run is made with: suite, kernel, driver, device, host; as facts by name, if they can be read.

Nothing here opens the device. What cannot be read is left out; nothing is guessed.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

from ..common.words import printable
from ..profiles import KernelGroupDevice, Profile
from ..results.folder import RERUN_BY
from ..rules.version import suite_facts
from .driver import code_digest, program_facts, text_of
from .modules import driver_facts, file_of, modules, names, parameters

#: Facts that may differ when a run is resumed: where it runs, and what does not affect verdicts.
MAY_CHANGE: Final = (
    *("host name", "python", "package ", "firmware of the host", "suite commit", "suite modified"),
    RERUN_BY,
)
#: Names the command that runs commands where this one runs, for use elsewhere: for a guest, on its host.
_RERUN_BY: Final = "VFIO_COMPLIANCE_RERUN"

_PACKAGES: Final = ("pytest", "pytest-timeout", "cffi", "PyYAML", "hypothesis")
_PCI: Final = ("vendor", "device", "subsystem_vendor", "subsystem_device", "revision", "class")
#: Names that drivers give the file with the firmware version in a device's folder.
_FIRMWARE: Final = ("firmware_version", "fw_version", "fw_ver", "firmware_rev", "vbios_version")
_LONGEST: Final = 1 << 12
#: Bytes of the largest configuration of a kernel that is kept.
_LARGEST_CONFIG: Final = 4 << 20


def gather(profile: Profile) -> dict[str, str]:
    """The facts, in the order in which a reader wants them."""
    found = {
        **suite_facts(),
        "kernel": os.uname().release,
        "kernel version": os.uname().version,
        "machine": os.uname().machine,
        **(modules() if isinstance(profile.device, KernelGroupDevice) else {}),
        **_driver(profile),
        **_device(profile),
        "iommu": " ".join(names(Path("/sys/class/iommu"))),
        **_host(),
        RERUN_BY: os.environ.get(_RERUN_BY, ""),
    }
    return {name: printable(value)[:_LONGEST] for name, value in found.items() if value}


def kernel_config() -> bytes:
    """The configuration of the running kernel; empty if it cannot be read."""
    try:
        with gzip.open("/proc/config.gz") as packed:
            return packed.read(_LARGEST_CONFIG)
    except OSError:
        pass
    try:
        with Path(f"/boot/config-{os.uname().release}").open("rb") as file:
            return file.read(_LARGEST_CONFIG)
    except OSError:
        return b""


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """One line for each fact that matters to a verdict and has changed."""
    return [
        f"{name}: {before.get(name, 'unknown')}; now {now.get(name, 'unknown')}"
        for name in dict.fromkeys([*before, *now])
        if not name.startswith(MAY_CHANGE) and before.get(name) != now.get(name)
    ]


def _sysfs(profile: Profile) -> str | None:
    device = profile.device
    if not isinstance(device, KernelGroupDevice):
        return None
    if device.sysfs is not None:
        return device.sysfs
    return f"/sys/kernel/iommu_groups/{device.group}/devices/{device.name}" if device.group is not None else None


def _driver(profile: Profile) -> dict[str, str]:
    sysfs = _sysfs(profile)
    found = {"driver": profile.driver or "", "driver version": profile.version or "", **program_facts(profile)}
    found |= driver_facts(profile.driver or "", sysfs)
    try:
        found["server digest"] = code_digest(profile)
        if sysfs:
            found["driver"] = os.path.basename(os.readlink(Path(sysfs, "driver")))
    except OSError:
        pass
    if sysfs:
        module = Path(sysfs, "driver", "module")
        found |= {"driver file": file_of(module.resolve().name), **parameters("driver", module)}
    return found


def _device(profile: Profile) -> dict[str, str]:
    sysfs = _sysfs(profile)
    if sysfs is None:
        return {}
    folder = Path(sysfs)
    found = {f"pci {name}": text_of(folder / name) for name in _PCI}
    found |= {f"device {name}": text_of(folder / name) for name in _FIRMWARE}
    return found | {"iommu group type": text_of(folder / "iommu_group" / "type")}


def _host() -> dict[str, str]:
    found = {"host name": os.uname().nodename, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[f"package {name}"] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    bios = [text_of(Path("/sys/class/dmi/id", name)) for name in ("bios_vendor", "bios_version", "bios_date")]
    return found | {"firmware of the host": " ".join(filter(None, bios))}
