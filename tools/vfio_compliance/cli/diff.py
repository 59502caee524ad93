# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance diff RUN RUN`: what changed from one run to another."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..results.verdict import EXIT_FAIL, EXIT_OK
from .checkout import A_RUN, summary_of, width
from .parser import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="compare two runs: rules, calls, time, versions",
        description="Compare two runs rule by rule. A rule got worse if it, or one of its cases, has a graver verdict "
        "or is no longer judged. A run also got worse if it ended worse for a reason outside of the rules.",
        epilog="exit codes: 0 nothing got worse, 1 something did, 2 a run cannot be read",
    )
    parser.add_argument("before", type=Path, metavar="RUN", help=f"the earlier run: {A_RUN}")
    parser.add_argument("after", type=Path, metavar="RUN", help="the later one")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Show the difference; 1 if something got worse."""
    from ..results.comparison import compare
    from ..results.writers import difference

    found = compare(summary_of(arguments.before), summary_of(arguments.after))
    print(difference.render(found, width()))
    return EXIT_FAIL if found.worse else EXIT_OK
