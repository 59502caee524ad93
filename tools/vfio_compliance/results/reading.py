# SPDX-License-Identifier: GPL-2.0-only
"""From the lines of a journal to a summary."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Final

from ..common.words import counted
from .about import began as day
from .events import Closed, Resumed, Run
from .failure import Stop
from .journal import GO_ON, Cut, Damaged, JournalError, Line, Recorded
from .replay import Replay
from .settle import settle
from .summary import Summary

#: How many damaged lines are reported one by one.
_MOST_DAMAGED: Final = 100


def summarise(lines: Iterable[Line], today: datetime.date | None = None) -> Summary:
    """Summarise a journal, complete or not. ``today``, by default the day of the run, decides if waivers have expired.

    A damaged line, or a missing end, is one more reason why not everything could be judged. Raises JournalError if the
    first line is not that of a run.
    """
    rest = iter(lines)
    first = next(rest, Damaged("nothing"))
    if not isinstance(first, Recorded) or not isinstance(first.event, Run):
        raise JournalError("the journal does not begin with a run")
    began = since = last = first.time
    seconds = 0.0
    summary = Summary(first.event, began)
    replay = Replay(summary)
    cut, damaged = "", 0
    for number, line in enumerate(rest, 2):
        if isinstance(line, Cut):
            cut = line.why
        elif isinstance(line, Damaged):
            damaged += 1
            if damaged <= _MOST_DAMAGED:
                summary.stops.append(Stop(f"line {number} of the journal is damaged: {line.why}", "run again"))
        else:
            if isinstance(line.event, Resumed):  # the time between does not count
                seconds, since = seconds + last - since, line.time
            if not isinstance(line.event, Closed):
                last = line.time
            if line.event:
                replay.take(line.event)
    if damaged > _MOST_DAMAGED:
        summary.stops.append(Stop(f"{counted(damaged - _MOST_DAMAGED, 'more line')} of it are damaged", "run again"))
    replay.end()
    for rule in {case.rule for case in summary.cases.values()} - summary.rules.keys():
        summary.stops.append(Stop(f"the journal has cases of {rule!r}, and no such rule", "run again"))
    if cut and not summary.stops:
        summary.stops.append(Stop(cut, GO_ON))
    summary.seconds = seconds + last - since
    settle(summary, today or day(summary).date())
    return summary
