# SPDX-License-Identifier: GPL-2.0-only
"""From the files of traces to what is found in them."""

from __future__ import annotations

from pathlib import Path

from .sources import load
from .trace import TraceError
from .verdict import Result, judge


def judge_files(trace: Path, source: Path | None = None, region: int | None = None) -> Result:
    """Judge the client of a trace, or of the journal of a run, by the clauses that are a client's to keep.

    ``source`` is the trace of the client that saved what this one restored, ``region`` the index of the migration
    region where a trace does not say. Raises TraceError for a file that is none, and for a source that gives nothing.
    """
    saved = None
    if source:
        given = judge(load(source, region))
        if given.damage:
            raise TraceError(given.damage)
        saved = given.saved
        if saved is None:
            raise TraceError(f"{source}: nothing was saved in it")
    return judge(load(trace, region), saved)
