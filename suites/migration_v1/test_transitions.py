# SPDX-License-Identifier: GPL-2.0-only
"""The transitions that the text draws, one by one; then those it does not draw."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from vfio_compliance.migration_v1.states import SELF_WRITES, STATES, UNDRAWN, Transition, name
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DEVICE_STATE, DeviceState

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
RESUMING, ERROR = DeviceState.RESUMING, DeviceState.ERROR


def go(migration, state):
    """Write ``state``; the driver accepts it, and the device is there."""
    what = f"writing {name(state)} in {name(migration.state())}"
    checks.accepted(what, migration.try_set_state(state), 4)
    checks.equal(f"reading device_state after {what}", migration.state(), state, name)


def made(journeys, transition):
    """The transition was made where a flow had done all that comes before it."""
    judge_change(transition, journeys.change(transition))


def judge_change(transition, change):
    """The write was accepted whole, and the device is there."""
    what = f"writing {name(transition.after)} in {name(transition.before)}"
    with checks.about(change.call):
        checks.accepted(what, change.outcome, 4)
        checks.equal(f"reading device_state after {what}", change.now, transition.after, name)


@pytest.mark.rule("v1.open.running")
@pytest.mark.parametrize("look", ["device_state", "at work"])
def test_open_running(request, device, migration, look):
    """The first read of device_state by a new user gives running, and the device works."""
    counter = request.getfixturevalue("actor").counter() if look == "at work" else None
    if counter and not counter.goes_on():
        raise checks.Unjudged(f"{counter.name} does not change in running after a reset either")
    device.reopen()
    if counter is None:
        checks.equal("reading device_state right after opening the device", migration.state(), RUNNING, name)
    elif not counter.goes_on():
        checks.broken(
            f"watching {counter.name} for {counter.within:g} s after opening the device",
            expected="a change",
            seen="none",
        )


@pytest.mark.rule("v1.close.needs-no-stop")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_close_needs_no_stop(fresh, device, migration, state):
    """The device is closed in a state, and the next user finds it as if it had been stopped before."""
    migration.enter(state)
    seen, death = as_found(device, migration)
    if death and as_found_after_stop(device, fresh())[1]:
        raise checks.NotApplicable("the server dies whenever its client leaves, which is shown for the whole run")
    checks.equal(f"closing the device in {name(state)}", death, "", lambda what: what or "a driver that goes on")
    expected = RUNNING if seen == RUNNING else as_found_after_stop(device, fresh())[0]
    checks.equal(f"reading device_state after closing the device in {name(state)} and opening it", seen, expected, name)


def as_found_after_stop(device, migration):
    """device_state as the next user finds it where this one stopped the device."""
    migration.enter(STOP)
    return as_found(device, migration)


def as_found(device, migration):
    """device_state as the next user finds it, and how the server died of being left, if it did."""
    server, deaths = device.transport.incarnation, len(device.transport.deaths)
    device.reopen()
    death = ", ".join(f"{each.who} {each.how}" for each in device.transport.deaths[deaths:])
    if not death and device.transport.incarnation != server:
        raise checks.NotApplicable("the server ends with its client: the next user has a new one")
    return migration.state(), death


@pytest.mark.rule("v1.transition.running-to-stop")
@pytest.mark.parametrize("doing", ["nothing", "dma"])
def test_running_to_stop(migration, actor, doing):
    """Stop can be written to a running device, at work or not."""
    with nullcontext() if doing == "nothing" else actor.dma():
        go(migration, STOP)


@pytest.mark.rule("v1.transition.running-to-pre-copy")
@pytest.mark.parametrize("after", ["reset", "resuming"])
def test_running_to_pre_copy(journeys, migration, after):
    """Pre-copy can be written to a running device, also to one that has resumed."""
    if after == "reset":
        go(migration, PRE_COPY)
        return
    if stayed := journeys.resume(journeys.suspend).whole().stayed:
        with checks.about(stayed.after):
            checks.broken(f"{stayed.what} once it was resumed", expected=stayed.expected, seen=stayed.seen)


@pytest.mark.rule("v1.transition.stop-and-copy-to-stop")
def test_stop_and_copy_to_stop(journeys, migration):
    """Stop can be written in stop-and-copy, once the state was read."""
    made(journeys, Transition(STOP_AND_COPY, STOP))


@pytest.mark.rule("v1.transition.running-to-resuming")
@pytest.mark.parametrize("saved", [False, True], ids=["new", "saved and reset"])
def test_running_to_resuming(fresh, device, migration, saved):
    """Resuming can be written to a running device, also where its state was being saved before a reset."""
    if saved:
        migration.enter(STOP_AND_COPY)
        with checks.given():
            device.reset()
        migration = fresh()
    go(migration, RESUMING)


@pytest.mark.rule("v1.transition.live-migration")
def test_live_migration(journeys, migration):
    """Stop-and-copy can be written in pre-copy, and stop once the state was read."""
    live = journeys.live()
    for transition in (Transition(PRE_COPY, STOP_AND_COPY), Transition(STOP_AND_COPY, STOP)):
        if transition not in live.changes:
            raise checks.Unjudged(f"{transition} was not reached: {live.failure}")
        judge_change(transition, live.changes[transition])


at_moment = pytest.mark.parametrize("done", ["nothing", "data_size"], ids=["entered", "data_size read"])


@pytest.mark.rule("v1.stop-and-copy.stops")
@at_moment
def test_stop_and_copy_stops(migration, actor, done):
    """A counter that moved in running does not move from the return of the write on, data or no data."""
    counter = actor.counter()
    if not counter.goes_on():
        raise checks.Unjudged(f"{counter.name} does not change in running either")
    migration.enter(STOP_AND_COPY)
    read_up_to(migration, done)
    first, now = counter.watch()
    checks.equal(f"watching {counter.name} in stop-and-copy, {done} read", now, first, hex)


@pytest.mark.rule("v1.pre-copy.keeps-running")
@at_moment
def test_pre_copy_keeps_running(migration, actor, pre_copy_patience, done):
    """A counter that moved in running moves in pre-copy, data or no data."""
    counter = actor.counter()
    if not counter.goes_on():
        raise checks.Unjudged(f"{counter.name} does not change in running either")
    migration.enter(PRE_COPY)
    read_up_to(migration, done, pre_copy_patience)
    if not counter.goes_on():
        checks.broken(
            f"watching {counter.name} for {counter.within:g} s in pre-copy, {done} read",
            expected="a change",
            seen="none",
        )


#: How far a user has come in reading a buffer when it leaves the state.
PROGRESS = ("nothing", "pending_bytes", "data_offset", "data_size", "half the data", "the data")


@pytest.mark.rule("v1.saving.left-at-any-point")
@pytest.mark.parametrize("done", PROGRESS)
@pytest.mark.parametrize("transition", [Transition(PRE_COPY, STOP_AND_COPY), Transition(STOP_AND_COPY, STOP)], ids=str)
def test_left_at_any_point(migration, pre_copy_patience, transition, done):
    """Having read so much and no more, the user goes to the next state."""
    migration.enter(transition.before)
    read_up_to(migration, done, pre_copy_patience if transition.before == PRE_COPY else 0)
    go(migration, transition.after)


def read_up_to(migration, done, patience=0):
    """Take the steps of reading one buffer, up to ``done``. A driver that refuses them is judged by other rules."""
    with checks.given():
        read(migration, PROGRESS.index(done), patience)


def read(migration, steps, patience):
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


# -- where the text is silent -------------------------------------------------------------------------------------


def attempt(migration, transition):
    """Write a state that the text does not promise; whether it was accepted, and the state that is read then."""
    migration.enter(transition.before)
    outcome = migration.try_write(DEVICE_STATE, transition.after)
    return outcome.ok, migration.state()


def answer(accepted, now):
    """What a device did, for the table of behaviour."""
    return f"{'accepted' if accepted else 'refused'}, reads {name(now)}"


@pytest.mark.rule("v1.undrawn.safe")
@pytest.mark.parametrize("transition", UNDRAWN, ids=str)
def test_undrawn_safe(recovers, migration, observe, transition):
    """The state afterwards is the new one where the write succeeded, else the old one or error; a reset recovers."""
    accepted, now = attempt(migration, transition)
    observe(str(transition), answer(accepted, now))
    allowed = (transition.after,) if accepted else (transition.before, ERROR)
    checks.one_of(
        f"reading device_state after {transition} was {'accepted' if accepted else 'refused'}",
        now,
        allowed,
        name,
    )
    recovers()


@pytest.mark.rule("v1.undrawn.as-claimed")
@pytest.mark.parametrize("transition", [*UNDRAWN, *SELF_WRITES], ids=str)
def test_undrawn_as_claimed(reach, migration, profile, transition):
    """A transition of the profile's claims.transitions leads to the new state."""
    if (name(transition.before), name(transition.after)) not in profile.claims.transitions:
        raise checks.NotApplicable("the profile does not claim this transition")
    reach(transition.before, leaving=True)
    with checks.given():  # that the device bears it is asked by other rules
        accepted, now = attempt(migration, transition)
    checks.equal(f"making the transition {transition}", answer(accepted, now), answer(True, transition.after))


@pytest.mark.rule("v1.self-write.safe")
@pytest.mark.parametrize("transition", SELF_WRITES, ids=lambda transition: name(transition.before))
def test_self_write_safe(migration, observe, transition):
    """The state afterwards is the same, or error where the write was refused."""
    accepted, now = attempt(migration, transition)
    observe(str(transition), answer(accepted, now))
    allowed = (transition.after,) if accepted else (transition.before, ERROR)
    checks.one_of(f"reading device_state after writing {name(transition.after)} again", now, allowed, name)
