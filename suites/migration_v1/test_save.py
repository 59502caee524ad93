# SPDX-License-Identifier: GPL-2.0-only
"""Taking the state out of a device."""

from __future__ import annotations

import pytest

from vfio_compliance import checks
from vfio_compliance.uapi.migration_v1 import PENDING_BYTES, DeviceState

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
RESUMING = DeviceState.RESUMING


@pytest.mark.rule("v1.saving.offers-state")
@pytest.mark.parametrize("path", [(STOP_AND_COPY,), (PRE_COPY, STOP_AND_COPY)], ids=["suspend", "live migration"])
def test_offers_state(migration, actor, path):
    """A device with a value in its visible state has pending bytes in stop-and-copy."""
    actor.put(0x5A5A)
    migration.enter(*path)
    if not migration.read(PENDING_BYTES):
        checks.broken("reading pending_bytes in stop-and-copy", expected="more than 0", seen="0")


@pytest.mark.rule("v1.pre-copy.data-as-claimed")
def test_pre_copy_data_as_claimed(migration, profile):
    """In pre-copy pending_bytes becomes more than zero within the time of a call, or stays zero, as claimed."""
    claim = profile.claims.precopy_data
    if claim is None:
        raise checks.NotApplicable("the profile has no claims.precopy_data")
    migration.enter(PRE_COPY)
    offered = migration.wait_for_data(profile.limits.call) if claim else migration.read(PENDING_BYTES)
    checks.equal("reading pending_bytes in pre-copy", bool(offered), claim, lambda some: "more than 0" if some else "0")


@pytest.mark.rule("v1.stop-and-copy.state-is-whole")
def test_state_is_whole(device, migration, actor, profile):
    """Two states saved from different visible states restore two different visible states, each its own."""
    for value in (0x1111_2222_3333_4444, 0xA5A5_5A5A_0F0F_F0F0):
        actor.put(value)
        before = actor.show()
        migration.enter(STOP_AND_COPY)
        buffers = migration.save(profile.limits.largest_state)
        restore(device, migration, buffers)
        checks.equal("observing the restored device", actor.show(), before, hexes)


@pytest.mark.rule("v1.pre-copy.later-changes-carried")
@pytest.mark.parametrize("drained", [False, True], ids=["nothing read in pre-copy", "all read in pre-copy"])
def test_later_changes_carried(device, migration, actor, profile, drained):
    """A value put into the visible state during pre-copy is there after restoring; the one before it is not."""
    actor.put(0x0101_0202_0303_0404)
    migration.enter(PRE_COPY)
    early = migration.save(profile.limits.largest_state) if drained else []
    actor.put(0xF0F0_E1E1_D2D2_C3C3)
    changed = actor.show()
    migration.enter(STOP_AND_COPY)
    buffers = early + migration.save(profile.limits.largest_state)
    restore(device, migration, buffers)
    checks.equal("observing the restored device", actor.show(), changed, hexes)


def restore(device, migration, buffers):
    """Leave stop-and-copy, forget everything by a reset, and resume from ``buffers``."""
    migration.enter(STOP)
    device.reset()
    migration.enter(RESUMING)
    migration.load(buffers)
    migration.set_state(RUNNING)


def hexes(values):
    """Numbers in hexadecimal."""
    return " ".join(f"0x{value:x}" for value in values)
