# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance bind PCI-ADDRESS`: give a device to a driver of VFIO's."""

from __future__ import annotations

import argparse

from ..results.verdict import EXIT_OK
from .checkout import Complaint, print_wrapped
from .parser import Commands

_EPILOG = """\
What the device was bound to is on disk (in /run) before anything is changed: `vfio-compliance unbind` gives it back,
also where this call was killed in the middle. A device is left alone while a disk of it is mounted or holds swap space,
a network interface of it is up, or a program has its group open, unless --force.

exit codes: 0 it is bound, 2 it is as it was before
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bind",
        help="give a PCI device to its VFIO driver",
        description="Bind a device on PCI to a VFIO driver, and say whether its group can be used.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("address", metavar="PCI-ADDRESS", help="such as 0000:65:00.0")
    option("--driver", default="vfio-pci", metavar="NAME", help="the vendor's VFIO driver (default vfio-pci)")
    option("--force", action="store_true", help="take the device away, too, if it is in use")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Bind the device; exit code as --help says."""
    from ..common.signals import terminated_as_interrupted
    from ..host.binding import bind
    from ..host.machine import HostError, Machine

    try:
        with terminated_as_interrupted():
            said = bind(Machine(), arguments.address, arguments.driver, force=arguments.force)
    except HostError as error:
        raise Complaint(f"not bound: {error}") from None
    for line in said:
        print_wrapped(line)
    return EXIT_OK
