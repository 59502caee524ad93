# SPDX-License-Identifier: GPL-2.0-only
"""Many runs, for commands that show them together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .checkout import A_RUN, Complaint, summary_of

if TYPE_CHECKING:
    from ..results.summary import Summary

#: How a user names runs.
RUNS: Final = f"{A_RUN}; or a folder with such folders in it"

EXIT_CODES: Final = (
    "Exit code: the worst of all runs, in the order 1 fail, 3 hang, 2 broken, 4 nothing judged, 0. A run that cannot "
    "be read is named, with the cause, and counts as 2; the others are still shown."
)


def runs(given: Iterable[Path]) -> Iterator[tuple[Path, Summary | Complaint]]:
    """The place of each run, with its summary or the reason why it cannot be read."""
    for place in (place for each in given for place in _places(each)):
        try:
            yield place, summary_of(place)
        except Complaint as error:
            yield place, error


def _places(given: Path) -> list[Path]:
    """All runs below a folder that is not itself a run; else the folder or file that was given."""
    from ..results.journal import NAME

    if not given.is_dir() or (given / NAME).exists():
        return [given]
    return [path.parent for path in sorted(given.rglob(NAME))] or [given]
