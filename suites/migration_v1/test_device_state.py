# SPDX-License-Identifier: GPL-2.0-only
"""Reading and writing device_state, and what its bits do to the device."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import in_state, safe
from vfio_compliance.migration_v1.flows import Flows
from vfio_compliance.migration_v1.reach import Reach
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.migration_v1.states import DRAWN, STATES, STOPPING, Transition, is_running, name
from vfio_compliance.profiles import Profile
from vfio_compliance.run import checks
from vfio_compliance.run.stimulus import Activity
from vfio_compliance.uapi.migration_v1 import DEVICE_STATE, REGISTERS, DeviceState, Register

#: The states in which all the data of a state is read.
SAVING = (DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY)

every_state = pytest.mark.parametrize("state", STATES, ids=name)


@pytest.mark.rule("v1.state.reads-what-was-written")
@pytest.mark.parametrize("transition", DRAWN, ids=str)
def test_reads_what_was_written(flows: Flows, migration: MigrationRegion, transition: Transition) -> None:
    """The first read after a documented transition returns the new state."""
    outcome, now, call = flows.change(transition)
    if outcome.value < 0:
        raise checks.Unjudged(f"{transition} was refused; that is judged by another rule")
    with checks.about(call):
        checks.equal(f"reading device_state after {transition}", now, transition.after, name)


@pytest.mark.rule("v1.state.write-is-complete")
@pytest.mark.parametrize("transition", DRAWN, ids=str)
def test_write_is_complete(flows: Flows, migration: MigrationRegion, transition: Transition) -> None:
    """The write that makes a documented transition never reports fewer than four bytes."""
    outcome, _, call = flows.change(transition)
    if outcome.ok:
        with checks.about(call):
            checks.accepted(f"writing device_state for {transition}", outcome, DEVICE_STATE.width)


@pytest.mark.rule("v1.state.five-states")
@pytest.mark.parametrize("state", [state for state in STATES if state != DeviceState.RUNNING], ids=name)
def test_five_states(migration: MigrationRegion, state: DeviceState) -> None:
    """A state that was entered from running is read back, and stays while it is only read."""
    migration.enter(DeviceState.RUNNING)
    migration.try_set_state(state)
    judge_readings(migration, state)


@pytest.mark.rule("v1.state.five-states")
def test_running_stays(migration: MigrationRegion) -> None:
    """Running is read back, and stays while it is only read."""
    migration.enter(DeviceState.RUNNING)
    judge_readings(migration, DeviceState.RUNNING)


def judge_readings(migration: MigrationRegion, state: DeviceState) -> None:
    """device_state reads ``state`` however often it is read."""
    for reading in (1, 2, 3):
        checks.equal(f"reading device_state, time {reading}", migration.state(), state, name)


@pytest.mark.rule("v1.state.never-changes-by-itself")
@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
@every_state
def test_never_changes_by_itself(migration: MigrationRegion, state: DeviceState, register: Register) -> None:
    """Reading a register twice, successfully or not, leaves device_state as it was."""
    migration.enter(state)
    with checks.given():
        migration.try_read(register)
        migration.try_read(register)
    in_state(migration, f"after reading {register.name}", state)


@pytest.mark.rule("v1.state.never-changes-by-itself")
@every_state
def test_time_changes_nothing(migration: MigrationRegion, profile: Profile, state: DeviceState) -> None:
    """After a while without any access, device_state is as it was."""
    migration.enter(state)
    with checks.given():
        now = migration.watch_state(profile.limits.call / 100)
    checks.equal("reading device_state repeatedly for a hundredth of limits.call", now, state, name)


@pytest.mark.rule("v1.state.never-changes-by-itself")
@pytest.mark.parametrize("state", SAVING, ids=name)
def test_reading_all_data_changes_nothing(flows: Flows, migration: MigrationRegion, state: DeviceState) -> None:
    """Once all the data that a state offers has been read, device_state is as it was."""
    saved = flows.live()
    judge_moved(saved.drained.get(state), state, saved.at.get(f"drained {name(state)}", 0))


@pytest.mark.rule("v1.state.never-changes-by-itself")
def test_giving_all_data_changes_nothing(flows: Flows, migration: MigrationRegion) -> None:
    """Once all the data has been written to a resuming device, device_state is as it was."""
    flows.live().complete()
    resumed = flows.resume(flows.live)
    judge_moved(resumed.filled, DeviceState.RESUMING, resumed.at.get("filled", 0))


def judge_moved(now: DeviceState | None, state: DeviceState, call: int) -> None:
    """device_state read as ``now``, by that ``call``, at the end of a flow's time in ``state``."""
    if now is None:
        raise checks.Unjudged("the data could not be moved to its end; other rules judge that")
    with checks.about(call):
        checks.equal("reading device_state after moving all the data", now, state, name)


