# SPDX-License-Identifier: GPL-2.0-only
"""What the interfaces that are judged add to the format of a profile, for those who read profiles and judge nothing."""

from __future__ import annotations

from .dirty_type1.profile import DirtySection
from .migration_v1.profile import MigrationSection
from .profiles import profile_format

#: In the order in which a profile shows them.
SECTIONS = (MigrationSection, DirtySection)

#: The format of a profile, with what they add to it.
PROFILE = profile_format(SECTIONS)
