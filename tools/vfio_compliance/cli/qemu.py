# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance qemu PROFILE`: does a real QEMU migrate this device?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .checkout import Complaint, loaded, results, width
from .parser import Commands

_EPILOG = """\
QEMU 5.2 to 7.2 are clients of this interface. One QEMU is started with the device, others with the profile's second
device, or with the same device if there is no second. They carry out a live migration, go back to the source, migrate
a paused guest, and cancel a migration before another. The steps of stimulus.visible_state set and read the device's
state through QEMU; they can use regions 0 to 5 and the configuration space.

What each QEMU does is recorded, and judged by the clauses that a client has to keep; the answer does not depend on
that. `vfio-compliance judge` shows more about each trace.

The command runs on the machine that has the device. For the reference module, run it in a virtual machine:

  vfio-compliance vm --kernels 6.1 -- vfio-compliance qemu refdriver-kernel --out {out}/qemu

exit codes: 0 the device works with this QEMU, 1 it does not, 2 not everything could be tried, 3 QEMU hung, 4 not
applicable: no such QEMU is installed, or the device is not behind a kernel.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "qemu",
        help="migrate a profile's device with a real QEMU",
        description="Have a real QEMU migrate the device of a profile, and check whether its state arrives.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("profile", type=Path, help="a file, or the name of a shipped one, such as refdriver-kernel")
    option("--out", type=Path, metavar="DIR", help="folder for qemu.json, QEMU's trace events, and traces")
    option("--qemu", metavar="PROGRAM", help="the QEMU to try (default qemu-system-x86_64)")
    option("--defect", action="append", default=[], metavar="NAME", help="break the reference device on purpose")
    option(
        "--no-strace",
        dest="strace",
        action="store_false",
        help="judge QEMU as a client by its own trace events alone (default: by strace, if that works)",
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Try it; the exit code is that of a run."""
    from ..common.signals import terminated_as_interrupted
    from ..qemu.command import Wishes, run

    profile = loaded(arguments.profile)
    out = arguments.out or results(f"{profile.name}-qemu")
    try:
        with terminated_as_interrupted():  # no QEMU may outlive this command
            wishes = Wishes(arguments.qemu, arguments.defect, arguments.strace)
            return run(profile, wishes, out, sys.stdout, width()).exit_code
    except OSError as error:
        raise Complaint(f"{out}: {error.strerror}; choose another folder with --out") from None
