# SPDX-License-Identifier: GPL-2.0-only
"""Where the time of a run went."""

from __future__ import annotations

from typing import Final

from .summary import Summary

#: Resets are shown if they take more than this part of the calls' time; neither is shown if it would read 0.0 s.
_PART: Final = 0.1
_LEAST: Final = 0.05


def spent(summary: Summary) -> str:
    """The seconds of a run, and how many of them were spent in calls, as far as its journal has them."""
    calls, resets = (summary.totals[name] / 1e9 for name in ("call_ns", "reset_ns"))
    text = f"{summary.seconds:.1f} s"
    if calls >= _LEAST:
        text += f", of which {calls:.1f} s in calls to the device"
    if resets >= _LEAST and resets > _PART * calls:
        text += f" ({resets:.1f} s in resets)"
    return text
