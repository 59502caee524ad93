# SPDX-License-Identifier: GPL-2.0-only
"""The whole driver: a device, its container, and the commands of both."""

from __future__ import annotations

from collections.abc import Mapping

from . import migration_v1
from .container.container import Container
from .container.container_info import Information
from .container.dirty import DirtyTracker
from .container.memory import GuestMemory
from .device.attended import Attended
from .device.commands import Commands
from .device.device import Device
from .device.interrupts import Interrupts
from .device.layout import LAYOUTS
from .device.machine import Machine
from .options import Options
from .parts import Made, as_it_is
from .socket.connection import Connection
from .socket.negotiation import Agreement
from .socket.requests import Handler


class Driver:
    """Serves one client after another (``socket.session.Driver``)."""

    def __init__(self, options: Options, device: Device, commands: Commands, container: Container) -> None:
        self.device = device
        self.commands = commands
        self.container = container
        self.largest_transfer = options.largest_transfer
        self.errno = options.errno
        self.handlers: Mapping[int, Handler] = {**commands.handlers, **container.handlers}

    def open(self, peer: Connection) -> None:
        """A client has connected: memory that it keeps to itself is reached by messages to ``peer``."""
        self.device.open()
        self.device.guest.attach(peer)

    def agree(self, agreement: Agreement) -> None:
        """The client has announced its capabilities."""
        self.commands.agree(agreement.peer_max_data)
        self.device.guest.dirty.page_size = agreement.page_size

    def close(self) -> None:
        """The client has gone."""
        self.device.close()

    @property
    def restless(self) -> bool:
        """Whether ``tick`` has to be called from time to time."""
        return self.device.restless

    def tick(self) -> None:
        """Do the work that is due without a request by the client."""
        self.device.tick()


def build(options: Options, made: Made = as_it_is) -> Driver:
    """The driver that these options describe, built from the classes that ``made`` returns.

    This is where the rooms are put together: no other place names a version of the migration interface.
    """
    guest = made(GuestMemory)(options, made(DirtyTracker))
    kind = Attended if options.needs_interrupt == "yes" else Machine
    machine = made(kind)(options, guest, made(Interrupts)())
    migration = migration_v1.build(options, machine, made)
    device = made(Device)(options, guest, machine, {LAYOUTS[options.regions].migration: migration})
    information = made(Information)(options, guest.dirty)
    container = made(Container)(options, guest, information)
    return Driver(options, device, made(Commands)(options, device), container)
