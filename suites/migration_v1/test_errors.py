# SPDX-License-Identifier: GPL-2.0-only
"""Writes of device_state that must not succeed, and what is left after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import pytest

from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import enter_error, in_state, refuse
from vfio_compliance.migration_v1.reach import Reach
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.migration_v1.states import STATES, STOPPING, UNWRITABLE, Transition, drawn_from, is_running, name
from vfio_compliance.run import checks
from vfio_compliance.run.stimulus import Activity
from vfio_compliance.transport import Outcome
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DEVICE_STATE, PENDING_BYTES, DeviceState

ERROR = DeviceState.ERROR
RUNNING = DeviceState.RUNNING

#: Has a device in a state refuse a write.
Failing: TypeAlias = Callable[[MigrationRegion, DeviceState], None]

every_value = pytest.mark.parametrize("value", UNWRITABLE, ids=name)
every_state = pytest.mark.parametrize("state", STATES, ids=name)

# Each rule on failures has three tests: a write that must fail because its value is not a state, one that fails because
# of a fault provoked in the device, and one that the device is made to refuse.


def fail(migration: MigrationRegion, value: DeviceState) -> Outcome:
    """Make a write to device_state that must fail; return its answer.

    A device that does not survive this is judged by the rules on the value itself.
    """
    with checks.given():
        return migration.try_write(DEVICE_STATE, value)


def provoked(migration: MigrationRegion, provoke: Callable[[], None]) -> tuple[DeviceState, Outcome]:
    """Make the device fail at a documented transition, or at running; return what was written, and the answer."""
    provoke()
    value = next(iter(drawn_from(migration.state())), RUNNING)
    outcome = fail(migration, value)
    if outcome.ok and migration.state() == value:
        raise checks.Unjudged(f"the device went to {name(value)} although it was made to fail")
    return value, outcome


@pytest.mark.rule("v1.state.failure-has-errno")
@every_value
@every_state
def test_failure_has_errno(migration: MigrationRegion, state: DeviceState, value: DeviceState) -> None:
    """A write that does not reach the requested state is answered with an error, and so is the same write again."""
    migration.enter(state)
    judge_errno(migration, value, fail(migration, value), f"in {name(state)}")
    if not migration.in_error():
        judge_errno(migration, value, fail(migration, value), f"again in {name(state)}")


@pytest.mark.rule("v1.state.failure-has-errno")
@pytest.mark.stimulus
@every_state
def test_fault_has_errno(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """A write that a fault prevented from taking effect was answered with an error."""
    migration.enter(state)
    judge_errno(migration, *provoked(migration, actor.provoke_error), f"in {name(state)}")


@pytest.mark.rule("v1.state.failure-has-errno")
@pytest.mark.stimulus
@every_state
def test_provoked_refusal_has_errno(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """A write that the device was made to refuse, and that did not take effect, was answered with an error."""
    migration.enter(state)
    judge_errno(migration, *provoked(migration, actor.provoke_refusal), f"in {name(state)}")


def judge_errno(migration: MigrationRegion, asked: DeviceState, outcome: Outcome, where: str) -> None:
    """A write that did not take effect was answered with an error."""
    if migration.state() != asked:
        checks.refused_with_errno(f"writing {name(asked)}, which did not take effect, {where}", outcome)


@pytest.mark.rule("v1.state.failure-keeps-state")
@every_value
@every_state
def test_failure_keeps_state(migration: MigrationRegion, state: DeviceState, value: DeviceState) -> None:
    """After a write that was answered with an error, the state is the one before, or error."""
    migration.enter(state)
    judge_kept(migration, state, value, fail(migration, value))


@pytest.mark.rule("v1.state.failure-keeps-state")
@pytest.mark.stimulus
@every_state
def test_fault_keeps_state(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """After a write that failed because of a fault, the state is the one before, or error."""
    migration.enter(state)
    judge_kept(migration, state, *provoked(migration, actor.provoke_error))


@pytest.mark.rule("v1.state.failure-keeps-state")
@pytest.mark.stimulus
@every_state
def test_provoked_refusal_keeps_state(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """After a write that the device was made to refuse, the state is the one before, or error."""
    migration.enter(state)
    judge_kept(migration, state, *provoked(migration, actor.provoke_refusal))


def judge_kept(migration: MigrationRegion, state: DeviceState, asked: DeviceState, outcome: Outcome) -> None:
    """The failure left the state before it, or the error state."""
    if outcome.ok:
        raise checks.Unjudged(f"the device accepted {name(asked)}; that is judged by another rule")
    in_state(migration, f"after {name(asked)} was refused", state, ERROR)


@pytest.mark.rule("v1.state.refusal-as-claimed")
@pytest.mark.stimulus
@every_state
def test_refusal_as_claimed(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """After a write that the profile makes the device refuse, with no internal error, the state is the one before."""
    migration.enter(state)
    value, outcome = provoked(migration, actor.provoke_refusal)
    if outcome.ok:
        raise checks.Unjudged(f"the device accepted {name(value)}; that is judged by another rule")
    if migration.state() not in (state, ERROR):
        raise checks.Unjudged(f"{name(state)} became another state; that is judged by another rule")
    in_state(migration, f"after {name(value)} was refused as stimulus.refusal has it", state)


#: What a device can be seen doing: each gives an Activity, for as long as it is watched.
DOINGS: dict[str, Callable[[MigrationActor], AbstractContextManager[Activity]]] = {
    "running sample": lambda actor: nullcontext(actor.counter()),
    "memory written": lambda actor: actor.dma(),
    "interrupts": lambda actor: actor.interrupts(),
}


@pytest.fixture(params=DOINGS)
def activity(request: pytest.FixtureRequest, reach: Reach, actor: MigrationActor) -> Iterator[Activity]:
    """One of these activities, which the device carries out while it runs."""
    with DOINGS[request.param](actor) as doing:
        yield doing


@pytest.mark.rule("v1.state.refusal-as-claimed")
@pytest.mark.stimulus
@pytest.mark.parametrize("state", [state for state in STATES if is_running(state)], ids=name)
def test_works_on_after_refusal(
    migration: MigrationRegion, actor: MigrationActor, activity: Activity, state: DeviceState
) -> None:
    """What the device does in a state with bit 0 set continues after it has refused to leave that state."""
    migration.enter(state)
    checks.at_work(activity, f"in {name(state)}")
    refuse(migration, actor)
    checks.continues(activity, f"once {name(state)} could not be left")


@pytest.mark.rule("v1.state.refusal-as-claimed")
@pytest.mark.stimulus
@pytest.mark.parametrize("transition", STOPPING, ids=str)
def test_stands_still_after_refusal(
    reach: Reach, migration: MigrationRegion, actor: MigrationActor, activity: Activity, transition: Transition
) -> None:
    """What the device did before it stopped does not start again after it has refused to leave the stopped state."""
    reach(transition.before, leaving=True)
    checks.at_work(activity, f"in {name(transition.before)}")
    migration.enter(transition.after)
    refuse(migration, actor)
    checks.stands_still(f"watching {activity.name} once {name(transition.after)} could not be left", activity.watch())


@pytest.mark.rule("v1.state.failure-reported-as-error-only")
@every_value
@every_state
def test_failure_reported_as_error_only(migration: MigrationRegion, state: DeviceState, value: DeviceState) -> None:
    """After a write that was answered with an error, no invalid value is read."""
    migration.enter(state)
    judge_report(migration, state, value, fail(migration, value))


@pytest.mark.rule("v1.state.failure-reported-as-error-only")
@pytest.mark.stimulus
@every_state
def test_fault_reported_as_error_only(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """After a write that failed because of a fault, no invalid value is read."""
    migration.enter(state)
    judge_report(migration, state, *provoked(migration, actor.provoke_error))


@pytest.mark.rule("v1.state.failure-reported-as-error-only")
@pytest.mark.stimulus
@every_state
def test_provoked_refusal_reported_as_error_only(
    migration: MigrationRegion, actor: MigrationActor, state: DeviceState
) -> None:
    """After a write that the device was made to refuse, no invalid value is read."""
    migration.enter(state)
    judge_report(migration, state, *provoked(migration, actor.provoke_refusal))


def judge_report(migration: MigrationRegion, state: DeviceState, asked: DeviceState, outcome: Outcome) -> None:
    """The failure is not reported by a value that is not a state."""
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
def test_invalid_never_entered(migration: MigrationRegion, state: DeviceState, value: DeviceState) -> None:
    """An invalid value that was written is not read back from device_state."""
    migration.enter(state)
    migration.try_write(DEVICE_STATE, value)
    in_state(migration, f"after writing {name(value)}", state, ERROR)


@pytest.mark.rule("v1.state.error-never-accepted")
@every_state
def test_error_never_accepted(migration: MigrationRegion, state: DeviceState) -> None:
    """A write of 110b is not accepted as a successful transition."""
    migration.enter(state)
    outcome = migration.try_write(DEVICE_STATE, ERROR)
    if outcome.ok and migration.in_error():
        checks.broken("writing 110b", expected="an error", seen="success, and the device is in the error state")


#: The states in which data is moved, and the register by which that begins.
MOVES = {
    DeviceState.PRE_COPY: PENDING_BYTES,
    DeviceState.STOP_AND_COPY: PENDING_BYTES,
    DeviceState.RESUMING: DATA_OFFSET,
}


@pytest.mark.rule("v1.state.usable-after-refusal")
@every_value
def test_usable_after_refusal(
    fresh: Callable[[], MigrationRegion], migration: MigrationRegion, value: DeviceState
) -> None:
    """After refused writes, a running device makes a documented transition."""
    judge_usable(fresh, migration, RUNNING, writing(value))


@pytest.mark.rule("v1.state.usable-after-refusal")
@every_value
@pytest.mark.parametrize("state", MOVES, ids=name)
def test_usable_amid_data_after_refusal(
    fresh: Callable[[], MigrationRegion], migration: MigrationRegion, state: DeviceState, value: DeviceState
) -> None:
    """After refused writes, a state in which data is moved can be left, or data moved if that must come first."""
    judge_usable(fresh, migration, state, writing(value))


@pytest.mark.rule("v1.state.usable-after-refusal")
@pytest.mark.stimulus
@pytest.mark.parametrize("state", [RUNNING, *MOVES], ids=name)
def test_usable_after_provoked_refusal(
    fresh: Callable[[], MigrationRegion], migration: MigrationRegion, actor: MigrationActor, state: DeviceState
) -> None:
    """After the device was made to refuse a transition twice, it is made, or data is moved if that must come first."""
    judge_usable(fresh, migration, state, provoking(actor))


@pytest.mark.rule("v1.state.usable-after-refusal")
@every_value
def test_stopped_after_refusal(migration: MigrationRegion, value: DeviceState) -> None:
    """Refused writes do not change stop, from which no transition is documented."""
    twice(migration, DeviceState.STOP, writing(value))


def writing(value: DeviceState) -> Failing:
    """A failed write of an invalid state, which leaves the state as it was; otherwise the rule does not apply."""

    def failing(migration: MigrationRegion, state: DeviceState) -> None:
        outcome = fail(migration, value)
        if migration.in_error():
            raise checks.NotApplicable("the device reports the error state after it, which only a reset leaves")
        if outcome.ok or migration.state() != state:
            raise checks.Unjudged("the refusal did not leave the state as it was")

    return failing


def provoking(actor: MigrationActor) -> Failing:
    """A write that the device is made to refuse, and does refuse."""
    return lambda migration, state: refuse(migration, actor)


def twice(migration: MigrationRegion, state: DeviceState, failing: Failing) -> None:
    """Two failed writes in ``state``."""
    migration.enter(state)
    for _ in range(2):
        failing(migration, state)


def judge_usable(
    fresh: Callable[[], MigrationRegion], migration: MigrationRegion, state: DeviceState, failing: Failing
) -> None:
    """After two failed writes, the state can be left, or data can be moved if that must come first."""
    twice(migration, state, failing)
    try:
        move_on(fresh, migration, state)
    except checks.Unjudged:
        if state not in MOVES:
            raise
        # The device refuses to leave this state before all data has been moved, so moving data must work.
        twice(fresh(), state, failing)
        migration.read(MOVES[state])


def move_on(fresh: Callable[[], MigrationRegion], migration: MigrationRegion, state: DeviceState) -> None:
    """Make a documented transition from ``state``. Raises Unjudged if that also fails without refused writes."""
    after = drawn_from(state)[0]
    with checks.unless(lambda: leave(fresh(), state, after), "without the refused writes"):
        migration.set_state(after)


def leave(migration: MigrationRegion, state: DeviceState, after: DeviceState) -> None:
    """Go from ``state`` to ``after``, with nothing done before."""
    migration.enter(state)
    migration.set_state(after)


@pytest.mark.rule("v1.error.left-only-by-reset")
@pytest.mark.stimulus
@pytest.mark.parametrize("state", [*STATES, DeviceState.ERROR], ids=name)
def test_error_left_only_by_reset(migration: MigrationRegion, actor: MigrationActor, state: DeviceState) -> None:
    """In the error state, writing any of the five states, or 110b, is refused, twice, and the error state remains."""
    enter_error(migration, actor)
    for time in ("once", "twice"):
        outcome = migration.try_write(DEVICE_STATE, state)
        checks.refused(f"writing {name(state)} {time} in the error state", outcome)
        in_state(migration, "afterwards", ERROR)
