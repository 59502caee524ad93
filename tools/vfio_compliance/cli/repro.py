# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance repro RUN CASE`: a failing case as programs in C and in Python."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.verdict import EXIT_BROKEN, EXIT_OK
from .checkout import A_RUN, Complaint, loaded, summary_of
from .parser import Commands

if TYPE_CHECKING:
    from ..repro.live import Target
    from ..results.summary import Summary

_EPILOG = """\
Each program opens the device that its command line names, repeats the calls of the failing case, and exits with 1 if
the fault shows, with 0 if it does not, and with 2 if that cannot be decided. It does not need vfio-compliance.

Unneeded calls are found by trying, and left out: on a server that the profile of the run starts for this, or on the
device of the profile that --profile names. Each try opens and resets the device.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "repro",
        help="write a failing case as stand-alone programs, in C and in Python",
        description="Write a failing case as stand-alone programs, for someone who does not have this suite.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("run", type=Path, metavar="RUN", help=A_RUN)
    option("case", metavar="CASE", help="a case, a rule, the beginning of a rule, or a clause, as --only takes it")
    option(
        "--out", "--output", dest="output", type=Path, metavar="DIR", help="folder for the programs (default: in RUN)"
    )
    option("--profile", type=Path, metavar="FILE", help="try on the device of this profile which calls can be left out")
    option("--no-minimise", action="store_true", help="keep all calls, and try nothing on any device")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Write the programs; EXIT_BROKEN if a fault could not be shown again."""
    from ..repro import files
    from ..repro.choice import chosen
    from ..repro.make import make
    from ..repro.trace import NoProgram
    from ..transport import SetupError

    summary = summary_of(arguments.run)
    folder = arguments.run if arguments.run.is_dir() else arguments.run.parent
    code = EXIT_OK
    try:
        rules = chosen(summary, arguments.case)
        target = None if arguments.no_minimise else _target(summary, arguments.profile)
        with target or nullcontext():
            for cases in rules:
                made = make(summary, cases, folder, target)
                for path in files.write(made.program, arguments.output or folder / files.NAME):
                    print(path)
                if made.remark:
                    print(f"  {made.remark}")
                code = code if made.reproducible else EXIT_BROKEN
    except (NoProgram, SetupError) as error:
        raise Complaint(str(error)) from None
    except OSError as error:
        raise Complaint(f"{error.filename}: {error.strerror}") from None
    return code


def _target(summary: Summary, profile: Path | None) -> Target | None:
    """Where programs are tried; None if nowhere: a device has to be named, except for a server of our own."""
    from ..profiles import VfioUserDevice, shipped
    from ..repro.live import Target

    path = profile or shipped.profiles().get(summary.run.profile.path) or Path(summary.run.profile.path)
    if profile is None and not path.exists():
        return None
    known = loaded(path)
    starts = isinstance(known.device, VfioUserDevice) and known.device.command is not None
    return Target(known, summary.run.defects) if profile or starts else None
