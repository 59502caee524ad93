# SPDX-License-Identifier: GPL-2.0-only
"""The program vfio-compliance."""

from __future__ import annotations

import argparse
import errno
import io
import signal
import sys
from collections.abc import Sequence

from ..common.screen import complain, give_up
from ..results.verdict import EXIT_BROKEN
from . import (
    bind,
    bundle,
    check,
    diff,
    doctor,
    explain,
    import_,
    index,
    judge,
    merge,
    probe,
    proxy,
    qemu,
    replay,
    report,
    repro,
    restore,
    run,
    save,
    selftest,
    unbind,
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
    *(doctor, probe, bind, unbind, judge, proxy, import_, qemu, vm, selftest),
)

#: The errors of printing when the reader or the terminal is gone, or the disk is full.
_UNSEEN = (errno.EPIPE, errno.EIO, errno.ENOSPC)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal has every character
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


class _Version(argparse.Action):
    """Finds out the version only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from ..rules.version import described, suite_facts

        print(f"vfio-compliance {described(suite_facts())}")
        parser.exit()


def parser() -> Parser:
    """The parser of the program, with the parsers of all commands."""
    program = Parser(
        prog="vfio-compliance",
        description="Judge a VFIO migration driver by the rules of the specification.",
        epilog="exit codes: 0 every rule that was judged held or is waived, 1 a rule was broken, a waiver is stale or "
        "the kernel warned, 2 some rules could not be judged or the run was interrupted, 3 a call did not return in "
        "time, 4 no rule was judged",
    )
    program.add_argument("--version", action=_Version, help="show which commit this is, and exit")
    commands = program.add_subparsers(metavar="COMMAND")
    program.set_defaults(carry_out=lambda _: program.error("the following arguments are required: COMMAND"))
    for command in _COMMANDS:
        command.add(commands)
    return program
