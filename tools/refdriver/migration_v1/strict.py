# SPDX-License-Identifier: GPL-2.0-only
"""A migration region that refuses every access to which the specification gives no meaning."""

from __future__ import annotations

from errno import EINVAL

from ..refusal import Refusal
from .region import HEADER_SIZE, OFFSET, PENDING, SIZE, STATE, MigrationRegion
from .states import RESUMING, SAVING


class StrictRegion(MigrationRegion):
    """Refuses each such access (EINVAL).

    The data registers have a meaning while data is saved or resumed, in the specified order; data has a place
    once data_offset was read, and ends where the buffer ends.
    """

    #: Whether pending_bytes said that there is data, and whether data_offset was read since.
    _begun = False
    _placed = False

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """Read it, if the access has a meaning."""
        register = (offset, count)
        saving = self.state in SAVING
        if register == PENDING:
            self._demand(saving)
        elif register == OFFSET:
            self._demand(self._begun if saving else self.state == RESUMING)
        elif register == SIZE:
            self._demand(saving and self._placed)
        elif offset >= HEADER_SIZE:
            self._demand(saving and self._placed and self.section.holds(offset, count))
        data = super().read(offset, count)
        if register == PENDING:
            self._begun, self._placed = any(data), False
        elif register == OFFSET:
            self._placed = True
        return data

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Write it, if the access has a meaning."""
        register = (offset, len(data))
        if register == SIZE or offset >= HEADER_SIZE:
            self._demand(self.state == RESUMING and self._placed)
        written = super().write(offset, data)
        if register in (STATE, SIZE):
            self._begun = self._placed = False
        return written

    @staticmethod
    def _demand(meaningful: bool) -> None:
        if not meaningful:
            raise Refusal(EINVAL)
