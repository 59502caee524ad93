# SPDX-License-Identifier: GPL-2.0-only
"""What a user names as a run, and the result in it."""

from __future__ import annotations

import gc
from pathlib import Path

from . import journal
from .reading import summarise
from .summary import Summary


def opened(place: Path) -> Summary:
    """The result of the run in ``place``: its folder, or the journal. Raises JournalError."""
    path = place / journal.NAME if place.is_dir() else place
    # A journal becomes very many objects that live as long as the command: looking for circles among them only costs.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return summarise(journal.read(path))
    finally:
        if collecting:
            gc.enable()
