# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance check FILE...`: is a profile, a plan or a list of waivers valid, and if not, what is wrong?"""

from __future__ import annotations

import argparse

from .checkout import Complaint, catalogue
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="check profiles, plans and waivers without touching a device",
        description="Check files without touching a device. Programs that a profile would run are listed.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a profile, a plan, or waivers, in YAML")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Check each file: 0 if all are valid, else 2."""
    from ..profiles import ProfileError, shipped
    from ..profiles.command import check
    from ..sections import PROFILE

    try:
        files = [str(shipped.file_of(file)) for file in arguments.files]
    except ProfileError as error:
        raise Complaint(str(error)) from None
    return check(files, PROFILE, catalogue().rules)
