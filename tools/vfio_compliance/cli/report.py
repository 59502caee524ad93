# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance report FOLDER`: show the result of a run again, in any format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..results.writers import FORMATS
from .checkout import A_RUN, Complaint, summary_of, width
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="show the result of a run again, from its journal")
    parser.add_argument("run", type=Path, metavar="RUN", help=A_RUN)
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help=f"{', '.join(FORMATS)} (default {FORMATS[0]})"
    )
    parser.add_argument(
        "--out",
        "--output",
        dest="output",
        type=Path,
        metavar="FILE",
        help="write the report to this file, print nothing",
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Show the result; exit code of the run."""
    from ..results.journal import NAME
    from ..results.reports import ReportError, Wanted, write
    from ..results.writers import render
    from ..results.writers.terminal.printed import show_result

    result = summary_of(arguments.run)
    if arguments.output is not None:
        if arguments.output.resolve() in (arguments.run.resolve(), (arguments.run / NAME).resolve()):
            raise Complaint(f"{arguments.output}: that is the run itself; name another file with --out")
        try:
            write(Wanted(arguments.format, arguments.output), result)
        except ReportError as error:
            raise Complaint(str(error)) from None
    elif arguments.format == "terminal":
        show_result(sys.stdout, result, width())
    else:
        print(render(arguments.format, result), end="")
    return result.exit_code
