# SPDX-License-Identifier: GPL-2.0-only
"""The migration region as a user sees it: its header, and the data section after it (kabi v23:49-270)."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL
from typing import NamedTuple

from ..device.machine import Machine
from ..device.regions import Area, Kind
from ..options import Options
from ..refusal import Refusal
from ..socket import wire
from .migration import Migration
from .offer_policy import Buffers
from .section import DataSection

#: Bytes of all registers.
HEADER_SIZE = 32

#: Offset and width of a register.
Place = tuple[int, int]
STATE: Place = (0, 4)
RESERVED: Place = (4, 4)
PENDING: Place = (8, 8)
OFFSET: Place = (16, 8)
SIZE: Place = (24, 8)


class Register(NamedTuple):
    """How a register is read and written; a write returns the count to report."""

    read: Callable[[], int]
    write: Callable[[int], int]


class MigrationRegion(Migration):
    """The registers and the data of the device's migration."""

    #: The kind that the region announces (kabi v23:38, 46-47).
    kind: Kind | None = (wire.REGION_TYPE_MIGRATION, wire.REGION_SUBTYPE_MIGRATION)

    def __init__(self, options: Options, machine: Machine, section: DataSection, buffers: Buffers) -> None:
        super().__init__(options, machine, section, buffers)
        self.size = section.end
        # Only native width and alignment (kabi v23:52-54): a register is found by offset and width together.
        self._registers = self._lay_out()

    def _lay_out(self) -> dict[Place, Register]:
        """The header (kabi v23:244-270)."""
        return {
            STATE: Register(self.read_state, self._write_state),
            RESERVED: Register(self._read_reserved, self._write_reserved),
            PENDING: Register(self.read_pending, self._write_pending),
            OFFSET: Register(self.read_offset, self._write_offset),
            SIZE: Register(self.read_size, self._write_size),
        }

    @property
    def areas(self) -> list[Area]:
        """The areas that can be mapped (kabi v23:186-189)."""
        return self.section.areas

    @property
    def fd(self) -> int:
        """The descriptor to map; -1 without a user."""
        return self.section.fd

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """A register, or any part of the data section, mapped or not (kabi v23:191-192)."""
        register = self._registers.get((offset, count))
        if register is not None:
            return register.read().to_bytes(count, "little")
        if offset < self.section.start:
            raise Refusal(EINVAL)  # no register has this width (kabi v23:53-54)
        return self.section.read(offset, count)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """As ``read``."""
        register = self._registers.get((offset, len(data)))
        if register is not None:
            return register.write(int.from_bytes(data, "little"))
        if offset < self.section.start:
            raise Refusal(EINVAL)
        self.section.write(offset, data)
        return len(data)

    # The registers as they are written, and the one without a meaning (kabi v23:157-158).

    def _write_state(self, value: int) -> int:
        self.write_state(value)
        return 4

    def _read_reserved(self) -> int:
        return 0

    def _write_reserved(self, value: int) -> int:
        return 4

    def _write_pending(self, value: int) -> int:
        return self._write_read_only()

    def _write_offset(self, value: int) -> int:
        return self._write_read_only()

    def _write_read_only(self) -> int:
        if self._options.read_only == "refuse":
            raise Refusal(EINVAL)
        return 8

    def _write_size(self, value: int) -> int:
        self.write_size(value)
        return 8
