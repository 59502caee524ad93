# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance repro RUN CASE`: a failing case as programs in C and in Python."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..results.verdict import EXIT_OK
from .checkout import A_RUN, Complaint, summary_of
from .parser import Commands

_EPILOG = """\
Each program opens the device that its command line names, makes the calls by which the case failed, and exits with 1
where the fault shows, with 0 where it does not, and with 2 where it cannot tell. It needs nothing of this project.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "repro",
        help="write a failing case as programs of their own, in C and in Python",
        description="Write a failing case as stand-alone programs, for somebody who has not got this suite.",
        epilog=_EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help=A_RUN)
    parser.add_argument("case", metavar="CASE", help="a case, a rule, its beginning, or a clause, as --only takes it")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the folder for the programs; unless given, in RUN")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Write the programs."""
    from ..repro import files
    from ..repro.choice import chosen
    from ..repro.program import program_of
    from ..repro.trace import NoProgram

    summary = summary_of(arguments.run)
    folder = arguments.run if arguments.run.is_dir() else arguments.run.parent
    try:
        for case in chosen(summary, arguments.case):
            for path in files.write(program_of(summary, case, folder), arguments.output or folder / files.NAME):
                print(path)
    except NoProgram as error:
        raise Complaint(str(error)) from None
    except OSError as error:
        raise Complaint(f"{error.filename}: {error.strerror}") from None
    return EXIT_OK
