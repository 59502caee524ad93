# SPDX-License-Identifier: GPL-2.0-only
"""The profiles that come with the program, by name: `reference` is one from any folder."""

from __future__ import annotations

import os
from pathlib import Path

from ..common.project import PROFILES
from ..common.suggest import did_you_mean, similar
from .document import WHOLE_FILE, Problem, ProfileError, quoted

#: To be copied and filled in; it describes no device.
_TEMPLATE = "template"


def profiles() -> dict[str, Path]:
    """The file of each, by its name."""
    files = [*sorted(PROFILES.glob("*.yaml")), *sorted(PROFILES.glob("examples/*.yaml"))]
    return {file.stem: file for file in files if file.stem != _TEMPLATE}


def file_of(word: str | os.PathLike[str]) -> Path:
    """The file that is meant: a path, which need not exist, or the name of a shipped profile.

    If a file of this name is here, it is that file, not a shipped one. Raises ProfileError for an unknown name, and for
    the path of a shipped profile in a checkout, if there is no such file.
    """
    path, known = Path(word), profiles()
    if _is_name(path):
        if path.name in known:
            return known[path.name]
        message = f"there is no file {quoted(path.name)}, and no profile of that name is shipped; there are "
        raise _wrong(message + ", ".join(known) + did_you_mean(similar(path.name, known)))
    if path.stem in known and not os.path.lexists(path):
        raise _wrong(f"there is no file {quoted(str(path))}{did_you_mean(path.stem)}")
    return path


def _wrong(message: str) -> ProfileError:
    return ProfileError([Problem("profile", WHOLE_FILE, message, "")])


def called(path: Path) -> str:
    """What to write for this file in any folder: the name of a shipped one, or its path."""
    return path.stem if profiles().get(path.stem) == path else str(path)


def _is_name(path: Path) -> bool:
    """Whether a word is a name: it has no folder and no suffix, and there is no such file here (a folder may be)."""
    bare = bool(path.name) and str(path) == path.name and not path.suffix
    return bare and (os.path.isdir(path) or not os.path.lexists(path))