@pytest.mark.rule("v1.state.running-bit")
@pytest.mark.stimulus
@pytest.mark.parametrize("state", [state for state in STATES if is_running(state)], ids=name)
def test_running_bit(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """The device is seen to run in the states with bit 0 set."""
    counter = actor.counter()
    migration.enter(state)
    checks.continues(counter)


@pytest.mark.rule("v1.state.running-bit")
@pytest.mark.stimulus
@pytest.mark.parametrize("state", [state for state in STATES if not is_running(state)], ids=name)
def test_no_running_bit(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """The device is not seen to run in the states with bit 0 clear."""
    counter = actor.counter()
    migration.enter(state)
    checks.stands_still(f"watching {counter.name}", counter.watch())


every_stop = pytest.mark.parametrize("transition", STOPPING, ids=str)


@pytest.mark.rule("v1.state.stopped-before-return")
@pytest.mark.stimulus
@every_stop
def test_stopped_before_return(
    reach: Reach, migration: MigrationRegion, actor: MigrationActor, transition: Transition
) -> None:
    """Watched from the moment the write returns, a running value does not change."""
    counter = actor.counter()
    watched = watch_stop(reach, migration, counter, transition)
    checks.stands_still(f"watching {counter.name} after {transition}", watched)


@pytest.mark.rule("v1.state.stopped-before-return")
@pytest.mark.stimulus
@every_stop
def test_dma_stopped_before_return(
    reach: Reach, migration: MigrationRegion, actor: MigrationActor, transition: Transition
) -> None:
    """Watched from the moment the write returns, memory that the device wrote does not change."""
    with actor.dma() as memory:
        watched = watch_stop(reach, migration, memory, transition)
    checks.stands_still(f"watching {memory.name} after {transition}", watched)


@pytest.mark.rule("v1.state.stopped-before-return")
@pytest.mark.stimulus
@every_stop
def test_interrupts_stopped_before_return(
    reach: Reach, migration: MigrationRegion, actor: MigrationActor, transition: Transition
) -> None:
    """Watched from the moment the write returns, interrupts that the device raised repeatedly no longer come."""
    with actor.interrupts() as interrupts:
        watched = watch_stop(reach, migration, interrupts, transition)
    checks.stands_still(f"counting {interrupts.name} after {transition}", watched)


def watch_stop(reach: Reach, migration: MigrationRegion, activity: Activity, transition: Transition) -> tuple[int, int]:
    """Watch, from the moment the device is in the state after, what it did in the state before."""
    reach(transition.before, leaving=True)
    checks.at_work(activity, f"in {name(transition.before)}")
    migration.enter(transition.after)
    return activity.watch()


@pytest.mark.rule("v1.state.reserved-bits")
@pytest.mark.parametrize("bits", [*(1 << bit for bit in range(3, 32)), 0xFFFF_FFF8], ids=hex)
def test_reserved_bits(migration: MigrationRegion, observe: Callable[[str, str], None], bits: int) -> None:
    """A write of stop-and-copy with reserved bits leads there or, refused, leaves running or the error state."""
    change = migration.attempt(DeviceState.STOP_AND_COPY | bits)
    safe(f"0x{bits:x} was {change.answer}", change, Transition(DeviceState.RUNNING, DeviceState.STOP_AND_COPY))
    seen = name(migration.read(DEVICE_STATE))
    observe("device_state written with reserved bits", f"{change.answer}, reads {seen}")
