# SPDX-License-Identifier: GPL-2.0-only
"""The kernel modules of VFIO and of the driver under test: their versions, files and parameters."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Final

from ..common.kernel_modules import kernel_name, listed
from .driver import text_of

#: Names the file of each module that was not loaded from the kernel's own folder, as JSON.
_FILES_BY: Final = "VFIO_COMPLIANCE_MODULES"
_VERSIONS: Final = ("version", "srcversion")


def modules() -> dict[str, str]:
    """The loaded modules of VFIO, as facts by name."""
    found: dict[str, str] = {}
    for name in names(Path("/sys/module")):
        if re.match("vfio|iommufd|mdev", name):
            label, folder = f"module {name}", Path("/sys/module", name)
            found |= {f"{label} {what}": text_of(folder / what) for what in _VERSIONS}
            found[f"{label} file"] = file_of(name)
            found |= parameters(label, folder)
    return found


def driver_facts(driver: str, sysfs: str | None) -> dict[str, str]:
    """The version that the kernel reports for a module: the one that drives the device, or else the named one."""
    folders = [Path(sysfs, "driver", "module")] if sysfs else []
    if driver and "/" not in driver:
        folders.append(Path("/sys/module", kernel_name(driver)))
    found: dict[str, str] = {}
    for folder in folders:
        for name in _VERSIONS:
            if text := text_of(folder / name):
                found.setdefault(f"driver {name}", text)
    return found


def file_of(module: str) -> str:
    """The file that a loaded module came from; empty if unknown, and if it is built in."""
    if not Path("/sys/module", module, "initstate").exists():
        return ""
    try:
        given = json.loads(os.environ.get(_FILES_BY, "{}"))
    except ValueError:
        given = {}
    if isinstance(given, dict) and module in given:
        return str(given[module])
    return _own_files(Path("/lib/modules", os.uname().release)).get(module, "")


@cache
def _own_files(folder: Path) -> dict[str, str]:
    """The modules of a kernel's own folder, thousands of them."""
    return {each.name: each.path for each in listed(folder)}


def names(folder: Path) -> list[str]:
    """The entries of a folder; empty if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def parameters(label: str, folder: Path) -> dict[str, str]:
    """The parameters of a module, by its folder in sysfs."""
    return {f"{label} parameter {name}": text_of(folder / "parameters" / name) for name in names(folder / "parameters")}
