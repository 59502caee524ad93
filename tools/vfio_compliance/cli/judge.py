# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance judge TRACE`: does this client keep the clauses that are a client's to keep?"""

from __future__ import annotations

import argparse
from pathlib import Path

from .checkout import Complaint, width
from .parser import Commands

_EPILOG = """\
exit codes: 0 every clause that was put to the test was kept, 1 one was broken, 2 the file could not be read to its
end, 4 no clause was put to the test. A clause that was not exercised, or that the trace cannot tell, is not a pass.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "judge",
        help="judge a client by a trace of what it did, or by the journal of a run",
        description="Judge a client of a migration device by what it did to the migration region.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("trace", type=Path, help="a trace (see vfio-compliance proxy), or the folder of a run")
    option("--source", type=Path, help="trace of the client that saved what this one restored: what it saved last")
    option("--region", type=int, metavar="N", help="index of the migration region, where no trace says")
    option(
        "--device", type=int, metavar="N", help="number of the device, where the trace has several with such a region"
    )
    option(
        "--run",
        type=Path,
        metavar="FOLDER",
        help="the run of this program that the trace was recorded of: what its cases break on purpose is no offence",
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Judge the client; exit code as of a run."""
    from ..clients.command import judge_files
    from ..clients.report import render
    from ..clients.trace import TraceError

    try:
        result = judge_files(arguments.trace, arguments.source, arguments.region, arguments.device, arguments.run)
    except TraceError as error:
        raise Complaint(str(error)) from None
    print(render(result, width()))
    return result.exit_code
