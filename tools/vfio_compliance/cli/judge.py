# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance judge TRACE`: does this client keep the clauses that a client has to keep?"""

from __future__ import annotations

import argparse
from pathlib import Path

from .checkout import Complaint, width
from .parser import Commands

_EPILOG = """\
exit codes: 0 every clause that was exercised was kept, 1 a clause was broken, 2 the file could not be read to its end,
4 no clause was exercised. A clause that was not exercised, or that the trace cannot decide, does not count as kept.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "judge",
        help="judge a client by a trace, or by the journal of a run",
        description="Judge a client of a migration device by its accesses to the migration region.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("trace", type=Path, help="a trace (see vfio-compliance proxy), or the folder of a run")
    option(
        "--source",
        type=Path,
        help="trace of the client that saved the state that this one restored; its last save counts",
    )
    option("--region", type=int, metavar="N", help="index of the migration region, if the trace does not say")
    option("--device", type=int, metavar="N", help="number of the device, if several in the trace have such a region")
    option(
        "--run",
        type=Path,
        metavar="FOLDER",
        help="the run of this program that the trace was recorded from: what its cases break on purpose does not count",
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Judge the client; the exit code is that of a run."""
    from ..clients.command import judge_files
    from ..clients.report import render
    from ..clients.trace import TraceError

    try:
        result = judge_files(arguments.trace, arguments.source, arguments.region, arguments.device, arguments.run)
    except TraceError as error:
        raise Complaint(str(error)) from None
    print(render(result, width()))
    return result.exit_code
