# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance verify FILE`: was a bundle changed since it was made?"""

from __future__ import annotations

import argparse
from pathlib import Path

from .checkout import Complaint, width
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="check a bundle: whether anything in it was changed, and who signed it",
        description="Check a bundle: its digests, its journal, the signature beside it (FILE.sig), and whether an "
        "error has become known in the rules that it was judged by. Exit code: 0 if nothing is wrong, else 1.",
    )
    parser.add_argument("file", type=Path, help="a file made by bundle")
    parser.add_argument(
        "--signers",
        type=Path,
        metavar="FILE",
        help="allowed signers, in the format of ssh-keygen(1); one of them must have signed",
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Print what is found: 0 if nothing is wrong, else 1."""
    from ..bundle.verify import verify
    from ..common.wrap import wrap

    wrong = False
    try:
        for finding in verify(arguments.file, arguments.signers):
            wrong |= finding.wrong
            for line in wrap(f"{'WRONG ' if finding.wrong else 'ok    '}{finding.about:10}  ", finding.text, width()):
                print(line)
    except OSError as error:
        raise Complaint(f"{arguments.file}: {error.strerror}") from None
    return int(wrong)
