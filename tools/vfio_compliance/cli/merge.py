# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance merge RUN...`: what became of each rule in many runs."""

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
        help="many runs as one table of rules by runs: kernels, drivers, hosts",
        description="One table of rules by runs, whatever kernels, drivers and hosts they are of. A column is named by "
        "the profile and the kernel, and by what of driver and host is needed to tell it from the others. Of each run "
        "the release of the kernel, the driver, the host and the verdict are told below.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=RUNS)
    parser.add_argument("--all", action="store_true", help="show the rules that pass everywhere, too")
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
