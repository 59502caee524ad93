# SPDX-License-Identifier: GPL-2.0-only
"""A run that ended before its time, read back from its journal, so that it can go on."""

from __future__ import annotations

from pathlib import Path

from ..results import journal
from ..results.events import Closed, Environment, Event, Plan, Run
from ..results.reading import summarise


class RunError(Exception):
    """The run could not be started; the message says why."""


def begun(path: Path) -> list[Event]:
    """All events of a run that can be gone on with. Raises RunError for one that cannot, JournalError."""
    events: list[Event] = []
    for number, line in enumerate(journal.read(path), 1):
        if isinstance(line, journal.Damaged):
            raise RunError(f"{path}: line {number} is damaged: {line.why}; nothing is judged on top of it: run anew")
        if isinstance(line, journal.Recorded) and line.event:
            events.append(line.event)
    if not any(isinstance(event, Plan) for event in events):
        raise RunError(f"{path}: the run ended before it had a plan: remove the folder, and run anew")
    if isinstance(events[-1], Closed):
        result = summarise(journal.read(path))
        if not result.stops and all(case.over for case in result.cases.values()):
            raise RunError(f"{path.parent}: the run came to its end; vfio-compliance report {path.parent} shows it")
    return events


def made_with(path: Path) -> tuple[Run, Environment]:
    """What a run is, and what it was made with when it was last gone on with. Raises RunError, JournalError."""
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
        raise RunError(f"{path}: the journal does not say what the run was made with: run anew")
    return run, found
