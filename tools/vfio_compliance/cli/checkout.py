# SPDX-License-Identifier: GPL-2.0-only
"""What commands share: the tree with its rules, profiles, the terminal, and words for what the user can put right."""

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
A_RUN = "what --out named, the journal in it, or a bundle"


_NARROWEST, _WIDEST = 60, 200


#: Names the folder in which those of runs are, for a guest that forgets all others.
_RESULTS = "VFIO_COMPLIANCE_RESULTS"


class Complaint(Exception):
    """Something that the user can put right; the message is all there is to say."""


def root() -> Path:
    """The tree that has the suites: a checkout, or the files of an installation. Raises Complaint where it has none."""
    if not SUITES.is_dir():
        raise Complaint(f"{SUITES} is missing: install vfio-compliance anew")
    return PROJECT


def catalogue() -> Catalogue:
    """All rules. Raises Complaint for a file of rules that is wrong."""
    from .. import rules

    try:
        return rules.load(root() / "suites")
    except rules.SpecError as error:
        raise Complaint(str(error)) from None


def loaded(path: Path) -> Profile:
    """The profile, by its path, or by the name of one that is shipped. Raises Complaint for one that is wrong."""
    from .. import profiles
    from ..profiles import shipped
    from ..sections import PROFILE

    try:
        return profiles.load(shipped.file_of(path), PROFILE)
    except profiles.ProfileError as error:
        raise Complaint(str(error)) from None


def summary_of(place: Path) -> Summary:
    """What the journal of a run amounts to, by its folder or its own path. Raises Complaint where it cannot be read."""
    from ..bundle.opening import opened
    from ..results.journal import JournalError

    try:
        return opened(place)
    except JournalError as error:
        raise Complaint(str(error)) from None


def results(name: str) -> Path:
    """The folder of results where the user names none: by what was judged, and the present time."""
    import datetime

    return Path(os.environ.get(_RESULTS, "results"), f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def matching(known: Catalogue, pattern: str) -> list[Rule]:
    """The rules that a pattern names. Raises Complaint when it names none."""
    if found := known.matching(pattern):
        return found
    raise Complaint(f"no rule or clause {pattern!r}{known.hint(pattern)}")


def width() -> int:
    """Columns for what is printed: as many as the terminal has, within reason; 100 in a log or a pipe."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, _NARROWEST), _WIDEST)


def print_wrapped(text: str) -> None:
    """Print a paragraph, as wide as the terminal."""
    from ..common.wrap import wrap

    for line in wrap("", text, width()):
        print(line)
