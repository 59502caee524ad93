# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance bind PCI-ADDRESS`: bind a device to a VFIO driver."""

from __future__ import annotations

import argparse

from ..results.verdict import EXIT_OK
from .checkout import Complaint, print_wrapped
from .parser import Commands

_EPILOG = """\
The driver that the device had is recorded on disk (in /run) before anything is changed, so `vfio-compliance unbind`
gives the device back even if this command was killed. A device is left alone if one of its disks is mounted or holds
swap space, if one of its network interfaces is up, or if a program has its group open, unless --force.

exit codes: 0 the device is bound, 2 nothing was changed
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bind",
        help="bind a PCI device to its VFIO driver",
        description="Bind a PCI device to a VFIO driver, and check whether its group can be used.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("address", metavar="PCI-ADDRESS", help="such as 0000:65:00.0")
    option("--driver", default="vfio-pci", metavar="NAME", help="the vendor's VFIO driver (default vfio-pci)")
    option("--force", action="store_true", help="bind the device even if it is in use")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Bind the device; the exit code is as in --help."""
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
