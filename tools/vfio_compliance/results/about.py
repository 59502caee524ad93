# SPDX-License-Identifier: GPL-2.0-only
"""Which device was judged, when, and by what."""

from __future__ import annotations

import datetime

from ..rules.version import described
from .summary import Summary


def began(summary: Summary) -> datetime.datetime:
    """When the run began, in UTC."""
    return datetime.datetime.fromtimestamp(summary.began, datetime.timezone.utc)


def about(summary: Summary) -> dict[str, str]:
    """The known facts of the device, the kernel and the run, a line each, by name."""
    run = summary.run
    known = {
        "judged": f"{began(summary):%Y-%m-%d %H:%M} UTC by vfio-compliance {_suite(summary)}",
        "profile": f"{run.profile.path}, sha256 {run.profile.digest[:16]}",
        **run.device,
        "kernel": run.kernel,
        **summary.target.identity,
    }
    if run.defects:
        known["broken on purpose"] = ", ".join(run.defects)
    return known


def _suite(summary: Summary) -> str:
    """The suite that judged; only its version if the run recorded no more."""
    facts = {**summary.facts, "suite": summary.run.version}
    return described(facts) if "rule set" in facts else summary.run.version


def driver(summary: Summary) -> str:
    """The driver: its name from the kernel or else from the profile, and its version; the command of a server."""
    known = about(summary)
    names = filter(None, map(known.get, ("driver", "version", "command")))
    return ", ".join(names) or summary.run.profile.name
