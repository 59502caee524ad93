# SPDX-License-Identifier: GPL-2.0-only
"""The result of what a user names as a run."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Final

from ..results import journal
from ..results.journal import JournalError
from ..results.reading import summarise
from ..results.summary import Summary

#: The beginning of a file made by gzip.
_PACKED: Final = b"\x1f\x8b"


def opened(place: Path) -> Summary:
    """The result of the run in ``place``: its folder, its journal, or a bundle of it.

    Raises JournalError, also for a bundle that was changed.
    """
    path = place / journal.NAME if place.is_dir() else place
    # A journal becomes very many objects that live as long as the command: collecting garbage among them only costs.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _of_bundle(path) if _is_packed(path) else summarise(journal.read(path))
    finally:
        if collecting:
            gc.enable()


def _is_packed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PACKED)) == _PACKED
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None


def _of_bundle(path: Path) -> Summary:
    from .contents import Contents
    from .packing import Wrong

    contents = Contents()
    try:
        with path.open("rb") as file:
            contents.read(file)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None
    except Wrong as error:
        raise JournalError(f"{path}: {error}") from None
    for each in contents.wrong[contents.open :]:  # a journal without an end still has a result, which reports that
        raise JournalError(f"{path}: {each.about}: {each.text}; vfio-compliance verify {path} shows everything")
    if contents.summary is None:
        raise JournalError(f"{path}: there is no journal in it")
    return contents.summary
