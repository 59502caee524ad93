# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance unbind PCI-ADDRESS`: undo what `bind` did."""

from __future__ import annotations

import argparse

from ..results.verdict import EXIT_OK
from .checkout import Complaint, print_wrapped
from .parser import Commands

_EPILOG = """\
exit codes: 0 the device has its former driver again, 2 it does not
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "unbind",
        help="give a PCI device back to its former driver",
        description="Undo what `vfio-compliance bind` did to a device, even if that was killed.",
        epilog=_EPILOG,
    )
    parser.add_argument("address", metavar="PCI-ADDRESS", help="such as 0000:65:00.0")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Give the device back; the exit code is as in --help."""
    from ..common.signals import terminated_as_interrupted
    from ..host.binding import unbind
    from ..host.machine import HostError, Machine

    try:
        with terminated_as_interrupted():
            print_wrapped(unbind(Machine(), arguments.address))
    except HostError as error:
        raise Complaint(f"not given back: {error}") from None
    return EXIT_OK
