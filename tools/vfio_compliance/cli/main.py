# SPDX-License-Identifier: GPL-2.0-only
"""The program vfio-compliance."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Sequence

from .. import __version__
from ..common.screen import complain, give_up
from ..results.verdict import EXIT_BROKEN
from . import (
    bundle,
    check,
    diff,
    explain,
    import_,
    index,
    judge,
    merge,
    proxy,
    qemu,
    replay,
    report,
    repro,
    restore,
    run,
    save,
    verify,
    vm,
    waive,
)
from . import list as listing
from .checkout import Complaint
from .parser import Parser

#: In the order in which --help has them.
_COMMANDS = (
    *(run, report, repro, replay, diff, merge, index, waive, bundle, verify, listing, explain, check, save, restore),
    *(judge, proxy, import_, qemu, vm),
)

#: What printing fails with where the reader, the terminal or the room on the disk is gone.
_UNSEEN = (errno.EPIPE, errno.EIO, errno.ENOSPC)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal has every letter
    try:
        arguments = parser().parse_args(argv)
        code: int = arguments.carry_out(arguments)
        sys.stdout.flush()
    except Complaint as error:
        complain(str(error))
        return EXIT_BROKEN
    except OSError as error:
        if error.errno not in _UNSEEN or error.filename is not None:
            raise
        if error.errno != errno.EPIPE:
            complain(f"cannot show the result: {error.strerror}")
        give_up(sys.stdout)
        return EXIT_BROKEN
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def parser() -> Parser:
    """The parser of the program, with those of all commands."""
    program = Parser(
        prog="vfio-compliance",
        description="Judge a VFIO migration driver, rule by rule.",
        epilog="exit codes: 0 all held, 1 a rule was broken, 2 not everything could be judged (also when interrupted), "
        "3 a call hung, 4 nothing was judged",
    )
    program.add_argument("--version", action="version", version=f"vfio-compliance {__version__}")
    commands = program.add_subparsers(metavar="COMMAND")
    program.set_defaults(carry_out=lambda _: program.error("the following arguments are required: COMMAND"))
    for command in _COMMANDS:
        command.add(commands)
    return program
