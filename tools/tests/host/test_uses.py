# SPDX-License-Identifier: GPL-2.0-only
"""A device in use is not unbound without --force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pci_tree import BUS, DISK, NET, FakeMachine, built, made

from vfio_compliance.host.binding import bind, unbind
from vfio_compliance.host.machine import HostError, PciDevice

HOST = f"{BUS}/devices/{DISK}/ata1/host0/target0:0:0/0:0:0:0/block"


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return built(tmp_path)


def disk(machine: FakeMachine) -> Path:
    """The partition of a disk sda of a SATA controller. A folder on the path has the disk's own file `vendor`."""
    place = made(machine, f"{HOST}/sda", "block", dev="8:0")
    (place.parents[1] / "vendor").write_text("ATA\n")
    return made(machine, f"{HOST}/sda/sda1", "block", dev="8:1", partition="1")


def mounted(machine: FakeMachine, number: str, place: str, source: str) -> None:
    (machine.root / "proc/self/mountinfo").write_text(
        f"21 1 0:5 / /proc rw - proc proc rw\n22 1 {number} / {place} rw,relatime shared:1 - ext4 {source} rw\n"
    )


def partition(machine: FakeMachine) -> str:
    disk(machine)
    mounted(machine, "8:1", "/", "/dev/root")
    return "its disk sda1 is mounted at /"


def strange_place(machine: FakeMachine) -> str:
    disk(machine)
    mounted(machine, "8:1", r"/a\040b\033", "/dev/sda1")
    return r"its disk sda1 is mounted at /a b\x1b"


def by_name(machine: FakeMachine) -> str:
    disk(machine)
    mounted(machine, "0:44", "/home", "/dev/sda1")
    return "its disk sda1 is mounted at /home"


def stacked(machine: FakeMachine) -> str:
    (disk(machine) / "holders/dm-0").mkdir(parents=True)
    made(machine, "sys/class/block/dm-0", "block", dev="253:0")
    mounted(machine, "253:0", "/var", "/dev/mapper/vg-var")
    return "its disk dm-0 is mounted at /var"


def held(machine: FakeMachine) -> str:
    (disk(machine) / "holders/md0").mkdir(parents=True)
    made(machine, "sys/class/block/md0", "block", dev="9:0")
    return "its disk sda1 is part of md0"


def in_a_cycle(machine: FakeMachine) -> str:
    (disk(machine) / "holders/dm-0").mkdir(parents=True)
    (made(machine, "sys/class/block/dm-0", "block", dev="253:0") / "holders/dm-0").mkdir(parents=True)
    return "its disk dm-0 is part of dm-0"


def swap(machine: FakeMachine) -> str:
    disk(machine)
    (machine.root / "proc/swaps").write_text("Filename Type Size\n/dev/sda1 partition 100\n")
    return "its disk sda1 holds swap space"


def multipath(machine: FakeMachine) -> str:
    made(machine, f"{BUS}/devices/{DISK}/nvme/nvme0/nvme0c3n1", "block", hidden="1")
    made(machine, "sys/class/block/nvme0n1", "block", dev="259:0")
    made(machine, "sys/class/block/nvme0n1/nvme0n1p2", "block", dev="259:2", partition="2")
    mounted(machine, "259:2", "/boot", "/dev/nvme0n1p2")
    return "its disk nvme0n1p2 is mounted at /boot"


def network(machine: FakeMachine) -> str:
    made(machine, f"{BUS}/devices/{DISK}/virtio0/net/eth0", "net", flags="0x1003")
    return "its network interface eth0 is up"


def program(machine: FakeMachine) -> str:
    process = machine.root / "proc/4711"
    (process / "fd").mkdir(parents=True)
    (process / "fd/3").symlink_to("/dev/vfio/5")
    (process / "comm").write_text("qemu-system-x86\n")
    return "process 4711 (qemu-system-x86) has /dev/vfio/5 open"


EVERY = [partition, strange_place, by_name, stacked, held, in_a_cycle, swap, multipath, network, program]


@pytest.mark.parametrize("use", EVERY, ids=lambda use: use.__name__)
def test_a_device_in_use_is_not_bound(machine: FakeMachine, use: Callable[[FakeMachine], str]) -> None:
    """The message names the use, and nothing is written; with --force, it is bound."""
    reason = use(machine)
    with pytest.raises(HostError) as refused:
        bind(machine, DISK, "vfio-pci")
    assert reason in str(refused.value)
    assert machine.writes == 0
    bind(machine, DISK, "vfio-pci", force=True)
    assert PciDevice(machine, DISK).driver == "vfio-pci"


def test_an_unused_device_is_bound(machine: FakeMachine) -> None:
    """A disk that is not mounted, and a network interface that is down; uses of other devices do not count."""
    disk(machine)
    made(machine, f"{BUS}/devices/{DISK}/net/eth0", "net", flags="0x1002")
    made(machine, f"{BUS}/devices/{DISK}/net/eth1", "net", flags="nonsense")
    made(machine, f"{BUS}/devices/{NET}/net/eth2", "net", flags="0x1003")
    mounted(machine, "8:17", "/", "/dev/sdb1")
    bind(machine, DISK, "vfio-pci")
    assert PciDevice(machine, DISK).driver == "vfio-pci"


def test_a_device_in_use_is_not_unbound(machine: FakeMachine) -> None:
    """Unbinding would wait until the process closes it."""
    bind(machine, DISK, "vfio-pci")
    reason = program(machine)
    with pytest.raises(HostError, match="is in use") as refused:
        unbind(machine, DISK)
    assert reason in str(refused.value)
    assert PciDevice(machine, DISK).driver == "vfio-pci"
