# SPDX-License-Identifier: GPL-2.0-only
"""Reading and writing device_state, and what its bits do to the device."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from vfio_compliance.migration_v1.states import DRAWN, STATES, is_running, name
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DEVICE_STATE, REGISTERS, DeviceState

ERROR = DeviceState.ERROR


@pytest.mark.rule("v1.state.reads-what-was-written")
@pytest.mark.parametrize("transition", DRAWN, ids=str)
def test_reads_what_was_written(journeys, migration, transition):
    """The first read after a documented transition gives the new state."""
    outcome, now, call = journeys.change(transition)
    if outcome.value < 0:
        raise checks.Unjudged(f"{transition} was refused; another rule judges that")
    with checks.about(call):
        checks.equal(f"reading device_state after {transition}", now, transition.after, name)


@pytest.mark.rule("v1.state.write-is-whole")
@pytest.mark.parametrize("transition", DRAWN, ids=str)
def test_write_is_whole(journeys, migration, transition):
    """The write that makes a documented transition never reports fewer than four bytes."""
    outcome, _, call = journeys.change(transition)
    if outcome.ok:
        with checks.about(call):
            checks.accepted(f"writing device_state for {transition}", outcome, DEVICE_STATE.width)


@pytest.mark.rule("v1.state.five-states")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_five_states(migration, state):
    """A state that was entered on its documented path is there, and stays while it is only read."""
    migration.enter(DeviceState.RUNNING)
    if state != DeviceState.RUNNING:
        migration.try_set_state(state)
    for reading in (1, 2, 3):
        checks.equal(f"reading device_state, time {reading}", migration.state(), state, name)


#: What moves no state: a register that is read, or all the data of a state that is read or given.
HARMLESS = [(state, register) for state in STATES for register in REGISTERS]
HARMLESS += [(state, "all data") for state in (DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY, DeviceState.RESUMING)]


@pytest.mark.rule("v1.state.never-changes-by-itself")
@pytest.mark.parametrize(
    ("state", "register"), HARMLESS, ids=lambda it: name(it) if isinstance(it, int) else getattr(it, "name", it)
)
def test_never_changes_by_itself(journeys, migration, state, register):
    """Reading a register twice, with success or not, and moving all the data leaves device_state as it was."""
    if register == "all data":
        checks.equal("reading device_state after moving all the data", after_all_data(journeys, state), state, name)
        return
    migration.enter(state)
    with checks.given():
        migration.try_read(register)
        migration.try_read(register)
    checks.equal(f"reading device_state after reading {register.name}", migration.state(), state, name)


def after_all_data(journeys, state):
    """device_state at the end of a journey's way through ``state``."""
    saved = journeys.live()
    if state == DeviceState.RESUMING:
        saved.whole()
        now = journeys.resume(journeys.live).filled
    else:
        now = saved.drained.get(state)
    if now is None:
        raise checks.Unjudged("the data could not be moved to its end; other rules judge that")
    return now


@pytest.mark.rule("v1.state.running-bit")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_running_bit(migration, actor, state):
    """The device is seen to work in the states with bit 0, and not seen to work in the others."""
    counter = actor.counter()
    migration.enter(state)
    first, now = counter.watch()
    if is_running(state) and first == now:
        checks.broken(
            f"watching {counter.name} for {counter.within:g} s",
            expected="a change",
            seen=f"{now:#x} all the time",
        )
    if not is_running(state) and first != now:
        checks.broken(f"watching {counter.name}", expected=f"{first:#x} all the time", seen=hex(now))


#: Documented transitions that stop a working device.
STOPPING = [transition for transition in DRAWN if is_running(transition.before) and not is_running(transition.after)]


@pytest.mark.rule("v1.state.stopped-before-return")
@pytest.mark.parametrize("activity", ["counter", "dma"])
@pytest.mark.parametrize("transition", STOPPING, ids=str)
def test_stopped_before_return(reach, migration, actor, transition, activity):
    """Looked at from the moment the write returns, neither a running value nor memory changes."""
    with nullcontext(actor.counter()) if activity == "counter" else actor.dma() as watched:
        reach(transition.before, leaving=True)
        if not watched.goes_on():
            raise checks.Unjudged(f"{watched.name} does not change in {name(transition.before)} either")
        migration.enter(transition.after)
        first, now = watched.watch()
    checks.equal(f"watching {watched.name} after {transition}", now, first, hex)


@pytest.mark.rule("v1.state.reserved-bits")
@pytest.mark.parametrize("bits", [*(1 << bit for bit in range(3, 32)), 0xFFFF_FFF8], ids=hex)
def test_reserved_bits(migration, observe, bits):
    """A write of stop-and-copy with reserved bits leads there or, refused, leaves running or the error state."""
    outcome = migration.try_write(DEVICE_STATE, DeviceState.STOP_AND_COPY | bits)
    now = migration.state()
    allowed = (DeviceState.STOP_AND_COPY,) if outcome.ok else (DeviceState.RUNNING, ERROR)
    what = f"reading device_state after 0x{bits:x} was {'accepted' if outcome.ok else 'refused'}"
    checks.one_of(what, now, allowed, name)
    seen = name(migration.read(DEVICE_STATE))
    observe("device_state written with reserved bits", f"{'accepted' if outcome.ok else 'refused'}, reads {seen}")
