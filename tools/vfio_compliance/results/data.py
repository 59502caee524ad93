# SPDX-License-Identifier: GPL-2.0-only
"""Data that calls moved, in the folder of a run: each content once, in a file named by its SHA-256 digest."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

NAME: Final = "data"

#: Bytes of the disk that are left free for others.
_RESERVE: Final = 256 << 20


class DataStore:
    """Keeps data, as long as there is room. Only its owner can read the folder and its files."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError if the folder cannot be made."""
        self._folder = folder
        #: Why no more data is kept, once that is so.
        self.complaint = ""
        folder.mkdir(mode=0o700, exist_ok=True)

    def keep(self, digest: str, data: bytes) -> None:
        """Keep ``data``, unless it is there already; after an error nothing more is tried."""
        path = self._folder / digest
        if self.complaint or path.exists():
            return
        unfinished = self._folder / f".{digest}.{os.getpid()}"
        try:
            disk = os.statvfs(self._folder)
            free = disk.f_bavail * disk.f_frsize
            if free < len(data) + _RESERVE:
                self._give_up(f"its disk has {free >> 20} MiB free, of which {_RESERVE >> 20} are left to others")
                return
            with open(unfinished, "xb", opener=_private) as file:
                file.write(data)
            unfinished.rename(path)
        except OSError as error:
            self._give_up(f"{error.strerror}")
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _give_up(self, why: str) -> None:
        self.complaint = f"from some time on no data was kept in {self._folder}: {why}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
