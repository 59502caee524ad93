# SPDX-License-Identifier: GPL-2.0-only
"""``python -m refdriver``: serve the reference device to vfio-user clients, in the foreground."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from .defects import DEFECTS, unknown_defects
from .manner import CHOICES, NUMBERS, Manner, option
from .options import DATA_SECTIONS, DIRTY_SCOPES, OFFSETS, PRE_COPY, Options

_DEFAULT = Options()


def main(arguments: list[str] | None = None) -> int:
    """Run the server. 0 when it was told to end (or its one client left), 2 when it could not start."""
    chosen = _parser().parse_args(arguments)
    if chosen.list_defects:
        width = max(map(len, DEFECTS))
        for name, line in DEFECTS.items():
            print(f"{name:{width}}  {line}")
        return 0
    section = chosen.section
    options = Options(
        memory=chosen.memory,
        section=section,
        buffer=min(_DEFAULT.buffer, section) if chosen.buffer is None else chosen.buffer,
        offset=chosen.offset,
        data_section=chosen.data_section,
        pre_copy=chosen.pre_copy,
        slow=chosen.slow,
        quiet=chosen.quiet == "yes",
        refuse_undrawn=chosen.undrawn == "refuse",
        refuse_read_only=chosen.read_only == "refuse",
        dirty_scope=chosen.dirty_scope,
        reset_keeps=chosen.reset == "keep",
        manner=Manner(*(getattr(chosen, field) for field in Manner._fields)),
        defects=frozenset(chosen.defect),
    )
    problems = unknown_defects(chosen.defect) + options.problems()
    if (chosen.socket_path is None) == (chosen.fd is None):
        problems.append("give either --socket-path or --fd")
    for problem in problems:
        print(f"refdriver: {problem}", file=sys.stderr)
    if problems:
        return 2

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)

    from . import server  # after the cheap answers
    from .device import Device

    device = Device(options)
    try:
        if chosen.fd is not None:
            server.serve_client(device, server.connected(chosen.fd), chosen.verbose)
        else:
            server.serve_forever(device, chosen.socket_path, chosen.verbose)
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
    parser.add_argument("--socket-path", metavar="PATH", help="listen at this UNIX socket")
    parser.add_argument("--fd", type=int, metavar="N", help="serve this connected socket, then end")
    parser.add_argument("--defect", action="append", default=[], metavar="NAME", help="break one rule; may be repeated")
    parser.add_argument("--list-defects", action="store_true", help="show the defects there are, and end")
    parser.add_argument(
        "--data-section",
        choices=DATA_SECTIONS,
        default="mapped",
        help="what of the data section can be mapped: all (default), none, the first half, some areas",
    )
    parser.add_argument(
        "--memory", type=int, default=_DEFAULT.memory, metavar="BYTES", help="device memory (default: %(default)s)"
    )
    parser.add_argument(
        "--section", type=int, default=_DEFAULT.section, metavar="BYTES", help="data section (default: %(default)s)"
    )
    parser.add_argument(
        "--buffer",
        type=int,
        metavar="BYTES",
        help=f"largest buffer (default: {_DEFAULT.buffer}, or the section when that is less)",
    )
    parser.add_argument(
        "--offset",
        choices=OFFSETS,
        default="fixed",
        help="where in the data section buffers lie (default: fixed, at its start)",
    )
    parser.add_argument(
        "--pre-copy",
        choices=PRE_COPY,
        default="data",
        help="how pre-copy offers the device memory: once (default), never, again and again, with pauses",
    )
    parser.add_argument(
        "--slow",
        type=int,
        default=_DEFAULT.slow,
        metavar="MICROSECONDS",
        help="time that it takes to make a buffer available, or to consume one (default: %(default)s)",
    )
    parser.add_argument(
        "--quiet", choices=("no", "yes"), default="no", help="whether COUNTER is left out of the state (default: no)"
    )
    parser.add_argument(
        "--undrawn",
        choices=("accept", "refuse"),
        default="accept",
        help="transitions that the interface does not draw (default: accept)",
    )
    parser.add_argument(
        "--read-only",
        choices=("ignore", "refuse"),
        default="ignore",
        help="writes to read-only registers (default: ignore)",
    )
    parser.add_argument(
        "--dirty-scope",
        choices=DIRTY_SCOPES,
        default="written",
        help="which pages are dirty: those written or pinned (default), every mapped one, the former for ever",
    )
    parser.add_argument(
        "--reset",
        choices=("clear", "keep"),
        default="clear",
        help="what a reset does to the device memory and the SCRATCH registers (default: clear)",
    )
    for field, choice in CHOICES.items():
        parser.add_argument(
            option(field), choices=choice.values, default=choice.values[0], help=f"{choice.help} (default: %(default)s)"
        )
    for field, number in NUMBERS.items():
        parser.add_argument(
            option(field),
            type=int,
            default=number.default,
            metavar=number.unit,
            help=f"{number.help} (default: %(default)s)",
        )
    parser.add_argument("--verbose", action="store_true", help="tell why a client was dropped")
    return parser


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
