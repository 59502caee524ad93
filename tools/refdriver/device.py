# SPDX-License-Identifier: GPL-2.0-only
"""The whole device: its regions as a user finds them, and what happens to all of it at once."""

from __future__ import annotations

from .guarded import Slow, Strict
from .layout import LAYOUTS
from .machine import Machine
from .memory import GuestMemory
from .migration import MigrationRegion
from .options import Options
from .regions import ReadOnly, Region

#: Vendor and device id; the rest is zero.
_CONFIGURATION_SPACE = bytes.fromhex("f41af110").ljust(256, b"\0")


class Device:
    """One reference device. Its state outlives the users that come and go."""

    def __init__(self, options: Options) -> None:
        self.defects = options.defects
        self.manner = options.manner
        self.layout = layout = LAYOUTS[options.manner.regions]
        self.guest = GuestMemory(options.dirty_scope == "everything", options.defects)
        self.guest.dirty.sticky = options.dirty_scope == "sticky"
        self.machine = Machine(options, self.guest)
        self.migration = MigrationRegion(options, self.machine)
        #: The regions that exist, by index; the others have size 0.
        self.regions: dict[int, Region] = {
            **{index: ReadOnly(bytes(size)) for index, size in layout.idle.items()},
            layout.registers: self.machine,
            layout.migration: self.migration if self.manner.undefined == "serve" else Strict(self.migration),
        }
        if layout.configuration is not None:
            self.regions[layout.configuration] = ReadOnly(_CONFIGURATION_SPACE)
        if options.memory:
            self.regions[layout.memory] = self.machine.memory
        if self.manner.slow_access:
            self.regions = {index: Slow(region, self.manner.slow_access) for index, region in self.regions.items()}

    @property
    def region_count(self) -> int:
        """How many region indexes there are; one of no size too many by defect."""
        return self.layout.indexes + ("region-announced-twice" in self.defects)

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
