# SPDX-License-Identifier: GPL-2.0-only
"""Reading a profile from its file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode

from vfio_compliance.profiles.document import Document, ProfileError, quoted
from vfio_compliance.profiles.profile import FORMAT, Profile
from vfio_compliance.profiles.records import Record, entries


def load(path: str | os.PathLike[str], kind: Record) -> Profile:
    """Read a profile of the format ``kind``, which profile_format() makes.

    Raises ProfileError with everything that is wrong with it. What only shows when several keys of a mapping
    are seen together is looked for once each of them is right by itself.
    """
    document = Document(os.fspath(path))
    profile: Profile = read(document, kind, {"leave_out": "; it belongs to a plan"})
    profile = dataclasses.replace(profile, path=Path(path), source=document.source(), denied=_denied(document))
    for name, message in profile.contradictions():
        document.complain(document.values[name], message)
    if document.problems:
        raise ProfileError(document.problems)
    return profile


def _denied(document: Document) -> frozenset[str]:
    """The keys that are `none`; `pin` and `unpin` go together."""
    pinning = {"stimulus.dirty.pin", "stimulus.dirty.unpin"}
    return frozenset(document.denied | (pinning if document.denied & pinning else set()))


def read(document: Document, kind: Record, elsewhere: Mapping[str, str]) -> Any:
    """What the file of `document` says; `elsewhere` says of foreign keys where they belong. Raises ProfileError."""
    root = document.tree()
    if root is None or _of_another_format(root, document):
        raise ProfileError(document.problems)
    found = kind.build(entries(root, "", document), root, "", document, elsewhere)
    if document.problems:
        raise ProfileError(document.problems)
    return found


def _of_another_format(root: Node, document: Document) -> bool:
    """Complain of a file for another version of this program; nothing else that it says can be judged."""
    for name, value in root.value if isinstance(root, MappingNode) else ():
        if name.value == "format" and isinstance(value, ScalarNode) and value.value not in ("", str(FORMAT)):
            if not value.value.isdecimal():
                return False
            document.complain(value, f"format {quoted(value.value)} is unknown; this version reads {FORMAT}")
            return True
    return False
