# SPDX-License-Identifier: GPL-2.0-only
"""What a user who closes without cleaning up leaves to the next one."""

from __future__ import annotations

from ...overlays import defect
from ..memory import GuestMemory

#: All pages there are.
_ALL = 0, 1 << 52


@defect("close-keeps-mappings", "a user who closes without unmapping leaves the mappings to the next one")
class KeepsMappings(GuestMemory):
    def detach(self) -> None:
        self.dirty.stop()
        self._peer = None


@defect("close-keeps-tracking", "a user who closes without STOP leaves tracking on for the next one")
class KeepsTracking(GuestMemory):
    def detach(self) -> None:
        self.unmap_all()
        self._peer = None


@defect("close-keeps-record", "pages written for a user who closes without STOP stay on record for the next one")
class KeepsRecord(GuestMemory):
    def detach(self) -> None:
        record = list(self.dirty._written.within(*_ALL))
        super().detach()
        for page, bits in record:
            for bit in (bit for bit in range(bits.bit_length()) if bits >> bit & 1):
                self.dirty._written.add(page + bit, page + bit + 1)
