# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance doctor [PROFILE|TARGET]`: what this host lacks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.verdict import EXIT_BROKEN, EXIT_OK
from .checkout import Complaint, loaded, width
from .parser import Commands

if TYPE_CHECKING:
    from ..host.doctor import Where

_EPILOG = """\
With a PROFILE, or a TARGET as `vfio-compliance probe` takes it, only the needs of its device count; without, those of
every command. Nothing is changed, and no device is opened. What cannot be found out counts as missing.

exit codes: 0 everything needed is present, 2 something is missing or unknown
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="show what this host lacks",
        description="Show what this host lacks to judge a device, and how to fix it.",
        epilog=_EPILOG,
    )
    parser.add_argument("target", nargs="?", metavar="PROFILE|TARGET", help="the device to be judged")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Print a table; the exit code is as in --help."""
    from ..host.doctor import complete, needs, table
    from ..host.machine import Machine

    where, locks, driver = _meant(arguments.target)
    found = needs(Machine(), where, locks, driver)
    print("\n".join(table(found, width())))
    return EXIT_OK if complete(found) else EXIT_BROKEN


def _meant(word: str | None) -> tuple[Where, int, str]:
    """How the device is reached, how much memory its interfaces lock, and its driver if that is known."""
    from ..interfaces import INTERFACES
    from ..probing.errors import ProbeError
    from ..probing.target import where

    locks = {each.name: each.locks for each in INTERFACES}
    if word is None:
        return None, max(locks.values()), ""
    if word.endswith((".yaml", ".yml")) or Path(word).is_file():
        profile = loaded(Path(word))
        return profile.device, max(locks[name] for name in profile.interfaces), profile.driver or ""
    try:
        return where(word), max(locks.values()), ""
    except ProbeError as error:
        raise Complaint(str(error)) from None
