# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance merge RUN...`: the verdict on each rule in many runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.screen import complain
from ..results.verdict import EXIT_BROKEN
from .checkout import Complaint, width
from .many import EXIT_CODES, RUNS
from .many import runs as all_of
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "merge",
        help="show many runs as one table of rules by runs: kernels, drivers, hosts",
        description="Show one table of rules by runs, of any kernels, drivers and hosts. A column is headed by the "
        "profile and the kernel, and by the driver and host if columns would look alike without. Below the table, each "
        "run is listed with the release of its kernel, its driver, its host and its verdict.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=RUNS)
    parser.add_argument("--all", action="store_true", help="also show the rules that pass everywhere")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Show the table; the worst exit code of all runs."""
    from ..results.merging import MergedRun, merged, named
    from ..results.writers import merged as writer

    runs: list[MergedRun] = []
    unread = 0
    for place, found in all_of(arguments.runs):
        if isinstance(found, Complaint):
            complain(str(found))
            unread += 1
        else:
            runs.append(merged(str(place), found))
    if not runs:
        return EXIT_BROKEN
    runs = named(runs)
    print(writer.render(runs, unread, width(), whole=arguments.all))
    return writer.worst(runs, unread)
