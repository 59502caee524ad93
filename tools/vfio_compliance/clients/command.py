# SPDX-License-Identifier: GPL-2.0-only
"""Judges the files of traces."""

from __future__ import annotations

from pathlib import Path

from .beside import by_cases
from .sources import load, migration_region
from .trace import TraceError
from .verdict import Result, judge


def judge_files(
    trace: Path,
    source: Path | None = None,
    region: int | None = None,
    device: int | None = None,
    run: Path | None = None,
) -> Result:
    """Judge the client of a trace, or of the journal of a run, by the clauses for clients.

    ``source`` is the trace of the client that saved what this one restored; if only one of the two says which region
    is the migration region, that holds for both. ``region`` is its index if neither says, ``device`` the number of the
    device if a trace has several. ``run`` is the folder of this program's run from which the trace was recorded: its
    cases are judged one by one, and may break what they declare. Raises TraceError for a file that is not a trace, for
    a source in which nothing was saved, and for the wrong run.
    """
    saved = hint = None
    if source:
        given = judge(load(source, region, hint=migration_region(trace)))
        if given.damage:
            raise TraceError(given.damage)
        saved, hint = given.saved, given.source.migration
        if saved is None:
            raise TraceError(f"{source}: nothing is saved in it")
    loaded = load(trace, region, device, hint)
    if run:
        loaded = by_cases(loaded, load(trace, region, device, hint), load(run), run)
    return judge(loaded, saved)
