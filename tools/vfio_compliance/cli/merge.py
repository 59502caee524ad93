# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance merge RUN...`: what became of each rule in many runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.screen import complain
from ..results.verdict import EXIT_BROKEN
from .checkout import A_RUN, Complaint, summary_of, width
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "merge",
        help="many runs as one table of rules by runs: kernels, drivers, hosts",
        description="One table of rules by runs, whatever kernels, drivers and hosts they are of. A column is named by "
        "the profile and the kernel, and by what of driver and host is needed to tell it from the others. Of each run "
        "the release of the kernel, the driver, the host and the verdict are told below.",
        epilog="Exit code: the worst of all runs, in the order 1 fail, 3 hang, 2 broken, 4 nothing judged, 0. A run "
        "that cannot be read is named, with the cause, and counts as 2; the others are shown all the same.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help=f"{A_RUN}; or a folder with such folders in it"
    )
    parser.add_argument("--all", action="store_true", help="show the rules that pass everywhere, too")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Show the table; the worst exit code of all runs."""
    from ..results.merging import MergedRun, merged, named
    from ..results.writers import merged as writer

    runs: list[MergedRun] = []
    places = [place for given in arguments.runs for place in _places(given)]
    for place in places:
        try:
            runs.append(merged(str(place), summary_of(place)))
        except Complaint as error:
            complain(str(error))
    if not runs:
        return EXIT_BROKEN
    runs, unread = named(runs), len(places) - len(runs)
    print(writer.render(runs, unread, width(), whole=arguments.all))
    return writer.worst(runs, unread)


def _places(given: Path) -> list[Path]:
    """The folders of all runs below a folder that is none itself; else what was given."""
    from ..results.journal import NAME

    if not given.is_dir() or (given / NAME).exists():
        return [given]
    return [path.parent for path in sorted(given.rglob(NAME))] or [given]
