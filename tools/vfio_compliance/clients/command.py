# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance judge TRACE`: does this client keep the clauses that are a client's to keep?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..results.verdict import EXIT_BROKEN
from .report import render
from .sources import load
from .trace import TraceError
from .verdict import judge

_EPILOG = """\
exit codes: 0 every clause that was put to the test was kept, 1 one was broken, 2 the file could not be read to its
end, 4 no clause was put to the test. A clause that was not exercised is not a pass.
"""


def main(argv: list[str], width: int) -> int:
    """Carry out the command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="vfio-compliance judge",
        description="Judge a client of a migration device by what it did to the migration region.",
        epilog=_EPILOG,
    )
    parser.add_argument("trace", type=Path, help="a trace (see vfio-compliance proxy), or the folder of a run")
    parser.add_argument(
        "--source", type=Path, help="trace of the client that saved what this one restored: what it saved last"
    )
    parser.add_argument("--region", type=int, help="index of the migration region, where the trace does not say")
    arguments = parser.parse_args(argv)
    try:
        saved = None
        if arguments.source:
            given = judge(load(arguments.source, arguments.region))
            if given.damage:
                raise TraceError(given.damage)
            saved = given.saved
            if saved is None:
                raise TraceError(f"{arguments.source}: nothing was saved in it")
        result = judge(load(arguments.trace, arguments.region), saved)
    except TraceError as error:
        print(f"vfio-compliance: {error}", file=sys.stderr)
        return EXIT_BROKEN
    print(render(result, width))
    return result.exit_code
