# SPDX-License-Identifier: GPL-2.0-only
"""Which device was judged, when, and by what."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from ....common.wrap import wrap
from ...summary import Summary


def heading(summary: Summary, width: int) -> Iterator[str]:
    """The device by the profile, then a line for each thing that is known of it."""
    run = summary.run
    yield from wrap("", f"{run.profile.name}: {run.description or 'no description'}", width)
    began = datetime.datetime.fromtimestamp(summary.began, datetime.timezone.utc)
    identity = {
        "judged": f"{began:%Y-%m-%d %H:%M} UTC by vfio-compliance {run.version}",
        "profile": f"{run.profile.path}, sha256 {run.profile.digest[:16]}",
        **run.device,
        "kernel": run.kernel,
        **summary.target.identity,
    }
    if run.defects:
        identity["broken on purpose"] = ", ".join(run.defects)
    for key, value in identity.items():
        yield from wrap(f"  {key:18}", value, width)
