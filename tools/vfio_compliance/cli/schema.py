# SPDX-License-Identifier: GPL-2.0-only
"""``python -m vfio_compliance.cli.schema`` renews the published formats of profiles, plans and waivers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..profiles import plan, waiver_files
from ..profiles.schema import text
from ..sections import PROFILE

#: By the name of the file in profiles/: the format and its title.
SCHEMAS: Final = {
    "profile.schema.json": (PROFILE, "Profile of a device for vfio-compliance"),
    "plan.schema.json": (plan.PLAN, "Plan of a run of vfio-compliance"),
    "waivers.schema.json": (waiver_files.FILE, "Known deviations of a device for vfio-compliance"),
}

if __name__ == "__main__":
    for name, (kind, title) in SCHEMAS.items():
        Path("profiles", name).write_text(text(kind, title), encoding="utf-8")
