# SPDX-License-Identifier: GPL-2.0-only
"""The result as text for a terminal: one block after another, each in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator

from ....common.words import printable
from ...summary import Summary
from .ending import ending, happened, last
from .faults import Faults
from .figures import time_and_bytes
from .flaky import flaky
from .heading import heading
from .observed import behaviour, notes, states
from .tables import tables
from .unjudged import left_out, unjudged

__all__ = ["render"]


def render(summary: Summary, width: int = 100, journal: str = "") -> str:
    """The whole result, in lines of at most ``width`` columns if no word is longer; and where its ``journal`` is.

    If the device could not be opened, only the reason is shown.
    """
    pieces = _pieces(summary, width) if summary.stops == [] or summary.started else happened(summary, width)
    # Text from devices and their servers is in it, too.
    lines = [printable(line) for piece in [*pieces, *last(summary, journal)] for line in piece.split("\n")]
    return "\n".join(lines).lstrip("\n")


def _pieces(summary: Summary, width: int) -> Iterator[str]:
    faults = Faults(summary)
    yield from heading(summary, width)
    yield from tables(summary, width)
    yield from behaviour(summary, width)
    yield from states(summary, width)
    yield from time_and_bytes(summary, width)
    yield from notes(summary, width)
    yield from faults.lines(width)
    yield from flaky(summary, width)
    yield from unjudged(summary, faults, width)
    yield from left_out(summary, width)
    yield from ending(summary, width)
