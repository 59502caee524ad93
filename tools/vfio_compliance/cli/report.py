# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance report FOLDER`: the result of a run again."""

from __future__ import annotations

import argparse
from pathlib import Path

from .checkout import summary_of, width
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="show the result of a run again, from its journal")
    parser.add_argument("folder", type=Path, help="what --out named, or the journal in it")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Show the result; exit code of the run."""
    from ..results.writers import terminal

    result = summary_of(arguments.folder)
    print(terminal.render(result, width()))
    return result.exit_code
