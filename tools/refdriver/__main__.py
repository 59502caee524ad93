# SPDX-License-Identifier: GPL-2.0-only
"""``python -m refdriver``: serve the reference device to vfio-user clients, in the foreground."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from .options import add_options, from_arguments
from .parts import as_it_is


def main(arguments: list[str] | None = None) -> int:
    """Run the server. 0 if it was ended by a signal (or its one client left), 2 if it could not start."""
    chosen = _parser().parse_args(arguments)
    if chosen.list_defects:
        from .defects import DEFECTS

        width = max(map(len, DEFECTS))
        for name, says in DEFECTS.items():
            print(f"{name:{width}}  {says}")
        return 0
    options, made, problems = from_arguments(chosen), as_it_is, []
    if chosen.defect:
        from .defects import broken, unknown_defects

        made, problems = broken(chosen.defect), unknown_defects(chosen.defect)
    problems += options.problems()
    if (chosen.socket_path is None) == (chosen.fd is None):
        problems.append("give either --socket-path or --fd")
    for problem in problems:
        print(f"refdriver: {problem}", file=sys.stderr)
    if problems:
        return 2

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)

    from .driver import build  # not needed by the cheap answers above
    from .socket import server

    driver = build(options, made)
    try:
        if chosen.fd is not None:
            server.serve_client(driver, server.connected(chosen.fd), chosen.verbose)
        else:
            server.serve_forever(driver, chosen.socket_path, chosen.verbose)
    except server.CannotServe as problem:
        print(f"refdriver: {problem}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="refdriver",
        description="The reference VFIO device with migration interface version 1, served over vfio-user.",
        allow_abbrev=False,
    )
    parser.add_argument("--socket-path", metavar="PATH", help="listen on this UNIX socket")
    parser.add_argument("--fd", type=int, metavar="N", help="serve this connected socket, then exit")
    parser.add_argument("--defect", action="append", default=[], metavar="NAME", help="break one rule; may be repeated")
    parser.add_argument("--list-defects", action="store_true", help="list the defects and exit")
    add_options(parser)
    parser.add_argument("--verbose", action="store_true", help="say why a client was dropped")
    return parser


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
