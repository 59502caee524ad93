# SPDX-License-Identifier: GPL-2.0-only
"""Which device was judged, when, and by what."""

from __future__ import annotations

from collections.abc import Iterator

from ....common.wrap import wrap
from ...about import about
from ...summary import Summary


def heading(summary: Summary, width: int) -> Iterator[str]:
    """The profile's description of the device, then a line for each known fact."""
    run = summary.run
    yield from wrap("", f"{run.profile.name}: {run.description or 'no description'}", width)
    for key, value in about(summary).items():
        yield from wrap(f"  {key:18}", value, width)
