# SPDX-License-Identifier: GPL-2.0-only
"""The profiles that come with the program, by name: `reference` is one from any folder."""

from __future__ import annotations

import os
from pathlib import Path

from vfio_compliance.common.project import PROFILES
from vfio_compliance.common.suggest import did_you_mean, similar
from vfio_compliance.profiles.document import WHOLE_FILE, Problem, ProfileError, quoted

#: One that is to be copied and filled in, and describes no device.
_TEMPLATE = "template"


def profiles() -> dict[str, Path]:
    """The file of each, by its name."""
    files = [*sorted(PROFILES.glob("*.yaml")), *sorted(PROFILES.glob("examples/*.yaml"))]
    return {file.stem: file for file in files if file.stem != _TEMPLATE}


def file_of(word: str | os.PathLike[str]) -> Path:
    """The file that is meant: a path, which need not lead anywhere, or the name of a profile that is shipped.

    What names a file here is that file, never one that is shipped. Raises ProfileError for a name that nothing has, and
    for the path of a shipped profile in a checkout, where there is none.
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
    """What somebody writes to mean this file from any folder: the name of one that is shipped, else its path."""
    return path.stem if profiles().get(path.stem) == path else str(path)


def _is_name(path: Path) -> bool:
    """Whether a word is no path: it has no folder and no suffix, and is no file here; a folder is not meant."""
    bare = bool(path.name) and str(path) == path.name and not path.suffix
    return bare and (os.path.isdir(path) or not os.path.lexists(path))
