# SPDX-License-Identifier: GPL-2.0-only
"""The reset request."""

from __future__ import annotations

import pytest

from vfio_compliance.migration_v1.states import STATES, name
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import PENDING_BYTES, DeviceState

RUNNING, ERROR = DeviceState.RUNNING, DeviceState.ERROR


#: The five states, and two of them with a buffer that waits to be read.
MOMENTS = {name(state): (state, False) for state in STATES}
MOMENTS |= {f"{name(state)}, in a buffer": (state, True) for state in (DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY)}


@pytest.mark.rule("v1.reset.accepted")
@pytest.mark.parametrize("moment", MOMENTS)
def test_accepted(device, migration, moment):
    """The request succeeds."""
    state, in_buffer = MOMENTS[moment]
    migration.enter(state)
    if in_buffer:
        offer(migration)
    checks.succeeded(f"resetting the device in {moment}", device.try_reset())


def offer(migration):
    """Ask for a buffer, and do not read it."""
    with checks.given():
        if not migration.read(PENDING_BYTES):
            raise checks.NotApplicable("the device offers no data in this state")
        migration.place()


@pytest.mark.rule("v1.reset.ends-running")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_ends_running(device, migration, opened_in, observe, state):
    """After a reset that succeeded device_state reads running, or what it reads after an open, or what it read before.

    Whether a reset has to lead to running was still disputed long after the text; what the device does is reported.
    """
    migration.enter(state)
    with checks.given():
        device.reset()
    now = migration.state()
    observe(f"reset in {name(state)}", f"reads {name(now)}")
    checks.one_of(f"reading device_state after a reset in {name(state)}", now, (RUNNING, opened_in, state), name)


@pytest.mark.rule("v1.reset.recovers-error")
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_recovers_error(fresh, device, migration, opened_in, actor, times):
    """A reset in the error state leads where any reset does, to a device that can be saved."""
    migration.enter(DeviceState.STOP_AND_COPY)  # or what comes last says nothing about the error
    with checks.given():
        migration.read(PENDING_BYTES)
        device.reset()
    allowed = {RUNNING, opened_in, migration.state()} - {ERROR}
    fresh()
    for _ in range(times):
        actor.provoke_error()
        migration.try_set_state(DeviceState.STOP)
        if not migration.in_error():
            raise checks.Unjudged("the provoked failure did not lead to the error state")
        checks.succeeded("resetting the device in the error state", device.try_reset())
        checks.one_of("reading device_state after the reset", migration.state(), allowed, name)
        migration.run()
    migration.set_state(DeviceState.STOP_AND_COPY)
    migration.read(PENDING_BYTES)
