# SPDX-License-Identifier: GPL-2.0-only
"""Which regions the device has, and at which index: what a user has to find out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..socket import wire
from .regions import Kind

_PCI_VENDOR = 0x8000_0000 | 0x1AF4
_GRAPHICS = 1
_CHANNEL = 2


class Layout(NamedTuple):
    """Indexes of the regions that the device uses, and of those that only exist."""

    #: How many indexes there are.
    indexes: int
    #: The index of the migration region, if the device has one.
    migration: int
    #: Whether the device reports itself as a PCI device, whose regions up to 8 have a fixed meaning.
    pci: bool = True
    registers: int = 0
    memory: int = 2
    #: The PCI configuration space.
    configuration: int | None = 7
    #: Sizes of read-only regions without a use, by index.
    idle: Mapping[int, int] = {}
    #: Kinds of the regions that announce one, by index.
    kinds: Mapping[int, Kind] = {}
    #: Indexes that are counted, but for which information is refused with EINVAL, like VGA if the device has no VGA.
    refused: frozenset[int] = frozenset()

    @property
    def interrupts(self) -> int:
        """How many interrupt indexes there are."""
        return 5 if self.pci else 1

    @property
    def no_interrupts(self) -> frozenset[int]:
        """Indexes that are counted, but refused with EINVAL: errors, which only PCI Express devices report."""
        return frozenset({3} if self.pci else ())

    @property
    def interrupt(self) -> int:
        """The only index with vectors: that of a PCI device's MSI."""
        return 1 if self.pci else 0


LAYOUTS: dict[str, Layout] = {
    "plain": Layout(indexes=10, migration=9),
    # Other device-specific regions before and after; 14 has the migration type, but another subtype.
    "crowded": Layout(
        indexes=17,
        migration=13,
        idle={6: 2048, 9: 4096, 10: 256, 12: 64, 14: 1 << 20, 16: 8},
        kinds={
            9: (_PCI_VENDOR, 1),
            10: (_GRAPHICS, 1),
            12: (_CHANNEL, 1),
            14: (wire.REGION_TYPE_MIGRATION, 2),
            16: (0x7FFF, 1),
        },
        refused=frozenset({8}),
    ),
    # A platform device: indexes have no fixed meaning, and there are no more than needed.
    "bare": Layout(indexes=3, migration=1, pci=False, configuration=None),
    "far": Layout(indexes=120, migration=119, idle={118: 4096}, refused=frozenset({8, 60})),
}
