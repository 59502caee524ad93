# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance check PROFILE...`: is a profile right, and if not, where?"""

from __future__ import annotations

import argparse

from vfio_compliance.profiles.document import WHOLE_FILE, Problem, ProfileError
from vfio_compliance.profiles.loader import load

_BEFORE, _WIDTH = 60, 100  # characters of a long line shown before the place, and altogether


def check(argv: list[str]) -> int:
    """Load each profile and print `path: ok`, or its problems with the lines they are in.

    Gives 0 when all are right, and 2 otherwise: a wrong profile is a fault of the set-up, not of the device.
    """
    parser = argparse.ArgumentParser(
        prog="vfio-compliance check", description="Check device profiles without touching a device."
    )
    parser.add_argument("profiles", nargs="+", metavar="PROFILE", help="a profile in YAML")
    right = [_check(path) for path in parser.parse_args(argv).profiles]
    return 0 if all(right) else 2


def _check(path: str) -> bool:
    try:
        load(path)
    except ProfileError as error:
        for problem in error.problems:
            print(problem)
            print(_excerpt(problem), end="")
        count = len(error.problems)
        print(f"{path}: {count} problem{'s' if count > 1 else ''}")
        return False
    print(f"{path}: ok")
    return True


def _excerpt(problem: Problem) -> str:
    """The line of a problem with a caret under its place, or nothing where there is no line to show."""
    if problem.place == WHOLE_FILE or not problem.text:
        return ""
    column = problem.place.column - 1
    start = max(0, column - _BEFORE) if len(problem.text) > _WIDTH else 0
    shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in problem.text[start : start + _WIDTH])
    caret = "".join(c if c == "\t" else " " for c in shown[: column - start])
    return f"    {shown}\n    {caret}^\n"
