# SPDX-License-Identifier: GPL-2.0-only
"""Reading a profile from its file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from vfio_compliance.profiles.document import Document, ProfileError, place_of
from vfio_compliance.profiles.profile import Profile
from vfio_compliance.profiles.records import Record

RECORD = Record(Profile)


def load(path: str | os.PathLike[str]) -> Profile:
    """Read a profile. Raises ProfileError with everything that is wrong with it."""
    document = Document(os.fspath(path))
    root = document.tree()
    profile: Profile | None = None
    if root is not None:
        document.values[""] = place_of(root)
        profile = RECORD.read(root, "", document)
    if document.problems or profile is None:
        raise ProfileError(document.problems)
    return dataclasses.replace(profile, path=Path(path), digest=document.digest, places=document.keys)
