# SPDX-License-Identifier: GPL-2.0-only
"""The reset request."""

from __future__ import annotations

import pytest

from vfio_compliance import checks
from vfio_compliance.model.states_v1 import STATES, name
from vfio_compliance.uapi.migration_v1 import PENDING_BYTES, DeviceState

RUNNING = DeviceState.RUNNING


@pytest.mark.rule("v1.reset.accepted")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_accepted(device, migration, state):
    """The request succeeds."""
    migration.enter(state)
    checks.succeeded(f"resetting the device in {name(state)}", device.try_reset())


@pytest.mark.rule("v1.reset.ends-running")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_ends_running(device, migration, state):
    """After a reset that succeeded device_state reads running."""
    migration.enter(state)
    if not device.try_reset().ok:
        raise checks.Unjudged("the reset was refused; another rule judges that")
    checks.equal(f"reading device_state after a reset in {name(state)}", migration.state(), RUNNING, name)


@pytest.mark.rule("v1.reset.recovers-error")
def test_recovers_error(device, migration, actor):
    """A reset in the error state leads to a running device, which can be taken to stop-and-copy and read from."""
    actor.provoke_error()
    migration.try_set_state(DeviceState.STOP)
    if not migration.in_error():
        raise checks.Unjudged("the provoked failure did not lead to the error state")
    checks.succeeded("resetting the device in the error state", device.try_reset())
    checks.equal("reading device_state after the reset", migration.state(), RUNNING, name)
    migration.enter(DeviceState.STOP_AND_COPY)
    with checks.given():
        migration.read(PENDING_BYTES)
