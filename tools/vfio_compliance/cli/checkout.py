# SPDX-License-Identifier: GPL-2.0-only
"""What commands share: the tree with its rules, profiles, the terminal, and errors that the user can fix."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.project import PROJECT, SUITES

if TYPE_CHECKING:
    from ..profiles import Profile
    from ..results.summary import Summary
    from ..rules import Catalogue, Rule


#: How a user names a run whose result is read.
A_RUN = "a run's folder, the journal in it, or a bundle"


_NARROWEST, _WIDEST = 60, 200


#: Names the folder for the folders of runs, for a guest that keeps nothing else.
_RESULTS = "VFIO_COMPLIANCE_RESULTS"


class Complaint(Exception):
    """An error that the user can fix; the message says all there is to say."""


def root() -> Path:
    """The tree that has the suites: a checkout, or the files of an installation. Raises Complaint if not found."""
    if not SUITES.is_dir():
        raise Complaint(f"{SUITES} is missing: install vfio-compliance again")
    return PROJECT


def catalogue() -> Catalogue:
    """All rules. Raises Complaint if a file of rules is invalid."""
    from .. import rules

    try:
        return rules.load(root() / "suites")
    except rules.SpecError as error:
        raise Complaint(str(error)) from None


def loaded(path: Path) -> Profile:
    """The profile, by its path or by the name of a shipped one. Raises Complaint if it is invalid."""
    from .. import profiles
    from ..profiles import shipped
    from ..sections import PROFILE

    try:
        return profiles.load(shipped.file_of(path), PROFILE)
    except profiles.ProfileError as error:
        raise Complaint(str(error)) from None


def summary_of(place: Path) -> Summary:
    """The summary of a run, by its folder or by the path of its journal. Raises Complaint if it cannot be read."""
    from ..bundle.opening import opened
    from ..results.journal import JournalError

    try:
        return opened(place)
    except JournalError as error:
        raise Complaint(str(error)) from None


def results(name: str) -> Path:
    """The folder for results if the user names none: what was judged, and the time."""
    import datetime

    return Path(os.environ.get(_RESULTS, "results"), f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def matching(known: Catalogue, pattern: str) -> list[Rule]:
    """The rules that a pattern names. Raises Complaint if it names no rule."""
    if found := known.matching(pattern):
        return found
    raise Complaint(f"no rule or clause {pattern!r}{known.hint(pattern)}")


def width() -> int:
    """Columns for printing: the terminal's width, within limits; 100 in a log or a pipe."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, _NARROWEST), _WIDEST)


def print_wrapped(text: str) -> None:
    """Print a paragraph as wide as the terminal."""
    from ..common.wrap import wrap

    for line in wrap("", text, width()):
        print(line)
