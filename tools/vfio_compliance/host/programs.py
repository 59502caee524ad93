# SPDX-License-Identifier: GPL-2.0-only
"""Programs that commands start: those of `vm`, of `repro`, and the server of a profile."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from typing import Final

from ..profiles import SecondServer, SpareServer, VfioUserDevice
from ..vm.host import BOOT, BUILD, FETCH, remedy, which, why_no_kvm
from .machine import Machine
from .needs import Need, State, is_debian, need

#: The kernel's own header, with which the C programs of `repro` are built.
_HEADER: Final = "usr/include/linux/vfio.h"


def of_vm(machine: Machine) -> Iterator[Need]:
    """What `vfio-compliance vm` starts; programs that are there share one row. KVM is not needed, only faster."""
    debian = is_debian(machine)
    places = {tool: which(tool) for tool in dict.fromkeys((*BOOT, *FETCH, *BUILD))}
    for tool, place in places.items():
        if place is None:
            yield Need(f"{tool}, for vm", State.MISSING, remedy(tool, debian=debian))
    if there := [tool for tool, place in places.items() if place]:
        yield Need("programs for vm", State.OK, ", ".join(there))
    if obstacle := why_no_kvm():
        yield Need("KVM, for vm", State.NOT_NEEDED, f"{obstacle}: guests are emulated")
    else:
        yield Need("KVM, for vm", State.OK, "can be opened; vm finds out whether a kernel boots on it")


def of_repro(machine: Machine) -> Iterator[Need]:
    """What builds the C programs of `vfio-compliance repro`."""
    install = "apt-get install linux-libc-dev" if is_debian(machine) else "install the kernel's headers for programs"
    yield need("linux/vfio.h, for repro", machine.exists(_HEADER), install, f"/{_HEADER}")


def of_server(device: VfioUserDevice) -> Iterator[Need]:
    """The program that a profile starts as the server, and the sockets of servers that are running already."""
    if device.command:
        word = device.command[0].replace("{python}", sys.executable)
        place = shutil.which(word) if "{" not in word else word
        yield need(
            "the server's program",
            place is not None,
            f"there is no program {word!r}: correct device.command",
            place or "",
        )
    places = {"": device, "second.": device.second, **{f"spares.{n}.": each for n, each in enumerate(device.spares)}}
    for key, server in places.items():
        started = device.command and not isinstance(server, SpareServer)
        if isinstance(server, (VfioUserDevice, SecondServer, SpareServer)) and server.socket and not started:
            yield _socket(f"device.{key}socket", server.socket)


def _socket(key: str, path: str) -> Need:
    """No connection is made: the server may take only one client, and may end when that one leaves."""
    what = f"socket {path}"
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return Need(what, State.MISSING, f"this is not a socket: correct {key}")
    except OSError as error:
        return Need(what, State.MISSING, f"{error.strerror}: start the server, or correct {key}")
    if not os.access(path, os.W_OK):
        return Need(what, State.MISSING, f"this user may not connect to it: become its owner, or: chmod a+w {path}")
    return Need(what, State.OK, "only a connection shows whether a server answers there")
