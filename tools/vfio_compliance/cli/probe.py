# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance probe TARGET`: a first profile from a live device."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.verdict import EXIT_BROKEN, EXIT_OK
from .checkout import Complaint, catalogue
from .parser import Commands
from .stateful import Outcome, apart

if TYPE_CHECKING:
    from ..probing.target import Where
    from ..results.inflight import Inflight

_EPILOG = """\
TARGET is a PCI address (0000:65:00.0), a device's folder in /sys, a group (12, /dev/vfio/12, or 12:NAME for one of its
devices), or the socket of a vfio-user server. The command after -- starts a server, like `command` in a profile; the
server is ended afterwards. In the command, {socket} becomes the path of the socket, {python} this Python:

  vfio-compliance probe 0000:65:00.0 --out my-device.yaml
  vfio-compliance probe --out server.yaml -- /usr/local/bin/my-server --listen {socket}

Opening a device may reset it: vfio-pci does if it can. Apart from that, the device is only queried and read: nothing is
written, and dirty tracking is not started. You can run the profile as it is. Keys that only you can fill in are
comments, each with the rules that need it.

exit codes: 0 the profile was written, 2 it was not
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "probe",
        help="write a first profile from a live device",
        description="Read a device without changing it, and write a profile of it.",
        epilog=_EPILOG,
        usage="%(prog)s [options] [TARGET] [-- COMMAND...]",
    )
    parser.rest = "command"
    option = parser.add_argument
    option("target", nargs="?", metavar="TARGET", help="the device: see below")
    option("--out", type=Path, metavar="FILE", help="a new file for the profile (default: standard output)")
    option("--force", action="store_true", help="replace the file if there is one")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Write the profile; the exit code is as in --help."""
    from ..common.new_file import new_file, refuse_existing
    from ..common.signals import terminated_as_interrupted
    from ..probing.errors import ProbeError
    from ..probing.target import where

    try:
        device = where(arguments.target, arguments.command)
        if arguments.out is None:
            sys.stdout.write(_text(device))
            return EXIT_OK
        if not arguments.force:
            refuse_existing(arguments.out, ProbeError)  # before the device is opened
        with terminated_as_interrupted():
            text = _text(device)
            with new_file(arguments.out, ProbeError, replace=arguments.force) as file:
                file.write(text.encode())
    except ProbeError as error:
        raise Complaint(f"no profile is written: {error}") from None
    print(f"{arguments.out}: written; fill in what it lacks, then: vfio-compliance run {arguments.out}")
    return EXIT_OK


def _text(device: Where) -> str:
    """A valid profile, as text. Raises ProbeError."""
    from ..probing.errors import ProbeError
    from ..profiles import Limits

    within = Limits().test
    outcome = apart(device.transport != "vfio-user", within, "no answer", lambda calls: _probed(device, calls))
    (text,) = outcome.lines
    if outcome.code:
        raise ProbeError(text)
    return text


def _probed(device: Where, calls: Inflight | None) -> Outcome:
    from ..interfaces import INTERFACES
    from ..probing.errors import ProbeError
    from ..probing.identity import Identity, identity
    from ..probing.look import look
    from ..probing.text import text
    from ..profiles import KernelGroupDevice, ProfileError, load
    from ..sections import PROFILE, SECTIONS

    try:
        known = identity(device.sysfs or "") if isinstance(device, KernelGroupDevice) else Identity()
        made = text(device, known, look(device, INTERFACES, calls), PROFILE, SECTIONS, catalogue())
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
            file.write(made)
            file.flush()
            load(file.name, PROFILE)
    except ProfileError as error:
        return Outcome(
            EXIT_BROKEN, [f"what was seen of the device does not make a valid profile: {error.problems[0].message}"]
        )
    except (ProbeError, OSError) as error:
        return Outcome(EXIT_BROKEN, [str(error)])
    return Outcome(EXIT_OK, [made])
