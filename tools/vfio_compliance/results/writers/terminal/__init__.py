# SPDX-License-Identifier: GPL-2.0-only
"""The result as text for a terminal: a block after the other, each in a file of its own."""

from __future__ import annotations

from ....common.words import printable
from ...summary import Summary
from .ending import ending
from .faults import Faults
from .figures import time_and_bytes
from .flaky import flaky
from .heading import heading
from .observed import behaviour, notes, states
from .tables import tables
from .unjudged import left_out, unjudged

__all__ = ["render"]


def render(summary: Summary, width: int = 100) -> str:
    """All of the result, in lines of at most ``width`` columns where words allow it."""
    faults = Faults(summary)
    pieces = [
        *heading(summary, width),
        *tables(summary, width),
        *behaviour(summary, width),
        *states(summary, width),
        *time_and_bytes(summary, width),
        *notes(summary, width),
        *faults.lines(width),
        *flaky(summary, width),
        *unjudged(summary, faults, width),
        *left_out(summary, width),
        *ending(summary, width),
    ]
    # Devices and their servers say things, too.
    return "\n".join(printable(line) for piece in pieces for line in piece.split("\n"))
