# SPDX-License-Identifier: GPL-2.0-only
"""Finding the region."""

from __future__ import annotations

from ...device.device import Device
from ...device.regions import Kind
from ...overlays import defect
from ...socket import wire
from ..region import MigrationRegion


@defect("region-subtype-zero", "the type capability of the migration region says subtype 0")
class SubtypeZero(MigrationRegion):
    kind = (wire.REGION_TYPE_MIGRATION, 0)


@defect("region-type-missing", "the migration region has no type capability")
class TypeMissing(MigrationRegion):
    kind = None


@defect("region-type-lost-by-reset", "a reset removes the type capability until the device is opened again")
class TypeLostByReset(MigrationRegion):
    def open(self) -> None:
        super().open()
        self.kind = MigrationRegion.kind

    def reset(self) -> None:
        super().reset()
        self.kind = None


@defect("region-announced-twice", "an empty region after all others also announces itself as a migration region")
class AnnouncedTwice(Device):
    @property
    def region_count(self) -> int:
        return super().region_count + 1

    def kind(self, index: int) -> Kind | None:
        return super().kind(self.layout.migration if index == self.layout.indexes else index)
