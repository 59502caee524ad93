# SPDX-License-Identifier: GPL-2.0-only
"""States from files that the device of a run is given at its end."""

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


def kept_states(paths: Sequence[Path], profile: Profile) -> list[StateFile]:
    """The files, which were checked to their last byte. Raises StateError."""
    return [StateFile(path, profile.limits.largest_state) for path in paths]


def give_states(opened: Session, states: list[StateFile]) -> None:
    """Give the device each of them; the journal says what came of that."""
    for state in states:
        identity = state.manifest.identity
        whose = identity.get("driver") or identity.get("name") or "an unknown driver"
        version = identity.get("driver version") or identity.get("driver srcversion") or ""
        of = f"{whose} {version}".strip() + f" (saved {identity.get('saved', 'at an unknown time')}, {state.path.name})"
        opened.transport.tracer.begin(_NAME.format(state.path.name))
        opened.transport.tracer.enter(BODY)
        try:
            restored = give(opened, state)
        except (DeviceError, NotReached, StateError) as error:
            opened.tell(events.State(of, "not tried", str(error)))
        else:
            given = restored.given
            opened.tell(events.State(of, given.answer, given.seen, tuple(restored.differs)))
        finally:
            state.close()
