# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel shows of a device and its driver, in the device's folder in sysfs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from ..common.words import printable
from ..run.driver import text_of

#: Where distributions keep the names of PCI vendors and devices.
_NAMES: Final = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")
_LONGEST: Final = 200


class Identity(NamedTuple):
    """Unknown fields are empty. ``ids`` are vendor and device, of four hexadecimal digits each."""

    ids: tuple[str, str] = ("", "")
    vendor: str = ""
    product: str = ""
    driver: str = ""
    #: The version of the driver's module, and the checksum of its sources.
    module: str = ""
    version: str = ""
    srcversion: str = ""


def identity(sysfs: str, root: Path = Path("/")) -> Identity:
    """The identity of the device with this folder in sysfs."""
    folder = root / sysfs.lstrip("/")
    ids = _hexadecimal(text_of(folder / "vendor")), _hexadecimal(text_of(folder / "device"))
    driver = folder / "driver"
    module = driver / "module"
    vendor, product = names(*ids, root) if all(ids) else ("", "")
    return Identity(
        ids if all(ids) else ("", ""),
        vendor,
        product,
        _short(os.path.basename(os.path.realpath(driver))) if driver.exists() else "",
        _short(os.path.basename(os.path.realpath(module))) if module.exists() else "",
        _short(text_of(module / "version")),
        _short(text_of(module / "srcversion")),
    )


def names(vendor: str, device: str, root: Path = Path("/")) -> tuple[str, str]:
    """Names of a PCI vendor and its device by their ids; empty if this machine's lists do not have them."""
    for path in _NAMES:
        try:
            with (root / path).open(encoding="utf-8", errors="replace") as lines:
                found = ""
                for line in lines:
                    if found and line.startswith(f"\t{device}  "):
                        return found, _short(line[6:])
                    if found and line[:1] not in "\t#\n":
                        return found, ""
                    if line.startswith(f"{vendor}  "):
                        found = _short(line[6:])
                return found, ""
        except OSError:
            continue
    return "", ""


def same_kind(sysfs: str, root: Path = Path("/")) -> list[str]:
    """Names of other devices of the same bus, ids and driver, which could be the second device."""
    folder = root / sysfs.lstrip("/")
    this = identity(sysfs, root)
    bus = Path(sysfs).parent
    try:
        others = sorted(os.listdir(root / str(bus).lstrip("/")))
    except OSError:
        return []
    if not this.driver:
        return []
    return [name for name in others if name != folder.name and identity(str(bus / name), root) == this]


def _hexadecimal(text: str) -> str:
    """``1af4`` for ``0x1af4``; empty for anything else."""
    digits = text.removeprefix("0x").lower()
    return digits if len(digits) == 4 and all(each in "0123456789abcdef" for each in digits) else ""


def _short(text: str) -> str:
    return printable(text.strip())[:_LONGEST]
