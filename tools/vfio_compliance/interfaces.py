# SPDX-License-Identifier: GPL-2.0-only
"""The interfaces that are judged. A new one is a room like these, a suite, and a line here."""

from __future__ import annotations

from .dirty_type1.interface import DirtyType1
from .migration_v1.interface import MigrationV1
from .profiles import profile_format
from .run.interface import Interface

INTERFACES: list[Interface] = [
    MigrationV1(),
    DirtyType1(),
]

#: The format of a profile, with what the interfaces add to it.
PROFILE = profile_format([interface.section for interface in INTERFACES])

#: The interface whose clients can be judged, and what judges them.
JUDGED, JUDGE = next((each, each.judge) for each in INTERFACES if each.judge)
