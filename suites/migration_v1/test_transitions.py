# SPDX-License-Identifier: GPL-2.0-only
"""The documented transitions, one by one; then the undocumented ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vfio_compliance.device import Device
from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import goes_to, in_state, made, safe
from vfio_compliance.migration_v1.flows import Flows
from vfio_compliance.migration_v1.profile import MigrationClaims
from vfio_compliance.migration_v1.reach import Reach
from vfio_compliance.migration_v1.region import Change, MigrationRegion
from vfio_compliance.migration_v1.states import SELF_WRITES, STATES, UNDRAWN, Transition, name
from vfio_compliance.profiles import Profile
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DeviceState

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
RESUMING = DeviceState.RESUMING


@pytest.mark.rule("v1.open.running")
def test_open_running(device: Device, migration: MigrationRegion) -> None:
    """The first read of device_state by a new user returns running."""
    device.reopen()
    in_state(migration, "right after opening the device", RUNNING)


@pytest.mark.rule("v1.open.running")
@pytest.mark.stimulus
def test_open_at_work(
    fresh: Callable[[], MigrationRegion], device: Device, migration: MigrationRegion, actor: MigrationActor
) -> None:
    """The device does its work for a new user."""
    fresh()
    counter = actor.counter()
    checks.at_work(counter, "in running after a reset")
    device.reopen()
    checks.continues(counter, "after opening the device")


@pytest.mark.rule("v1.close.needs-no-stop")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_close_needs_no_stop(
    fresh: Callable[[], MigrationRegion], device: Device, migration: MigrationRegion, state: DeviceState
) -> None:
    """The device is closed in a state, and the next user finds it as if it had been stopped before."""
    migration.enter(state)
    seen, death = as_found(device, migration)
    if death and as_found_after_stop(device, fresh())[1]:
        raise checks.NotApplicable("the server dies whenever its client leaves, which is shown for the whole run")
    checks.equal(f"closing the device in {name(state)}", death, "", lambda what: what or "a driver that keeps running")
    expected = RUNNING if seen == RUNNING else as_found_after_stop(device, fresh())[0]
    checks.equal(f"reading device_state after closing the device in {name(state)} and opening it", seen, expected, name)


def as_found_after_stop(device: Device, migration: MigrationRegion) -> tuple[DeviceState, str]:
    """device_state as the next user finds it if this one stopped the device."""
    migration.enter(STOP)
    return as_found(device, migration)


def as_found(device: Device, migration: MigrationRegion) -> tuple[DeviceState, str]:
    """device_state as the next user finds it, and how the server died when its client left, if it did."""
    server, deaths = device.transport.incarnation, len(device.transport.deaths)
    device.reopen()
    death = ", ".join(f"{each.who} {each.how}" for each in device.transport.deaths[deaths:])
    if not death and device.transport.incarnation != server:
        raise checks.NotApplicable("the server ends with its client: the next user has a new one")
    return migration.state(), death


@pytest.mark.rule("v1.transition.running-to-stop")
def test_running_to_stop(migration: MigrationRegion) -> None:
    """Stop can be written to a running device."""
    goes_to(migration, STOP)


@pytest.mark.rule("v1.transition.running-to-stop")
@pytest.mark.stimulus
def test_dma_to_stop(migration: MigrationRegion, actor: MigrationActor) -> None:
    """Stop can be written to a running device while it writes memory."""
    with actor.dma():
        goes_to(migration, STOP)


@pytest.mark.rule("v1.transition.running-to-pre-copy")
def test_running_to_pre_copy(migration: MigrationRegion) -> None:
    """Pre-copy can be written to a running device."""
    goes_to(migration, PRE_COPY)


@pytest.mark.rule("v1.transition.running-to-pre-copy")
def test_resumed_to_pre_copy(flows: Flows, migration: MigrationRegion) -> None:
    """Pre-copy can be written to a device that has resumed."""
    if stayed := flows.resume(flows.suspend).complete().stayed:
        with checks.about(stayed.after):
            checks.broken(f"{stayed.what} once it was resumed", expected=stayed.expected, seen=stayed.seen)


@pytest.mark.rule("v1.transition.stop-and-copy-to-stop")
def test_stop_and_copy_to_stop(flows: Flows, migration: MigrationRegion) -> None:
    """Stop can be written in stop-and-copy, once the state has been read."""
    transition = Transition(STOP_AND_COPY, STOP)
    made(transition, flows.change(transition))


@pytest.mark.rule("v1.transition.running-to-resuming")
def test_running_to_resuming(migration: MigrationRegion) -> None:
    """Resuming can be written to a running device."""
    goes_to(migration, RESUMING)


@pytest.mark.rule("v1.transition.running-to-resuming")
def test_saved_to_resuming(fresh: Callable[[], MigrationRegion], device: Device, migration: MigrationRegion) -> None:
    """Resuming can be written to a running device whose state was being saved before a reset."""
    migration.enter(STOP_AND_COPY)
    with checks.given():
        device.reset()
    goes_to(fresh(), RESUMING)


@pytest.mark.rule("v1.transition.live-migration")
def test_live_migration(flows: Flows, migration: MigrationRegion) -> None:
    """Stop-and-copy can be written in pre-copy, and stop once the state has been read."""
    live = flows.live()
    for transition in (Transition(PRE_COPY, STOP_AND_COPY), Transition(STOP_AND_COPY, STOP)):
        if transition not in live.changes:
            raise checks.Unjudged(f"{transition} was not reached: {live.failure}")
        made(transition, live.changes[transition])


at_moment = pytest.mark.parametrize("done", ["nothing", "data_size"], ids=["entered", "data_size read"])


@pytest.mark.rule("v1.stop-and-copy.stops")
@pytest.mark.stimulus
@at_moment
def test_stop_and_copy_stops(migration: MigrationRegion, actor: MigrationActor, done: str) -> None:
    """A counter that moved in running does not move once the write has returned, with or without reading data."""
    counter = actor.counter()
    checks.at_work(counter, "in running")
    migration.enter(STOP_AND_COPY)
    read_up_to(migration, done)
    checks.stands_still(f"watching {counter.name} in stop-and-copy, {done} read", counter.watch())


@pytest.mark.rule("v1.pre-copy.keeps-running")
@pytest.mark.stimulus
@at_moment
def test_pre_copy_keeps_running(
    migration: MigrationRegion, actor: MigrationActor, pre_copy_patience: float, done: str
) -> None:
    """A counter that moved in running moves in pre-copy, with or without reading data."""
    counter = actor.counter()
    checks.at_work(counter, "in running")
    migration.enter(PRE_COPY)
    read_up_to(migration, done, pre_copy_patience)
    checks.continues(counter, f"in pre-copy, {done} read")


#: How far a user has read a buffer when it leaves the state.
PROGRESS = ("nothing", "pending_bytes", "data_offset", "data_size", "half the data", "the data")


@pytest.mark.rule("v1.saving.left-at-any-point")
@pytest.mark.parametrize("done", PROGRESS)
def test_pre_copy_left_at_any_point(migration: MigrationRegion, pre_copy_patience: float, done: str) -> None:
    """Having read up to this point, the user goes from pre-copy to stop-and-copy."""
    migration.enter(PRE_COPY)
    read_up_to(migration, done, pre_copy_patience)
    goes_to(migration, STOP_AND_COPY)


@pytest.mark.rule("v1.saving.left-at-any-point")
@pytest.mark.parametrize("done", PROGRESS)
def test_stop_and_copy_left_at_any_point(migration: MigrationRegion, done: str) -> None:
    """Having read up to this point, the user goes from stop-and-copy to stop."""
    migration.enter(STOP_AND_COPY)
    read_up_to(migration, done)
    goes_to(migration, STOP)


def read_up_to(migration: MigrationRegion, done: str, patience: int | float = 0) -> None:
    """Take the steps of reading one buffer, up to ``done``. A driver that refuses them is judged by other rules."""
    with checks.given():
        read(migration, PROGRESS.index(done), patience)


def read(migration: MigrationRegion, steps: int, patience: int | float) -> None:
    """The first ``steps`` steps, once there is data or ``patience`` seconds have passed."""
    if not steps:
        return
    if not migration.wait_for_data(patience) and steps > 1:
        raise checks.NotApplicable("the device offers no data in this state")
    if steps == 2:
        migration.read(DATA_OFFSET)
    if steps > 2:
        place = migration.place()
    if steps > 3:
        migration.read_data(place.offset, place.size if steps == len(PROGRESS) - 1 else max(place.size // 2, 1))


# -- where the specification is silent ----------------------------------------------------------------------------


def attempt(migration: MigrationRegion, transition: Transition) -> Change:
    """Write a state that the specification does not promise; return the outcome."""
    migration.enter(transition.before)
    return migration.attempt(transition.after)


@pytest.mark.rule("v1.undrawn.safe")
@pytest.mark.parametrize("transition", UNDRAWN, ids=str)
def test_undrawn_safe(
    recovers: Callable[[], None],
    migration: MigrationRegion,
    observe: Callable[[str, str], None],
    transition: Transition,
) -> None:
    """The state afterwards is the new one if the write succeeded, else the old one or error; a reset recovers."""
    change = attempt(migration, transition)
    observe(str(transition), str(change))
    safe(f"{transition} was {change.answer}", change, transition)
    recovers()


@pytest.mark.rule("v1.undrawn.as-claimed")
@pytest.mark.parametrize("transition", [*UNDRAWN, *SELF_WRITES], ids=str)
def test_undrawn_as_claimed(reach: Reach, migration: MigrationRegion, profile: Profile, transition: Transition) -> None:
    """A transition in the profile's claims.transitions leads to the new state."""
    if (name(transition.before), name(transition.after)) not in profile.claims_of(MigrationClaims).transitions:
        raise checks.NotApplicable("the profile does not claim this transition")
    reach(transition.before, leaving=True)
    with checks.given():  # whether the device survives it is judged by other rules
        change = attempt(migration, transition)
    wanted = f"accepted, reads {name(transition.after)}"
    checks.equal(f"making the transition {transition}", str(change), wanted)


@pytest.mark.rule("v1.self-write.safe")
@pytest.mark.parametrize("transition", SELF_WRITES, ids=lambda transition: name(transition.before))
def test_self_write_safe(
    migration: MigrationRegion, observe: Callable[[str, str], None], transition: Transition
) -> None:
    """The state afterwards is the same, or error if the write was refused."""
    change = attempt(migration, transition)
    observe(str(transition), str(change))
    safe(f"writing {name(transition.after)} again", change, transition)
