# SPDX-License-Identifier: GPL-2.0-only
"""What many tests of version 1 do and judge: entering a state, and whether the device has reached it."""

from __future__ import annotations

from ..run.checks import NotApplicable, Unjudged, about, accepted, one_of
from ..uapi.migration_v1 import DEVICE_STATE, DeviceState
from .actor import MigrationActor
from .region import Change, MigrationRegion
from .states import Transition, drawn_from, name


def enter_error(migration: MigrationRegion, actor: MigrationActor, state: DeviceState = DeviceState.STOP) -> None:
    """Make the device fail while ``state`` is written. Raises Unjudged if that does not lead to the error state."""
    actor.provoke_error()
    migration.try_set_state(state)
    if not migration.in_error():
        raise Unjudged("the provoked failure did not lead to the error state")


def refuse(migration: MigrationRegion, actor: MigrationActor) -> None:
    """Make the device refuse a documented transition, or running if none is documented, and keep its state.

    Raises Unjudged if it does not, which other rules judge.
    """
    before = migration.state()
    actor.provoke_refusal()
    change = migration.change_to(next(iter(drawn_from(before)), DeviceState.RUNNING))
    if change.outcome.ok or change.now != before:
        raise Unjudged(f"the provoked refusal did not leave {name(before)} as it was: {change}")


def need_data(migration: MigrationRegion, seconds: float = 0.0) -> None:
    """Check that data is offered before ``seconds`` have passed. Raises NotApplicable if none is."""
    if not migration.wait_for_data(seconds):
        raise NotApplicable("the device offers no data, or no more, in this state")


def in_state(migration: MigrationRegion, when: str, *allowed: DeviceState) -> None:
    """device_state, read ``when``, shows an allowed state."""
    one_of(f"reading device_state {when}", migration.state(), allowed, name)


def made(transition: Transition, change: Change) -> None:
    """The write was accepted in full, and the device is in the new state."""
    what = f"writing {name(transition.after)} in {name(transition.before)}"
    with about(change.call):
        accepted(what, change.outcome, DEVICE_STATE.width)
        one_of(f"reading device_state after {what}", change.now, [transition.after], name)


def goes_to(migration: MigrationRegion, state: DeviceState) -> None:
    """The driver accepts ``state``, and the device reaches it."""
    transition = Transition(migration.state(), state)
    made(transition, migration.change_to(state))


def safe(what: str, change: Change, transition: Transition) -> None:
    """Where the specification is silent: the new state if the write was accepted, else the old or error state."""
    allowed = [transition.after] if change.outcome.ok else [transition.before, DeviceState.ERROR]
    with about(change.call):
        one_of(f"reading device_state after {what}", change.now, allowed, name)
