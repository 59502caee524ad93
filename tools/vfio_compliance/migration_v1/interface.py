# SPDX-License-Identifier: GPL-2.0-only
"""Version 1 as an interface among others."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.registers import Register
from ..device import Container, Device
from ..run.interface import Interface, Seen
from ..run.session import Session
from ..uapi.migration_v1 import DEVICE_STATE, REGISTERS, DeviceState
from .client import Judge
from .keeping import StateKeeper
from .migration import Migration
from .probing import probe
from .profile import MigrationSection
from .region import REGION_TYPE
from .sessions import ALPHABET
from .states import DRAWN, name

_STATES = {int(state): name(state) for state in DeviceState}


class MigrationV1(Interface):
    """Version 1 of the migration interface: a region that announces itself by its type."""

    section = MigrationSection
    fixtures = "vfio_compliance.migration_v1.fixtures"
    judge = Judge
    locks = 1 << 20
    region_type = REGION_TYPE
    registers = tuple(Register(*each, _STATES if each == DEVICE_STATE else {}) for each in REGISTERS)
    drawn = tuple((name(before), name(after)) for before, after in DRAWN)

    def probe(self, device: Device, container: Container) -> Seen | None:
        """What its region and device_state show."""
        return probe(device)

    def sessions(self) -> Sequence[tuple[str, str]]:
        """The sessions that are played alone, and in pairs."""
        return [(session.name, "; ".join(map(str, session.moves))) for session in ALPHABET]

    def keeper(self, session: Session) -> StateKeeper | None:
        """None if there is no migration region."""
        migration = session.of(Migration)
        return None if migration.missing else StateKeeper(migration)

    def attach(self, session: Session) -> Migration:
        """The interface on the device of a run."""
        return Migration(self, session)
