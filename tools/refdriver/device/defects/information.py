# SPDX-License-Identifier: GPL-2.0-only
"""Information with capabilities, of a region."""

from __future__ import annotations

from ...overlays import defect
from ..commands import Commands
from ..description import Description


@defect("region-info-argsz-kept", "region information that does not fit leaves argsz as it was")
class ArgszKept(Commands):
    def fit(self, description: Description, room: int) -> tuple[bytes, bool]:
        if description.needed <= room:
            return super().fit(description, room)
        return description.fixed(room, 0), False


@defect("region-info-past-argsz", "the capabilities of a region are written although argsz has no room for them")
class PastArgsz(Commands):
    def fit(self, description: Description, room: int) -> tuple[bytes, bool]:
        return super().fit(description, max(room, description.needed))


@defect("region-info-part-of-chain", "a region's capabilities are cut off anywhere to fit argsz")
class PartOfChain(Commands):
    def fit(self, description: Description, room: int) -> tuple[bytes, bool]:
        whole, _ = super().fit(description, description.needed)
        return whole[:room], description.needed <= room
