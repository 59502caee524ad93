# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a device's regions, by which accesses are told in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ..common.registers import Register
from ..uapi.migration_v1 import DEVICE_STATE, REGISTERS, DeviceState

#: By index of the region.
Registers: TypeAlias = Mapping[int, Sequence[Register]]

_STATES = {int(state): state.name.lower().replace("_", "-") for state in DeviceState}


def registers_of(migration: int | None) -> Registers:
    """Those of the migration region, whose index this is."""
    if migration is None:
        return {}
    return {migration: [Register(*each, _STATES if each == DEVICE_STATE else {}) for each in REGISTERS]}
