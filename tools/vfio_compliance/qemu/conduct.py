# SPDX-License-Identifier: GPL-2.0-only
"""How the QEMUs kept the clauses for clients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..clients.command import judge_files
from ..clients.importers.command import import_qemu, import_strace
from ..clients.sources import migration_region
from ..clients.trace import TraceError
from ..clients.verdict import Result

#: How a QEMU is recorded: by strace, or only by its own trace events.
STRACE, EVENTS = "strace", "trace events"

#: File name endings of strace's output, of QEMU's trace events, and of a trace made from either.
STRACE_FILE, EVENTS_FILE, TRACE_FILE = ".strace", ".log", ".trace"

_NOTHING: Final = "nothing that it did to a device shows which region is the migration region"


@dataclass
class Recording:
    """The files of one QEMU, by the beginning of their names: source-1."""

    name: str
    #: The QEMU whose state this one loaded; empty for none.
    source: str = ""


@dataclass
class Conduct:
    """One QEMU, judged."""

    name: str
    source: str
    #: STRACE or EVENTS.
    by: str
    #: How often each clause was kept, and broken.
    kept: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    #: Why a clause could not be judged, for each such clause.
    undecided: dict[str, list[str]] = field(default_factory=dict)
    #: The first offences, a sentence each.
    offences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: Why only a part of it, or nothing, could be judged.
    damage: str = ""


def judge(recordings: Sequence[Recording], by: str, folder: Path) -> Iterator[Conduct]:
    """Judge each QEMU by its files in ``folder``, where its trace goes, too. A target is compared with its source.

    A faulty file affects only the report on its QEMU.
    """
    for each in recordings:
        conduct = Conduct(each.name, each.source, by)
        trace = folder / (each.name + TRACE_FILE)
        try:
            trace.unlink(missing_ok=True)  # of another call
            if by == STRACE:
                imported = import_strace(folder / (each.name + STRACE_FILE), trace)
            else:
                imported = import_qemu(folder / (each.name + EVENTS_FILE), trace)
            conduct.notes = imported.notes
            if migration_region(trace) is None:
                conduct.damage = _NOTHING
            else:
                _fill(conduct, _judged(trace, folder / (each.source + TRACE_FILE) if each.source else None))
        except (TraceError, OSError) as error:
            conduct.damage = str(error)
        yield conduct


def _judged(trace: Path, source: Path | None) -> Result:
    """With what the source saved, if its trace has that. Raises TraceError."""
    if source is not None:
        try:
            return judge_files(trace, source)
        except TraceError:
            pass  # what was saved is unknown then, and no clause is kept or broken by it
    return judge_files(trace)


def _fill(conduct: Conduct, result: Result) -> None:
    conduct.kept = {clause: times for clause, times in result.kept.items() if times}
    conduct.broken = {clause: times for clause, times in result.broken.items() if times}
    conduct.undecided = {clause: [*reasons] for clause, reasons in result.unclear.items() if reasons}
    conduct.offences = [
        f"{found.offence.clause} at access {found.offence.access}: "
        f"expected {found.offence.expected}, seen {found.offence.seen}"
        for found in result.found
    ]
    conduct.notes += [*result.source.notes, *result.remarks]
    conduct.damage = result.damage
