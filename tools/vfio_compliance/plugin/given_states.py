# SPDX-License-Identifier: GPL-2.0-only
"""States from files that are restored on the device at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..common.calls import BODY
from ..device import DeviceError
from ..profiles import Profile
from ..results import events
from ..run.session import Session
from ..states.archive import StateError, StateFile
from ..states.command import NotReached, give

_NAME = "the state of {}"
#: Characters of the driver's name and of its version that a line shows.
_SHOWN = 60


def kept_states(paths: Sequence[Path], profile: Profile) -> list[StateFile]:
    """The files, checked to their last byte. Raises StateError."""
    return [StateFile(path, profile.limits.largest_state) for path in paths]


def announced(states: list[StateFile]) -> list[events.State]:
    """The result for each state as long as it has not been tried."""
    return [events.State(_whose(state), events.NOT_TRIED, "the run ended before") for state in states]


def give_states(opened: Session, states: list[StateFile]) -> None:
    """Restore each of them on the device; the journal has the results, none of which counts against the run."""
    opened.report_deaths()
    emit = opened.emit
    opened.emit = lambda event: emit(_aside(event))
    try:
        for state in states:
            _give(opened, state)
        opened.report_deaths()
    finally:
        opened.emit = emit


def _aside(event: events.Event) -> events.Event:
    match event:
        case events.Death():
            return events.Note(str(event))
        case events.Unanswered():
            return events.Note(event.message)
    return event


def _give(opened: Session, state: StateFile) -> None:
    of = _whose(state)
    opened.transport.tracer.begin(_NAME.format(state.path.name))
    opened.transport.tracer.enter(BODY)
    opened.emit(events.State(of, events.UNDER_WAY, "the run ended while it was being restored"))
    try:
        restored = give(opened, state)
    except NotReached as error:
        opened.lost |= error.hang
        opened.emit(events.State(of, "no: a call did not return" if error.hang else events.NOT_TRIED, str(error)))
    except (DeviceError, StateError) as error:
        opened.emit(events.State(of, events.NOT_TRIED, str(error)))
    else:
        given = restored.given
        opened.emit(events.State(of, given.answer, given.seen, tuple(restored.differs)))
    finally:
        state.close()


def _whose(state: StateFile) -> str:
    """Which driver it is from, when it was saved, and which file it is in."""
    identity = state.manifest.identity
    whose = identity.get("driver") or identity.get("name") or "an unknown driver"
    version = identity.get("driver version") or identity.get("driver srcversion") or ""
    driver = f"{whose[:_SHOWN]} {version[:_SHOWN]}".strip()
    return f"{driver} (saved {identity.get('saved', 'at an unknown time')[:_SHOWN]}, {state.path.name})"
