# SPDX-License-Identifier: GPL-2.0-only
"""What a user that goes without a word leaves to the next one."""

from __future__ import annotations

from ...overlays import defect
from ..memory import GuestMemory


@defect("user-leaves-mappings", "what a user had mapped stays mapped for the next one")
class LeavesMappings(GuestMemory):
    def detach(self) -> None:
        self.dirty.stop()
        self._peer = None


@defect("user-leaves-tracking", "tracking goes on for the next user")
class LeavesTracking(GuestMemory):
    def detach(self) -> None:
        self.unmap_all()
        self._peer = None


@defect("user-leaves-record", "what was written for a user is on record for the next one")
class LeavesRecord(GuestMemory):
    def detach(self) -> None:
        record = [(page, bits) for page, bits in self.dirty._written.within(0, 1 << 52)]
        super().detach()
        for page, bits in record:
            for bit in range(bits.bit_length()):
                if bits >> bit & 1:
                    self.dirty._written.add(page + bit, page + bit + 1)
