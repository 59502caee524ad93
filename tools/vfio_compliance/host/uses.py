# SPDX-License-Identifier: GPL-2.0-only
"""Who would miss a device if it were taken from its driver: mounted disks, networks that are up, programs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..common.words import printable
from ..transport.host import Host
from .machine import Machine, PciDevice

#: An NVMe disk's name by one of its paths, and its name by all of them.
_PATH_OF_SEVERAL: Final = re.compile(r"(nvme[0-9]+)c[0-9]+(n[0-9]+)")
_IFF_UP: Final = 1
#: How deep disks may be stacked on disks.
_DEEPEST: Final = 16


def uses(machine: Machine, device: PciDevice) -> list[str]:
    """A clause for each use that this user can see: ``its disk sda1 is mounted at /``."""
    return [*dict.fromkeys([*_disks(machine, device), *_networks(machine, device), *_programs(machine, device)])]


def _disks(machine: Machine, device: PciDevice) -> Iterator[str]:
    mounts, swaps = _mounts(machine), _swaps(machine)
    for folder in device.below("block"):
        yield from _disk(machine, folder, mounts, swaps)
        if path := _PATH_OF_SEVERAL.fullmatch(folder.name):
            whole = machine.root / "sys/class/block" / "".join(path.groups())
            for part in (whole, *(whole / name for name in machine.names(whole) if name.startswith(whole.name))):
                yield from _disk(machine, part, mounts, swaps)


def _disk(machine: Machine, folder: Path, mounts: dict[str, str], swaps: set[str], depth: int = 0) -> Iterator[str]:
    """Uses of a disk or partition, and of the disks built on it, such as LVM volumes."""
    name = folder.name
    number = machine.text(folder / "dev")
    for known in (number, name):
        if known in mounts:
            yield f"its disk {name} is mounted at {mounts[known]}"
            break
    if name in swaps:
        yield f"its disk {name} holds swap space"
    for holder in machine.names(folder / "holders") if depth < _DEEPEST else ():
        inner = [*_disk(machine, machine.root / "sys/class/block" / holder, mounts, swaps, depth + 1)]
        yield from inner or [f"its disk {name} is part of {holder}"]


def _mounts(machine: Machine) -> dict[str, str]:
    """The first place at which a disk is mounted, by its number and by its name."""
    found: dict[str, str] = {}
    for line in machine.text("proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        words, source = before.split(" "), after.split(" ")[1:2]
        if len(words) < 5:
            continue
        place = printable(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4]))
        found.setdefault(words[2], place)
        if source and source[0].startswith("/dev/"):  # some file systems, such as btrfs, show only the name
            found.setdefault(os.path.basename(source[0]), place)
    return found


def _swaps(machine: Machine) -> set[str]:
    return {os.path.basename(line.split()[0]) for line in machine.text("proc/swaps").splitlines()[1:] if line.split()}


def _networks(machine: Machine, device: PciDevice) -> Iterator[str]:
    for folder in device.below("net"):
        try:
            flags = int(machine.text(folder / "flags"), 16)
        except ValueError:
            continue
        if flags & _IFF_UP:
            yield f"its network interface {folder.name} is up"


def _programs(machine: Machine, device: PciDevice) -> Iterator[str]:
    """Processes that have its group open: a VFIO driver releases the device only once they have ended."""
    if device.group is not None:
        place = f"/dev/vfio/{device.group}"
        yield from (f"{printable(process)} has {place} open" for process in Host(machine.root).holders(place))
