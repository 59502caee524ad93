# SPDX-License-Identifier: GPL-2.0-only
"""Whether a file holds a profile, a plan or waivers."""

from __future__ import annotations

import os
from enum import Enum

from yaml.nodes import MappingNode

from vfio_compliance.common.suggest import similar
from vfio_compliance.profiles import plan, waiver_files
from vfio_compliance.profiles.document import Document
from vfio_compliance.profiles.profile import Profile
from vfio_compliance.profiles.records import Record


class Which(Enum):
    """A kind of file, by the key that identifies it: every profile has ``device``."""

    PROFILE = "device"
    PLAN = "leave_out"
    WAIVERS = "waivers"


_OF_PROFILES_ALONE = Record(Profile).kinds.keys() - plan.PLAN.kinds.keys() - waiver_files.FILE.kinds.keys()
_MOST_KEYS = 10  # that are looked at


def which(path: str | os.PathLike[str]) -> Which:
    """By the keys that the file has, or nearly has; if nothing fits, it counts as a profile, which may say why."""
    root = Document(os.fspath(path)).tree()
    names = [str(name.value) for name, _ in root.value] if isinstance(root, MappingNode) else []
    if _OF_PROFILES_ALONE.isdisjoint(names):
        for kind in (Which.PLAN, Which.WAIVERS):
            if any(name == kind.value or similar(name, [kind.value]) for name in names[:_MOST_KEYS]):
                return kind
    return Which.PROFILE
