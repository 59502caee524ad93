# SPDX-License-Identifier: GPL-2.0-only
"""Regions around regions: what is refused or held up before the region itself sees it."""

from __future__ import annotations

import time
from errno import EINVAL

from .migration import HEADER_SIZE, MigrationRegion
from .refusal import Refusal
from .regions import Region
from .states import RESUMING, SAVING

_STATE = (0, 4)
_PENDING = (8, 8)
_OFFSET = (16, 8)
_SIZE = (24, 8)


class Slow:
    """Every access takes its time, and nothing else happens meanwhile."""

    def __init__(self, region: Region, microseconds: int) -> None:
        self.size = region.size
        self._region = region
        self._seconds = microseconds / 1_000_000

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """What the region reads, later."""
        time.sleep(self._seconds)
        return self._region.read(offset, count)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """The same for a write."""
        time.sleep(self._seconds)
        return self._region.write(offset, data)


class Strict:
    """Refuses each access of the migration region for which the text gives no meaning (EINVAL).

    The data's registers mean something while data is saved or resumed, in the order of the text; data has a place
    once data_offset was read, and ends where the buffer does.
    """

    def __init__(self, region: MigrationRegion) -> None:
        self.size = region.size
        self._region = region
        #: Whether pending_bytes said that there is data, and whether data_offset was read since.
        self._begun = False
        self._placed = False

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """What the region reads, where that means something."""
        register = (offset, count)
        state = self._region.state
        saving = state in SAVING
        if register == _PENDING:
            self._demand(saving)
        elif register == _OFFSET:
            self._demand(self._begun if saving else state == RESUMING)
        elif register == _SIZE:
            self._demand(saving and self._placed)
        elif offset >= HEADER_SIZE:
            self._demand(saving and self._placed and self._region.section.holds(offset, count))
        data = self._region.read(offset, count)
        if register == _PENDING:
            self._begun, self._placed = any(data), False
        elif register == _OFFSET:
            self._placed = True
        return data

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """The same for a write."""
        register = (offset, len(data))
        if register == _SIZE or offset >= HEADER_SIZE:
            self._demand(self._region.state == RESUMING and self._placed)
        written = self._region.write(offset, data)
        if register in (_STATE, _SIZE):
            self._begun = self._placed = False
        return written

    @staticmethod
    def _demand(meaningful: bool) -> None:
        if not meaningful:
            raise Refusal(EINVAL)
