# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance proxy`: record what any client does to any vfio-user server, as a trace that can be judged."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..results.verdict import EXIT_BROKEN, EXIT_OK
from .parser import Commands

_EPILOG = """\
The client connects to A in place of B. Clients are served one after the other, and all go into the same trace; SIGINT
and SIGTERM end it. Accesses to regions, resets, DMA maps and unmaps and dirty page requests are recorded. Accesses
through shared memory and mapped regions bypass a proxy, so they are not in the trace.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "proxy",
        help="record a client of a vfio-user server as a trace",
        description="Record what a client does to a vfio-user server, for vfio-compliance judge.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("--listen", required=True, metavar="A", help="path of the socket for the client")
    option("--connect", required=True, metavar="B", help="path of the server's socket")
    option("--trace", required=True, type=Path, metavar="FILE", help="new file for the trace")
    option("--once", action="store_true", help="end when the first client has left")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Record until a signal arrives, or, with --once, until the first client has left."""
    from ..clients.record import record
    from ..clients.trace import TraceError
    from ..transport import SetupError

    try:
        record(arguments.listen, arguments.connect, arguments.trace, arguments.once, _say)
    except SetupError as error:
        _say(f"{error.message} ({error.remedy})")
        return EXIT_BROKEN
    except TraceError as error:
        _say(str(error))
        return EXIT_BROKEN
    except OSError as error:
        _say(f"cannot listen on {arguments.listen}: {error.strerror}")
        return EXIT_BROKEN
    return EXIT_OK


def _say(line: str) -> None:
    print(f"vfio-compliance proxy: {line}", file=sys.stderr, flush=True)
