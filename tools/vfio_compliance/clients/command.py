# SPDX-License-Identifier: GPL-2.0-only
"""From the files of traces to what is found in them."""

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
    """Judge the client of a trace, or of the journal of a run, by the clauses that are a client's to keep.

    ``source`` is the trace of the client that saved what this one restored; where only one of the two says which region
    is the migration region, it is that of the other, too. ``region`` is its index where none says, ``device`` the
    number of the device where a trace has several. ``run`` is the folder of the run of this program that the trace was
    recorded of: its cases are judged one by one, and may break what they say they break. Raises TraceError for a file
    that is none, for a source that gives nothing, and for a run that is another.
    """
    saved = hint = None
    if source:
        given = judge(load(source, region, hint=migration_region(trace)))
        if given.damage:
            raise TraceError(given.damage)
        saved, hint = given.saved, given.source.migration
        if saved is None:
            raise TraceError(f"{source}: nothing was saved in it")
    loaded = load(trace, region, device, hint)
    if run:
        loaded = by_cases(loaded, load(trace, region, device, hint), load(run), run)
    return judge(loaded, saved)
