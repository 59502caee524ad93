# SPDX-License-Identifier: GPL-2.0-only
"""What a user who goes without a word leaves to the next one."""

from __future__ import annotations

from ...overlays import defect
from ..memory import GuestMemory


@defect("close-keeps-mappings", "a user who goes without unmapping leaves the mappings to the next one")
class KeepsMappings(GuestMemory):
    def detach(self) -> None:
        self.dirty.stop()
        self._peer = None


@defect("close-keeps-tracking", "a user who goes without STOP leaves tracking switched on to the next one")
class KeepsTracking(GuestMemory):
    def detach(self) -> None:
        self.unmap_all()
        self._peer = None
