# SPDX-License-Identifier: GPL-2.0-only
"""The runs of a guest that died: their journals get the end that the guest could not write."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfio_compliance.results import journal
from vfio_compliance.results.events import Broken, Closed, End, Event, Hang, Kernel, Plan, Process, Run, Start
from vfio_compliance.results.inflight import LastCall
from vfio_compliance.results.kernel_log import INDENT
from vfio_compliance.vm import last_words
from vfio_compliance.vm.ending import Ending, How

#: Seconds in addition to a test's own within which a live run writes its next record.
_GRACE = 30.0

_REMEDY = "see the guest kernel's messages in {console}"


@dataclass(frozen=True)
class Left:
    """A run that a guest did not finish."""

    folder: Path
    #: The case under way; None for none.
    case: str | None
    #: Whether the run has a plan, so that another guest can continue it.
    planned: bool
    #: Seconds that one of its tests may take, and seconds since its last record.
    limit: float
    silent: float


def left(journals: Sequence[Path]) -> Iterator[Left]:
    """The unfinished ones. One that cannot be read is left out: the code that reports on it says so."""
    for path in journals:
        try:
            found = _unfinished(path)
        except journal.JournalError:
            continue
        if found:
            yield found


def _unfinished(path: Path) -> Left | None:
    case: str | None = None
    planned, limit, last = False, 0.0, 0.0
    event: Event | None = None
    for line in journal.read(path):
        if not isinstance(line, journal.Recorded):
            continue
        event, last = line.event, line.time
        match event:
            case Run():
                limit = event.limits.get("test", 0.0)
            case Plan():
                planned = True
            case Start():
                case = event.case
            case End() | Process():
                case = None
            case Hang() | Broken() if event.case == case:
                case = None
    if isinstance(event, Closed) or event is None:
        return None
    return Left(path.parent, case, planned, limit, max(time.time() - last, 0.0))


def where(run: Left, call: LastCall | None) -> str:
    """Where a run was: its case, and ``call``, the last one that the guest noted."""
    case = f"in {run.case}" if run.case else "outside of any case"
    return f"{case}, last call {call}" if call else case


def events(
    run: Left, end: Ending, call: LastCall | None, console: Path, decoded: Callable[[str], str] = str
) -> list[Event]:
    """The events that record how a run ended; ``decoded`` adds file and line to a place in a module."""
    text, remedy = f"{end.text}, {where(run, call)}", _REMEDY.format(console=console)
    lines = last_words.shown(end.lines, decoded)
    if end.how is How.PANIC:
        return [Kernel(tuple(lines), run.case, call), Broken(text, remedy, run.case)]
    if end.how is How.HANG:
        if run.silent < run.limit + _GRACE:
            text = f"the guest's deadline came while the run was still going, {where(run, call)}"
            return [Broken(text, "give the guest more time: --deadline", None)]
        at = "; ".join(line.strip() for line in lines if line.startswith(INDENT))
        text += f"; its kernel was {at}" if at else ""
        return [Hang(text, remedy, run.case, call, {"stack": "\n".join(end.lines)})]
    if end.how is How.RESET:
        return [Broken(text, remedy, run.case)]
    return [Broken(text, "continue it: vfio-compliance run --resume, in a guest", None)]


def write(run: Left, end: Sequence[Event]) -> str:
    """Writes the end of a run to its journal; returns the reason if that fails, or nothing."""
    try:
        with journal.Journal(run.folder / journal.NAME) as opened:
            for event in end:
                opened.write(event)
            opened.end()
    except journal.JournalError as error:
        return str(error)
    return ""
