# SPDX-License-Identifier: GPL-2.0-only
"""The reset request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vfio_compliance.device import Device
from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import enter_error, in_state, need_data
from vfio_compliance.migration_v1.players import Players
from vfio_compliance.migration_v1.progress import ALL_BUT_ONE, HALF, ONE, ONE_AND_HALF, Progress
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.migration_v1.states import STATES, name
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import PENDING_BYTES, DeviceState

RUNNING, ERROR = DeviceState.RUNNING, DeviceState.ERROR

every_state = pytest.mark.parametrize("state", STATES, ids=name)


@pytest.mark.rule("v1.reset.accepted")
@every_state
def test_accepted(device: Device, migration: MigrationRegion, state: DeviceState) -> None:
    """The request succeeds."""
    migration.enter(state)
    checks.succeeded(f"resetting the device in {name(state)}", device.try_reset())


@pytest.mark.rule("v1.reset.accepted")
@pytest.mark.parametrize("state", [DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY], ids=name)
def test_accepted_in_a_buffer(device: Device, migration: MigrationRegion, state: DeviceState) -> None:
    """The request succeeds while a buffer waits to be read."""
    migration.enter(state)
    with checks.given():
        need_data(migration)
        migration.place()
    checks.succeeded(f"resetting the device in {name(state)}, in a buffer", device.try_reset())


@pytest.mark.rule("v1.reset.ends-running")
@every_state
def test_ends_running(
    device: Device,
    migration: MigrationRegion,
    opened_in: DeviceState,
    observe: Callable[[str, str], None],
    state: DeviceState,
) -> None:
    """After a reset that succeeded, device_state reads running, or what it reads after an open, or what it read before.

    Whether a reset must lead to running was disputed long after the specification; what the device does is reported.
    """
    migration.enter(state)
    with checks.given():
        device.reset()
    now = migration.state()
    observe(f"reset in {name(state)}", f"reads {name(now)}")
    checks.one_of(f"reading device_state after a reset in {name(state)}", now, (RUNNING, opened_in, state), name)


#: Points at which a reset may come while a state is saved or resumed.
MIDDLE = {
    f"{name(state)}, {far.words}": (state, far)
    for state in (DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY, DeviceState.RESUMING)
    for far in (HALF, ONE, ONE_AND_HALF, ALL_BUT_ONE)
}


@pytest.mark.rule("v1.reset.ends-running")
@pytest.mark.parametrize(("state", "far"), MIDDLE.values(), ids=MIDDLE)
def test_ends_running_in_the_middle(
    players: Players, device: Device, opened_in: DeviceState, state: DeviceState, far: Progress
) -> None:
    """The same in the middle of a state that is saved or resumed."""
    player = players.begin()
    player.go(state)
    player.move(far)
    with checks.given():
        device.reset()
    now = player.region.state()
    checks.one_of("reading device_state after a reset", now, (RUNNING, opened_in, state), name)


@pytest.mark.rule("v1.reset.recovers-error")
@pytest.mark.stimulus
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_recovers_error(
    fresh: Callable[[], MigrationRegion],
    device: Device,
    migration: MigrationRegion,
    opened_in: DeviceState,
    actor: MigrationActor,
    times: int,
) -> None:
    """A reset in the error state leads where any reset does, to a device that can be saved."""
    migration.enter(DeviceState.STOP_AND_COPY)  # or the last steps prove nothing about the error
    with checks.given():
        migration.read(PENDING_BYTES)
        device.reset()
    allowed = {RUNNING, opened_in, migration.state()} - {ERROR}
    fresh()
    for _ in range(times):
        enter_error(migration, actor)
        checks.succeeded("resetting the device in the error state", device.try_reset())
        in_state(migration, "after the reset", *allowed)
        migration.run()
    migration.set_state(DeviceState.STOP_AND_COPY)
    migration.read(PENDING_BYTES)


@pytest.mark.rule("v1.reset.recovers-fault")
@pytest.mark.stimulus
@pytest.mark.parametrize("state", [DeviceState.STOP_AND_COPY, DeviceState.RESUMING], ids=name)
def test_recovers_fault(recovers: Callable[[], None], players: Players, state: DeviceState) -> None:
    """After the device has failed while its state was moved, a reset leads where it does without a failure."""
    player = players.begin()
    player.go(state)
    player.fail()
    recovers()
