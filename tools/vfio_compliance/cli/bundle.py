# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance bundle FOLDER --out FILE`: a run as one file, to hand over."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.words import counted
from ..results.verdict import EXIT_BROKEN, EXIT_OK
from .checkout import Complaint
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bundle",
        help="pack a run's folder into one file to hand over",
        description="Pack a run's folder into one file: journal, reports, profile, plan, and the facts of suite, "
        "kernel, driver and host.\n\n"
        "`verify` checks it. To sign it, for `verify --signers`:\n\n"
        "  ssh-keygen -Y sign -f KEY -n vfio-compliance FILE.tar.gz",
    )
    option = parser.add_argument
    option("folder", type=Path, help="the folder that the run had as --out")
    option("--out", "--output", dest="output", type=Path, required=True, metavar="FILE.tar.gz", help="the file to make")
    option("--with-data", action="store_true", help="include what run --keep-data kept, which can be a guest's secrets")
    option("--redact", action="store_true", help="leave out host names, serial numbers and paths")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Make the file; 0, or 2 if something in it is wrong."""
    from ..bundle.make import BundleError, make
    from ..bundle.verify import verify
    from ..common.screen import complain
    from ..results.journal import JournalError

    try:
        make(arguments.folder, arguments.output, arguments.with_data, arguments.redact)
    except (BundleError, JournalError) as error:
        raise Complaint(str(error)) from None
    print(f"bundle: {arguments.output}, {counted(arguments.output.stat().st_size, 'byte')}")
    wrong = [finding for finding in verify(arguments.output) if finding.wrong and finding.about != "signature"]
    for finding in wrong:
        complain(f"verify will report: {finding.about}: {finding.text}")
    return EXIT_BROKEN if wrong else EXIT_OK
