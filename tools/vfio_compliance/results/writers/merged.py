# SPDX-License-Identifier: GPL-2.0-only
"""Many runs as text: a table of rules by runs, what each run is, and the worst exit code of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...common.words import counted
from ...common.wrap import wrap
from ..matrix import render as table
from ..merging import MergedRun
from ..verdict import EXIT_BROKEN, worst_exit


def worst(runs: Sequence[MergedRun], unread: int) -> int:
    """Exit code of all runs together; one that could not be read counts as not judged."""
    return worst_exit([*(run.exit_code for run in runs), *([EXIT_BROKEN] * bool(unread))])


def render(runs: Sequence[MergedRun], unread: int, width: int, *, whole: bool = False) -> str:
    """``runs`` have their names; ``unread``: how many more were asked for."""
    return "\n".join(_lines(runs, unread, width, whole))


def _lines(runs: Sequence[MergedRun], unread: int, width: int, whole: bool) -> Iterator[str]:
    yield from table((run.column for run in runs), width, whole=whole, what="run")[1:]
    for run in runs:
        yield ""
        yield f"{run.column.target}: {run.column.title}"
        for name, text in (
            ("run", run.place),
            ("release", run.facts["kernel"]),
            ("driver", run.driver),
            ("host", run.facts.get("host name", "unknown")),
            ("time", run.time),
            ("verdict", f"{run.verdict} (exit code {run.exit_code})"),
        ):
            yield from wrap(f"  {name:7}  ", text, width)
    yield ""
    missing = f", {unread} not readable" if unread else ""
    yield f"{counted(len(runs) + unread, 'run')}{missing}: exit code {worst(runs, unread)}"
