# SPDX-License-Identifier: GPL-2.0-only
"""What this program costs, compared with the least possible cost: ``python tools/bench --help``. Nothing fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import bitmaps
import commands
import machine
import proxies
import registers
import runs
import states
from measuring import Case, Clock, Effort, Row
from plot import as_svg
from table import as_json, as_text

_EPILOG = """\
Ours and the limit are measured in turn, round by round. The ratio is the median of those of the rounds, with their
quartiles; the two figures are medians, each of one operation. On a machine that does other things as well the ratio
says more than either figure; best it does none. The limit is a C program that does the same on the same target, unless
the table says otherwise. Where the project has an aim, the table says whether it is met; nothing fails.
"""


def main() -> int:
    """Measure the chosen cases, and show the result."""
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description="Measure what this program costs, beside what the same costs at least.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("--only", nargs="+", default=[], metavar="WORDS", help="cases whose names have one of these words")
    option("--quick", action="store_true", help="a short pass: few rounds, states of at most 64 MiB, the plan smoke")
    option("--list", action="store_true", help="list the cases, and measure nothing")
    option("--json", type=Path, metavar="FILE", help="the table for programs, with each round")
    option("--plot", type=Path, metavar="FILE", help="the ratios as a picture, an SVG file")
    chosen = parser.parse_args()
    every = _cases(quick=chosen.quick)
    cases = [
        case for case in every if not chosen.only or any(word.lower() in case.name.lower() for word in chosen.only)
    ]
    if not cases:
        parser.error("no case has such a name; --list shows them")
    if chosen.list:
        print(*(case.name for case in cases), sep="\n")
        return 0
    about = machine.described()
    rows = _measured(cases)
    print(*(f"{name:10} {value}" for name, value in about.items()), "", as_text(rows), sep="\n")
    if chosen.json:
        chosen.json.write_text(as_json(about, rows), encoding="utf-8")
    if chosen.plot:
        chosen.plot.write_text(as_svg(rows), encoding="utf-8")
    return 0


def _cases(*, quick: bool) -> list[Case]:
    """All cases. Calls are measured in many short rounds, long runs in a few."""
    calls = Effort(5, 9, 1.0) if quick else Effort(9, 31, 5.0)
    some = Effort(3, 5, 2.0) if quick else Effort(5, 9, 20.0)
    return [
        *registers.cases(calls),
        *bitmaps.cases(some if quick else Effort(5, 21, 6.0), 16 << 20 if quick else 1 << 28),
        *proxies.cases(calls),
        *states.cases(some, 64 << 20 if quick else 4 << 30),
        *commands.cases(some, quick=quick),
        *runs.cases(Effort(3, 3, 0) if quick else Effort(3, 5, 60.0), quick=quick),
    ]


def _measured(cases: Sequence[Case]) -> list[Row]:
    """The rows of all cases; if interrupted, those measured up to then."""
    rows: list[Row] = []
    for number, case in enumerate(cases, 1):
        print(f"{number} of {len(cases)}: {case.name}", file=sys.stderr)
        try:
            rows += case.measure()
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            break
        except Exception as error:  # the other cases are still useful
            rows.append(Row(case.name, "", Clock.WALL, note=f"failed: {' '.join(str(error).split())}"))
    return rows


if __name__ == "__main__":
    sys.exit(main())
