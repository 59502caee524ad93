# SPDX-License-Identifier: GPL-2.0-only
"""The whole device: its regions as a user finds them, and what happens to all of it at once."""

from __future__ import annotations

from .machine import Machine
from .memory import GuestMemory
from .migration import MigrationRegion
from .options import Options
from .regions import ReadOnly, Region

_REGION_COUNT = 10
IRQ_COUNT = 5

REGISTERS = 0
DEVICE_MEMORY = 2
CONFIGURATION = 7
MIGRATION = 9

#: Vendor and device id; the rest is zero.
_CONFIGURATION_SPACE = bytes.fromhex("f41af110").ljust(256, b"\0")


class Device:
    """One reference device. Its state outlives the users that come and go."""

    def __init__(self, options: Options) -> None:
        self.defects = options.defects
        self.guest = GuestMemory(options.everything_dirty, options.defects)
        self.machine = Machine(options, self.guest)
        self.migration = MigrationRegion(options, self.machine)
        #: The regions that exist, by index; the others have size 0.
        self.regions: dict[int, Region] = {
            REGISTERS: self.machine,
            CONFIGURATION: ReadOnly(_CONFIGURATION_SPACE),
            MIGRATION: self.migration,
        }
        if options.memory:
            self.regions[DEVICE_MEMORY] = self.machine.memory

    @property
    def region_count(self) -> int:
        """How many region indexes there are; one of no size too many by defect."""
        return _REGION_COUNT + ("region-announced-twice" in self.defects)

    @property
    def restless(self) -> bool:
        """Whether ``tick`` has to be called from time to time."""
        return self.machine.streaming or self.migration.section.awaits

    def tick(self) -> None:
        """Do what is due without the user's asking."""
        self.machine.tick()
        self.migration.section.tick()

    def open(self) -> None:
        """A user begins."""
        self.migration.open()

    def close(self) -> None:
        """The user has gone: no DMA, no mapping and no descriptor of theirs is left; the rest is kept."""
        self.machine.end_dma()
        self.guest.detach()
        self.migration.close()

    def reset(self) -> None:
        """Bring the device to its initial state, whatever state it is in. Mappings are not the device's."""
        self.migration.check_reset()
        self.machine.reset()
        self.migration.reset()
