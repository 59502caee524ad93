# SPDX-License-Identifier: GPL-2.0-only
"""The time in each state, as bars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ....figures import figures, time_in_words
from ....summary import Summary

#: Width of the longest bar.
LONGEST = 200


class Bar(NamedTuple):
    """A device in a state."""

    device: str
    state: str
    time: str
    #: Its part of the device's time, from 0 to 1.
    part: float
    length: float


def bars(summary: Summary) -> Iterator[Bar]:
    """The bars of each device, the longest time first."""
    for device, states in figures(summary.measures)["states"].items():
        whole, longest = sum(states.values()) or 1.0, max(states.values(), default=0.0) or 1.0
        for state, seconds in sorted(states.items(), key=lambda each: -each[1]):
            yield Bar(device, state, time_in_words(seconds), seconds / whole, round(LONGEST * seconds / longest, 1))
