# SPDX-License-Identifier: GPL-2.0-only
"""The whole device: its regions as a user finds them, and what happens to all of it at once."""

from __future__ import annotations

from collections.abc import Mapping

from ..container.memory import GuestMemory
from ..options import Options
from . import pace
from .configuration import Configuration
from .layout import LAYOUTS
from .machine import Machine
from .regions import Area, Kind, ReadOnly, Region, Slow, Special


class Device:
    """One reference device. Its state outlives the users that come and go."""

    def __init__(self, options: Options, guest: GuestMemory, machine: Machine, special: Mapping[int, Special]) -> None:
        """``special``: the regions of a kind of their own, by index."""
        self._reset_takes = options.slow_reset
        self.layout = layout = LAYOUTS[options.regions]
        self.guest = guest
        self.machine = machine
        self.interrupts = machine.interrupts
        self.special = special
        #: The regions that exist, by index; the others have size 0.
        self.regions: dict[int, Region] = {
            **{index: ReadOnly(bytes(size)) for index, size in layout.idle.items()},
            layout.registers: machine,
            **special,
        }
        if options.memory:
            self.regions[layout.memory] = machine.memory
        self._configuration = Configuration({index: region.size for index, region in self.regions.items()})
        if layout.configuration is not None:
            self.regions[layout.configuration] = self._configuration
        if options.slow_access:
            self.regions = {index: Slow(region, options.slow_access) for index, region in self.regions.items()}

    @property
    def region_count(self) -> int:
        """How many region indexes there are."""
        return self.layout.indexes

    def kind(self, index: int) -> Kind | None:
        """The kind of region that a region announces."""
        return self.special[index].kind if index in self.special else self.layout.kinds.get(index)

    def areas(self, index: int) -> list[Area]:
        """The areas of a region that can be mapped."""
        return list(self.special[index].areas) if index in self.special else []

    @property
    def restless(self) -> bool:
        """Whether ``tick`` has to be called from time to time."""
        return self.machine.streaming

    def tick(self) -> None:
        """Do the work that is due without a request by the user."""
        self.machine.tick()

    def open(self) -> None:
        """A user opens the device."""
        self._configuration.reset()
        for region in self.special.values():
            region.open()

    def close(self) -> None:
        """The user has closed the device: their DMA, mappings and descriptors are gone; the rest is kept."""
        self.machine.end_dma()
        self.guest.detach()
        self.interrupts.close()
        self.machine.attended()
        for region in self.special.values():
            region.close()

    def reset(self) -> None:
        """Bring the device from any state to its initial state. Mappings do not belong to the device and stay."""
        pace.take(self._reset_takes)
        for region in self.special.values():
            region.reset()
        self._configuration.reset()
        self.machine.reset()
