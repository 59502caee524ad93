# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance waive RUN`: the failures of a run as waivers, with the reasons to be filled in."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..results.verdict import EXIT_OK
from .checkout import A_RUN, Complaint, summary_of
from .parser import Commands

_EPILOG = """\
The reasons are empty, and the file is refused until they are filled in (vfio-compliance check). What the kernel or a
sanitizer reported, and calls that hung, are never waived: the head of the file names their rules.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "waive",
        help="write waivers for a run's failures, with the reasons to be filled in",
        description="Write a file of waivers for what failed in a run, for run --waivers.",
        epilog=_EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help=A_RUN)
    parser.add_argument(
        "--out", "--output", dest="output", type=Path, metavar="FILE", help="a new file (default: print them)"
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Write the waivers."""
    from ..results.writers import waivers

    text = waivers.render(summary_of(arguments.run))
    if not text:
        raise Complaint("nothing to waive: no rule of the device was broken in a way that can be waived")
    if arguments.output is None:
        print(text, end="")
        return EXIT_OK
    try:
        with arguments.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Complaint(f"{arguments.output}: {error.strerror}") from None
    print(f"{arguments.output}: fill in each reason, then: vfio-compliance check {arguments.output}")
    return EXIT_OK
