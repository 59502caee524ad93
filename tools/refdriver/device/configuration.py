# SPDX-License-Identifier: GPL-2.0-only
"""The PCI configuration space: what the device is, and the few bits of it that a user can change."""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack

from .interrupts import VECTORS
from .regions import check_range

SIZE = 256

#: Each BAR of a type 0 header is a region, from index 0 on; the region of the ROM comes after them.
BARS = 6
ROM = 6

# Offsets.
_COMMAND = 0x04
_STATUS = 0x06
_CACHE_LINE_SIZE = 0x0C
_BAR = 0x10
_SUBSYSTEM = 0x2C
_ROM_BAR = 0x30
_CAPABILITIES = 0x34
_INTERRUPT_LINE = 0x3C
_MSI = 0x40

_IDENTITY = pack("<HH", 0x1AF4, 0x10F1)
#: Revision 1; base class 08h, subclass 80h, interface 0: another system peripheral.
_REVISION_AND_CLASS = bytes.fromhex("01008008")
#: Memory space, bus master, parity errors, SERR#, no INTx.
_COMMAND_BITS = 0x0546
_HAS_CAPABILITIES = 0x0010

#: The least that a BAR, and the BAR of a ROM, decodes; the bits below say what it is.
_LEAST_BAR = 16
_LEAST_ROM = 2048
_ROM_ENABLE = 1

#: The MSI capability: 64-bit addresses, as many vectors as the device has, a power of two.
_MSI_ID = 0x05
_MSI_CONTROL = 0x0080 | (VECTORS.bit_length() - 1) << 1
#: Its writable bits: the switch, the number of vectors used, address and data of the messages.
_MSI_BITS = pack("<HHIIH", 0, 0x0071, 0xFFFF_FFFC, 0xFFFF_FFFF, 0xFFFF)


class Configuration:
    """The region with the configuration space, read and written at any width."""

    size = SIZE

    def __init__(self, sizes: Mapping[int, int]) -> None:
        """``sizes``: bytes of the regions that are memory behind a BAR, or the ROM, by index."""
        initial, writable = bytearray(SIZE), bytearray(SIZE)
        _put(initial, 0x00, _IDENTITY)
        _put(initial, _STATUS, pack("<H", _HAS_CAPABILITIES))
        _put(initial, 0x08, _REVISION_AND_CLASS)
        _put(initial, _SUBSYSTEM, _IDENTITY)
        _put(initial, _CAPABILITIES, bytes([_MSI]))
        _put(initial, _MSI, pack("<BBH", _MSI_ID, 0, _MSI_CONTROL))
        _put(writable, _COMMAND, pack("<H", _COMMAND_BITS))
        _put(writable, _CACHE_LINE_SIZE, b"\xff\xff")  # and the latency timer after it
        _put(writable, _INTERRUPT_LINE, b"\xff")
        _put(writable, _MSI, _MSI_BITS)
        for index in range(BARS):
            _put(writable, _BAR + 4 * index, _address_bits(sizes.get(index, 0), _LEAST_BAR))
        _put(writable, _ROM_BAR, _address_bits(sizes.get(ROM, 0), _LEAST_ROM, _ROM_ENABLE))
        self._initial = bytes(initial)
        self._writable = bytes(writable)
        self._content = initial

    def reset(self) -> None:
        """Give all of it its initial value."""
        self._content = bytearray(self._initial)

    def read(self, offset: int, count: int) -> bytes:
        """Any part of it."""
        check_range(offset, count, SIZE)
        return bytes(self._content[offset : offset + count])

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Any part of it; read-only bits keep their value."""
        check_range(offset, len(data), SIZE)
        for place, byte in enumerate(data, offset):
            bits = self._writable[place]
            self._content[place] = self._content[place] & ~bits | byte & bits
        return len(data)


def _put(space: bytearray, offset: int, content: bytes) -> None:
    space[offset : offset + len(content)] = content


def _address_bits(size: int, least: int, others: int = 0) -> bytes:
    """The writable bits of a BAR, 0 if it has no region: it decodes a power of two bytes."""
    decoded = max(1 << (size - 1).bit_length(), least) if size else 0
    return pack("<I", -decoded & 0xFFFF_FFFF | others if size else 0)
