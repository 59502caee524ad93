# SPDX-License-Identifier: GPL-2.0-only
"""Writes of device_state that must not succeed, and what is left after them."""

from __future__ import annotations

import pytest

from vfio_compliance.migration_v1.states import STATES, UNWRITABLE, drawn_from, name
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DEVICE_STATE, PENDING_BYTES, DeviceState

ERROR = DeviceState.ERROR
RUNNING = DeviceState.RUNNING

#: Ways to make a write of device_state fail: a value that is none, or a fault provoked in the device.
FAULT = "provoked fault"

every_failure = pytest.mark.parametrize(
    "value", [*UNWRITABLE, FAULT], ids=lambda value: value if value == FAULT else name(value)
)
every_state = pytest.mark.parametrize("state", STATES, ids=name)


def fail(migration, actor, value):
    """Make a write of device_state that must fail; what was written, and how it was answered.

    A device that this is the end of is judged by the rules on the value itself.
    """
    if value == FAULT:
        actor.provoke_error()
        value = next(iter(drawn_from(migration.state())), RUNNING)
    with checks.given():
        return value, migration.try_write(DEVICE_STATE, value)


@pytest.mark.rule("v1.state.failure-has-errno")
@every_failure
@every_state
def test_failure_has_errno(migration, actor, state, value):
    """A write that leaves another state than it asked for was answered with an error, and so is the same once more."""
    migration.enter(state)
    asked, outcome = fail(migration, actor, value)
    if migration.state() != asked:
        checks.refused_with_errno(f"writing {name(asked)}, which did not take effect, in {name(state)}", outcome)
    if value == FAULT or migration.in_error():
        return
    _, again = fail(migration, actor, value)
    if migration.state() != value:
        checks.refused_with_errno(f"writing {name(value)}, which did not take effect, again in {name(state)}", again)


@pytest.mark.rule("v1.state.failure-keeps-state")
@every_failure
@every_state
def test_failure_keeps_state(migration, actor, state, value):
    """After a write that was answered with an error, the state is the one before, or error."""
    migration.enter(state)
    asked, outcome = fail(migration, actor, value)
    if outcome.ok:
        raise checks.Unjudged(f"the device accepted {name(asked)}; another rule judges that")
    checks.one_of(f"reading device_state after {name(asked)} was refused", migration.state(), (state, ERROR), name)


@pytest.mark.rule("v1.state.failure-reported-as-error-only")
@every_failure
@every_state
def test_failure_reported_as_error_only(migration, actor, state, value):
    """After a write that was answered with an error, no invalid value is read."""
    migration.enter(state)
    asked, outcome = fail(migration, actor, value)
    now = migration.state()
    if not outcome.ok and now in (DeviceState.INVALID_5, DeviceState.INVALID_7):
        checks.broken(
            f"reading device_state after {name(asked)} was refused",
            expected=f"{name(state)}, or 110b for an internal error",
            seen=name(now),
        )


@pytest.mark.rule("v1.state.invalid-never-entered")
@pytest.mark.parametrize("value", [DeviceState.INVALID_5, DeviceState.INVALID_7], ids=name)
@every_state
def test_invalid_never_entered(migration, state, value):
    """A written invalid value does not come back when device_state is read."""
    migration.enter(state)
    migration.try_write(DEVICE_STATE, value)
    checks.one_of(f"reading device_state after writing {name(value)}", migration.state(), (state, ERROR), name)


@pytest.mark.rule("v1.state.error-never-accepted")
@every_state
def test_error_never_accepted(migration, state):
    """A written 110b is not taken for a transition that succeeded."""
    migration.enter(state)
    outcome = migration.try_write(DEVICE_STATE, ERROR)
    if outcome.ok and migration.in_error():
        checks.broken("writing 110b", expected="an error", seen="success, and the device is in the error state")


@pytest.mark.rule("v1.state.usable-after-refusal")
@pytest.mark.parametrize("value", UNWRITABLE, ids=name)
@every_state
def test_usable_after_refusal(fresh, migration, actor, state, value):
    """After refused writes a documented transition succeeds; from stop, where none is drawn, after a reset."""
    fail_twice(migration, actor, state, value)
    if not (drawn := drawn_from(state)):
        return
    try:
        with checks.unless(lambda: leave(fresh(), state, drawn[0]), "without the refused writes"):
            migration.set_state(drawn[0])
    except checks.Unjudged:
        if state not in MOVES:
            raise
        # The device refuses to leave this state before all data was moved. So moving data has to work.
        fail_twice(fresh(), actor, state, value)
        migration.read(MOVES[state])


#: The states in which data is moved, and the register by which that begins.
MOVES = {
    DeviceState.PRE_COPY: PENDING_BYTES,
    DeviceState.STOP_AND_COPY: PENDING_BYTES,
    DeviceState.RESUMING: DATA_OFFSET,
}


def fail_twice(migration, actor, state, value):
    """Two failed writes that leave the device in ``state``, or the rule is not about this device."""
    migration.enter(state)
    for _ in range(2):
        _, outcome = fail(migration, actor, value)
        if migration.in_error():
            raise checks.NotApplicable("the device reports the error state after it, which only a reset leaves")
        if outcome.ok or migration.state() != state:
            raise checks.Unjudged("the refusal did not leave the state as it was")


def leave(migration, state, after):
    """Go from ``state`` to ``after``, nothing else having happened."""
    migration.enter(state)
    migration.set_state(after)


@pytest.mark.rule("v1.error.left-only-by-reset")
@every_state
def test_error_left_only_by_reset(migration, actor, state):
    """In the error state a write of each of the five states is refused, twice, and the error state stays."""
    actor.provoke_error()
    migration.try_set_state(DeviceState.STOP)
    if not migration.in_error():
        raise checks.Unjudged("the provoked failure did not lead to the error state")
    for time in ("once", "twice"):
        outcome = migration.try_write(DEVICE_STATE, state)
        checks.refused(f"writing {name(state)} {time} in the error state", outcome)
        checks.equal("reading device_state afterwards", migration.state(), ERROR, name)
