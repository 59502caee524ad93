# SPDX-License-Identifier: GPL-2.0-only
"""Sets a PCI device's base address registers. The guest has no firmware that would do it."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.words import counted
from .errors import Untried
from .qtest import Bus

#: Where the device is on the root bus of the machine: slot 16, function 0.
SLOT = 0x10

CONFIGURATION_SIZE = 256

_ADDRESS, _DATA = 0xCF8, 0xCFC
_COMMAND, _FIRST, _COUNT = 0x04, 0x10, 6
_DECODE = 0x0007  # ports, memory, and the device may reach the guest's memory

#: Where the ports and memory that are given away begin. The high window is within 39 bits, as small IOMMUs need.
_PORTS = 0xC000, 0x10000
_LOW = 0xC000_0000, 0xFE00_0000
_HIGH = 1 << 38, 1 << 39


@dataclass(frozen=True)
class Bar:
    """What a base address register decodes, in bytes."""

    address: int
    size: int
    ports: bool


class Configuration:
    """The device's configuration space, through the ports for it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._chosen = -1

    def read(self, offset: int, width: int) -> int:
        """A naturally aligned number of 1, 2 or 4 bytes."""
        self._choose(offset)
        return self._bus.port_in(_DATA + offset % 4, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write one."""
        self._choose(offset)
        self._bus.port_out(_DATA + offset % 4, width, value)

    def _choose(self, offset: int) -> None:
        if self._chosen != (chosen := offset & ~3):
            self._bus.port_out(_ADDRESS, 4, 1 << 31 | SLOT << 11 | chosen)
            self._chosen = chosen


def place(configuration: Configuration) -> dict[int, Bar]:
    """Give every region of the device its address, and switch decoding on; returns the regions by index.

    Raises Untried if there is no room.
    """
    free = {_PORTS: _PORTS[0], _LOW: _LOW[0], _HIGH: _HIGH[0]}

    def take(window: tuple[int, int], size: int) -> int | None:
        start = -(-free[window] // size) * size
        if start + size > window[1]:
            return None
        free[window] = start + size
        return start

    found: dict[int, Bar] = {}
    index = 0
    while index < _COUNT:
        low, mask, kind = _probe(configuration, index)
        ports, wide = bool(kind & 1), kind & 7 in (4, 6)
        size = mask & -mask  # the lowest bit that can be set
        if size:
            windows = (_PORTS,) if ports else (_LOW, _HIGH) if wide else (_LOW,)
            start = next((at for at in (take(window, size) for window in windows) if at is not None), None)
            if start is None:
                raise Untried(f"the guest has no room for region {index} of {counted(size, 'byte', '#x')}")
            configuration.write(low, 4, start & 0xFFFF_FFFF)
            if wide:
                configuration.write(low + 4, 4, start >> 32)
            found[index] = Bar(start, size, ports)
        index += 2 if wide else 1
    configuration.write(_COMMAND, 2, _DECODE)
    return found


def _probe(configuration: Configuration, index: int) -> tuple[int, int, int]:
    """Where a register is, which address bits it keeps, and its lowest bits, which give its kind."""
    at = _FIRST + 4 * index
    kind = configuration.read(at, 4) & 0xF
    configuration.write(at, 4, 0xFFFF_FFFF)
    kept = configuration.read(at, 4)
    if kind & 1:
        return at, kept & 0xFFFC, kind
    mask = kept & ~0xF
    if kind & 7 in (4, 6) and index + 1 < _COUNT:
        configuration.write(at + 4, 4, 0xFFFF_FFFF)
        mask |= configuration.read(at + 4, 4) << 32
    return at, mask, kind
