# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance index RUN...`: many runs as one page, with links to their reports."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.screen import complain
from .checkout import Complaint
from .many import EXIT_CODES, RUNS
from .many import runs as all_of
from .parser import Commands

if TYPE_CHECKING:
    from ..results.summary import Summary


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "index",
        help="show many runs as one page of rules by runs, with links to their reports",
        description="Write one page of rules by runs, the rules on which the runs differ first. Each verdict links to "
        "its rule in the report of the run: report.html in the run's folder, or, for a bundle, the file with .html "
        "added to its name. --reports writes these reports.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=RUNS)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page")
    parser.add_argument("--reports", action="store_true", help="also write the report of each run")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Write the page; the worst exit code of all runs."""
    from ..results.journal import NAME
    from ..results.merging import merged, named
    from ..results.reports import ReportError, put
    from ..results.writers import merged as writer
    from ..results.writers.html.index import Linked, link, render

    if arguments.out.name == NAME or arguments.out.is_dir():
        raise Complaint(f"{arguments.out}: the page cannot have that name; name another file with --out")
    found, reports, unread = [], [], []
    for place, summary in all_of(arguments.runs):
        if isinstance(summary, Complaint):
            complain(str(summary))
            unread.append(str(summary))
            continue
        report = _report(place)
        if arguments.reports:
            _write(report, summary)
        found.append(merged(str(place), summary))
        reports.append(link(report, arguments.out) if report.is_file() else "")
    runs = named(found)
    page = render([Linked(run, report) for run, report in zip(runs, reports, strict=True)], unread)
    try:
        put(arguments.out, page, "the page")
    except ReportError as error:
        raise Complaint(str(error)) from None
    return writer.worst(runs, len(unread))


def _report(place: Path) -> Path:
    """Where the report of a run is, or would be."""
    from ..results.journal import NAME

    if place.name == NAME:
        return place.with_name("report.html")
    return place / "report.html" if place.is_dir() else place.with_name(f"{place.name}.html")


def _write(path: Path, summary: Summary) -> None:
    """If a report cannot be written, the page is made without it."""
    from ..results.reports import ReportError, Wanted, write

    try:
        write(Wanted("html", path), summary)
    except ReportError as error:
        complain(str(error))
