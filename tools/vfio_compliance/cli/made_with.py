# SPDX-License-Identifier: GPL-2.0-only
"""What a run is made with: the facts of suite, kernel, driver and host, and the files that say what is judged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .checkout import root

if TYPE_CHECKING:
    from ..profiles import Profile
    from ..results.events import Environment

#: Options that name a file which says what is judged, or how.
_FILES = ("--plan", "--waivers")


def made_with(profile: Profile, options: Sequence[str]) -> Environment:
    """As it is now. A file that cannot be read has no digest: who needs it says so."""
    from ..results.events import Environment
    from ..run.environment import gather

    inputs = {str(path): digest for path in input_files(profile, options) if (digest := _digest(path))}
    return Environment(gather(profile, root()), inputs, tuple(options), os.getcwd())


def input_files(profile: Profile, options: Sequence[str]) -> Iterator[Path]:
    """The profile, its file of functions, and the files that options name."""
    yield profile.path
    if profile.actions:
        yield profile.action_file
    for option in options:
        name, _, value = option.partition("=")
        if name in _FILES and value:
            yield Path(value)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
