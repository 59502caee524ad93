# SPDX-License-Identifier: GPL-2.0-only
"""A run that ended early, read back from its journal, so that it can continue."""

from __future__ import annotations

from pathlib import Path

from ..results import journal
from ..results.events import Closed, Environment, Event, Plan, Run
from ..results.reading import summarise


class RunError(Exception):
    """The run could not be started; the message says why."""


def begun(path: Path) -> list[Event]:
    """All events of a run that can be continued. Raises RunError if it cannot, JournalError."""
    events: list[Event] = []
    for number, line in enumerate(journal.read(path), 1):
        if isinstance(line, journal.Damaged):
            raise RunError(f"{path}: line {number} is damaged: {line.why}; it cannot be continued: start a new run")
        if isinstance(line, journal.Recorded) and line.event:
            events.append(line.event)
    if not any(isinstance(event, Plan) for event in events):
        raise RunError(f"{path}: the run ended before it had a plan: remove the folder, and start a new run")
    if isinstance(events[-1], Closed):
        result = summarise(journal.read(path))
        if not result.stops and all(case.over for case in result.cases.values()):
            raise RunError(f"{path.parent}: the run is complete; vfio-compliance report {path.parent} shows it")
    return events


def made_with(path: Path) -> tuple[Run, Environment]:
    """What a run is, and what it was made with when it was last continued. Raises RunError, JournalError."""
    run: Run | None = None
    found: Environment | None = None
    for line in journal.read(path):
        if isinstance(line, journal.Recorded):
            match line.event:
                case Run():
                    run = line.event
                case Environment():
                    found = line.event
    if run is None or found is None:
        raise RunError(f"{path}: the journal does not say what the run was made with: start a new run")
    return run, found
