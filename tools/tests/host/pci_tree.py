# SPDX-License-Identifier: GPL-2.0-only
"""A made-up /sys, /proc and /dev, in which PCI devices change their drivers as in the kernel."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

from vfio_compliance.host.machine import Machine

BUS = "sys/bus/pci"
#: A disk's controller, a network card and its second function, and the bridge above them.
DISK, NET, SOUND, BRIDGE = "0000:01:00.0", "0000:02:00.0", "0000:02:00.1", "0000:00:1c.0"


class FakeMachine(Machine):
    """The kernel of a made-up machine. It can kill this process, or lose a device, at any write to it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        #: The driver that matches each device, and drivers that refuse every device.
        self.knows: dict[str, str] = {DISK: "nvme", NET: "e1000e", SOUND: "snd_hda_intel", BRIDGE: "pcieport"}
        self.refusing: set[str] = set()
        self.writes = 0
        #: Number of the write before, or after, which this process is killed; or before which a device is removed.
        self.killed_before = self.killed_after = self.gone_before = 0

    def write(self, path: str | Path, text: str) -> None:
        self.writes += 1
        if self.writes == self.killed_before:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.writes == self.gone_before:
            self.remove(NET)
        self._react(str(path), text)
        if self.writes == self.killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def remove(self, address: str) -> None:
        """A device is unplugged."""
        shutil.rmtree(self.root / BUS / "devices" / address)
        for link in (self.root / "sys/kernel/iommu_groups").glob(f"*/devices/{address}"):
            link.unlink()

    def _react(self, path: str, text: str) -> None:
        name, word = path.rpartition("/")[2], text.strip()
        if not (self.root / path).exists():
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if name == "driver_override":
            (self.root / path).write_text(f"{word or '(null)'}\n")
        elif name == "drivers_probe":
            if self.target(f"{BUS}/devices/{word}/driver") == "":
                self._offer(word, self._override(word) or self.knows[word])
        elif name == "unbind":
            self._release(word)
        elif name == "bind":
            driver = path.split("/")[-2]
            if self.target(f"{BUS}/devices/{word}/driver"):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
            if driver not in (self._override(word) or self.knows[word], self.knows[word]) or not self._offer(
                word, driver
            ):
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), path)
        else:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)

    def _override(self, address: str) -> str:
        text = self.text(f"{BUS}/devices/{address}/driver_override")
        return "" if text == "(null)" else text

    def _offer(self, address: str, driver: str) -> bool:
        folder = self.root / BUS / "drivers" / driver
        if driver in self.refusing or not folder.is_dir():
            return False
        (self.root / BUS / "devices" / address / "driver").symlink_to(f"../../drivers/{driver}")
        if driver.startswith("vfio"):
            group = self.target(f"{BUS}/devices/{address}/iommu_group")
            (self.root / "dev/vfio" / group).touch()
        return True

    def _release(self, address: str) -> None:
        driver = self.root / BUS / "devices" / address / "driver"
        if not driver.is_symlink():
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(driver))
        driver.unlink()
        (self.root / "dev/vfio" / self.target(f"{BUS}/devices/{address}/iommu_group")).unlink(missing_ok=True)


def built(root: Path) -> FakeMachine:
    """A machine with a disk, a network card of two functions in one group, and a bridge."""
    machine = FakeMachine(root)
    for folder in ("dev/vfio", "proc/self", "proc/sys/kernel/random", "run", f"{BUS}/devices", f"{BUS}/drivers"):
        (root / folder).mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("first\n")
    (root / BUS / "drivers_probe").touch()
    for driver in ("nvme", "e1000e", "snd_hda_intel", "pcieport", "vfio-pci"):
        (root / BUS / "drivers" / driver).mkdir()
        (root / BUS / "drivers" / driver / "bind").touch()
        (root / BUS / "drivers" / driver / "unbind").touch()
    for address, kind, group in (
        (DISK, "0x010802", 5),
        (NET, "0x020000", 7),
        (SOUND, "0x040300", 7),
        (BRIDGE, "0x060400", 2),
    ):
        device = root / BUS / "devices" / address
        device.mkdir()
        (device / "class").write_text(f"{kind}\n")
        (device / "vendor").write_text("0x8086\n")
        (device / "device").write_text("0x10d3\n")
        (device / "driver_override").write_text("(null)\n")
        members = root / f"sys/kernel/iommu_groups/{group}/devices"
        members.mkdir(parents=True, exist_ok=True)
        (device / "iommu_group").symlink_to(f"../../../../kernel/iommu_groups/{group}")
        (members / address).symlink_to(f"../../../../bus/pci/devices/{address}")
        (device / "driver").symlink_to(f"../../drivers/{machine.knows[address]}")
    return machine


def without_driver(machine: FakeMachine, address: str) -> None:
    """Unbinds the device from its driver."""
    (machine.root / BUS / "devices" / address / "driver").unlink()


def made(machine: FakeMachine, device: str, subsystem: str, **files: str) -> Path:
    """A new directory in sysfs, such as that of a disk, below a device or elsewhere."""
    place = machine.root / device
    place.mkdir(parents=True)
    (place / "subsystem").symlink_to(f"/sys/class/{subsystem}")
    for name, text in files.items():
        (place / name).write_text(f"{text}\n")
    return place


def shown(machine: FakeMachine) -> dict[str, str | bytes]:
    """The whole tree except folders: the target of each link and the content of each file."""
    found: dict[str, str | bytes] = {}
    for where, folders, names in os.walk(machine.root):
        for name in (*folders, *names):
            path = Path(where, name)
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = path.read_bytes()
    return found
