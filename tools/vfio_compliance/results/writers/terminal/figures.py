# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes: how long the devices were in each state, and what the flows moved and took."""

from __future__ import annotations

from collections.abc import Iterator

from ....common.wrap import wrap
from ...figures import OF_FLOWS, figures, flow_in_words, time_in_words
from ...summary import Summary


def time_and_bytes(summary: Summary, width: int) -> Iterator[str]:
    """A line for each device and each kind of flow; for flows, the median."""
    known = figures(summary.measures)
    if not known["states"] and not known["flows"]:
        return
    yield ""
    yield f"Time and bytes (for flows: {OF_FLOWS})"
    for name, states in known["states"].items():
        text = ", ".join(f"{state} {time_in_words(seconds)}" for state, seconds in states.items())
        yield from wrap(f"  {name:14} ", text, width)
    for kind, flow in known["flows"].items():
        yield from wrap(f"  {kind:14} ", ", ".join(flow_in_words(flow)), width)
