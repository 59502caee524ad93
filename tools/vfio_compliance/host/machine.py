# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's files for binding devices to drivers, below one root directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PCI: Final = "sys/bus/pci"
#: The most bytes of a file that are read.
_MOST: Final = 1 << 20
#: First digits of a PCI bridge's class.
_BRIDGE: Final = "0x06"
_ADDRESS: Final = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", re.IGNORECASE)


class HostError(Exception):
    """The host does not allow what was asked for; the message says why, and what can be done about it."""


class Machine:
    """The root above dev, proc, run and sys. A test gives a made-up one that answers writes as the kernel does."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str | Path) -> str:
        """The content of a file without surrounding white space; empty if it cannot be read."""
        try:
            with (self.root / path).open("rb") as file:
                return file.read(_MOST).decode("utf-8", "replace").strip("\0\n\t ")
        except OSError:
            return ""

    def names(self, path: str | Path) -> list[str]:
        """The entries of a directory, in order; none if it cannot be read."""
        try:
            return sorted(os.listdir(self.root / path))
        except OSError:
            return []

    def write(self, path: str | Path, text: str) -> None:
        """Write to a file of the kernel in one call. Raises OSError."""
        descriptor = os.open(self.root / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def exists(self, path: str | Path) -> bool:
        """Whether there is such a file, directory or device."""
        return (self.root / path).exists()

    def target(self, path: str | Path) -> str:
        """The last component of a symbolic link's target; empty if there is no link."""
        try:
            return os.path.basename(os.readlink(self.root / path))
        except OSError:
            return ""

    @property
    def boot(self) -> str:
        """Identifies this boot of the machine; empty if the kernel does not say."""
        return self.text("proc/sys/kernel/random/boot_id")


class PciDevice:
    """A PCI device by its address, as sysfs shows it now."""

    def __init__(self, machine: Machine, address: str) -> None:
        self._machine = machine
        self.address = address
        #: Its directory, below the root.
        self.folder = f"{_PCI}/devices/{address}"

    @property
    def present(self) -> bool:
        """Whether it is there."""
        return self._machine.exists(self.folder)

    @property
    def driver(self) -> str:
        """The driver that it is bound to; empty for none."""
        return self._machine.target(f"{self.folder}/driver")

    @property
    def override(self) -> str:
        """The only driver that may bind it; empty if any driver that knows it may."""
        text = self._machine.text(f"{self.folder}/driver_override")
        return "" if text == "(null)" else text

    @property
    def group(self) -> int | None:
        """The number of its IOMMU group; None if it has none."""
        name = self._machine.target(f"{self.folder}/iommu_group")
        return int(name) if name.isdecimal() else None

    @property
    def is_bridge(self) -> bool:
        """Whether other devices are behind it; no VFIO driver takes such a device."""
        return self._machine.text(f"{self.folder}/class").startswith(_BRIDGE)

    def below(self, subsystem: str) -> Iterator[Path]:
        """Directories of what its driver has created, in a subsystem such as ``block`` or ``net``."""
        for where, folders, _ in os.walk(os.path.realpath(self._machine.root / self.folder)):
            if self._machine.target(Path(where, "subsystem")) == subsystem:
                yield Path(where)
            folders[:] = [name for name in folders if not pci_address(name)]

    def unbind(self) -> None:
        """Take it from its driver. Raises OSError."""
        self._machine.write(f"{self.folder}/driver/unbind", self.address)

    def set_override(self, driver: str) -> None:
        """Let only ``driver`` bind it; empty: any driver that knows it. Raises OSError."""
        self._machine.write(f"{self.folder}/driver_override", f"{driver}\n")

    def probe(self) -> None:
        """Have the kernel look for its driver. Raises OSError."""
        self._machine.write(f"{_PCI}/drivers_probe", self.address)

    def bind(self, driver: str) -> None:
        """Give it to this driver. Raises OSError."""
        self._machine.write(f"{_PCI}/drivers/{driver}/bind", self.address)


def has_driver(machine: Machine, driver: str) -> bool:
    """Whether there is a driver of this name for PCI devices."""
    return machine.exists(f"{_PCI}/drivers/{driver}")


def pci_address(word: str) -> str:
    """The address of a PCI device as the kernel writes it, whose domain may be left out; empty for another word."""
    found = _ADDRESS.fullmatch(word)
    return f"{found[1] or '0000'}:{found[2]}".lower() if found else ""


def is_name(word: str) -> bool:
    """Whether a driver can have this name."""
    return 0 < len(word) < 256 and word.isprintable() and "/" not in word and word not in (".", "..")
