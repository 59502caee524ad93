# SPDX-License-Identifier: GPL-2.0-only
"""Version 1 as an interface among others."""

from __future__ import annotations

from ..device import Device, Region
from ..run.interface import Interface
from ..run.session import Session
from .migration import Migration
from .profile import MigrationSection
from .region import migration_regions


class MigrationV1(Interface):
    """Version 1 of the migration interface: a region that announces itself by its type."""

    section = MigrationSection
    fixtures = "vfio_compliance.migration_v1.fixtures"

    def find(self, device: Device) -> list[Region]:
        """Its migration region. Raises DeviceError."""
        return migration_regions(device)

    def attach(self, session: Session) -> Migration:
        """It on the device of a run."""
        return Migration(self, session)
