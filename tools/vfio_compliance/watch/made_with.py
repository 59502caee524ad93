# SPDX-License-Identifier: GPL-2.0-only
"""What a run is made with, and copies, in its folder, of the files that define what is judged and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..results.events import Environment
from ..results.folder import INPUTS


class MadeWith(NamedTuple):
    """Profile, plan, waivers, configuration of the kernel: as they were when the run began."""

    environment: Environment
    #: The content of each file by the name that it gets in the folder.
    files: Mapping[str, bytes]


def keep(files: Mapping[str, bytes], out: Path) -> None:
    """Put the copies into the folder of a run; only its owner can read them. Raises OSError."""
    folder = out / INPUTS
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
