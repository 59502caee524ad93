# SPDX-License-Identifier: GPL-2.0-only
"""The reference device with its data section in a file, on a file system that freezes before a state is restored.

    freezing.py FOLDER MARK --socket-path=SOCKET

A client that then stores into its mapping sleeps uninterruptibly, as in a driver that never returns: no signal wakes
it. The file MARK exists afterwards; a device started later has its section in memory, as if it had recovered.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from errno import EINVAL
from pathlib import Path
from typing import Any

from frozen import FIFREEZE

import refdriver.__main__ as server
from refdriver import driver
from refdriver.migration_v1.region import MigrationRegion
from refdriver.migration_v1.section import DataSection
from refdriver.migration_v1.states import RESUMING, STOP_AND_COPY
from refdriver.refusal import Refusal

FOLDER, MARK = Path(sys.argv[1]), Path(sys.argv[2])


class SectionInFile(DataSection):
    """Its memory is that of a file, which clients can only access through a mapping."""

    def open(self) -> None:
        if MARK.exists():
            super().open()
            return
        self.fd = os.open(FOLDER / f"section-{os.getpid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        os.ftruncate(self.fd, self.end)
        self._memory = memoryview(mmap.mmap(self.fd, self.end))

    def read(self, offset: int, count: int) -> bytes | memoryview:
        raise Refusal(EINVAL)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        raise Refusal(EINVAL)


class FreezingRegion(MigrationRegion):
    """Freezes the file system once, when a state was saved and the client is about to store into the section."""

    _saved = False

    def read_pending(self) -> int:
        pending = super().read_pending()
        self._saved |= self.state == STOP_AND_COPY and not pending
        return pending

    def _move(self, new: int) -> None:
        super()._move(new)
        if new == RESUMING and self._saved and not MARK.exists():
            MARK.touch()
            folder = os.open(FOLDER, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.ioctl(folder, FIFREEZE, 0)
            os.close(folder)


def made(kind: type[Any]) -> type[Any]:
    """The class to use instead of ``kind``."""
    return {DataSection: SectionInFile, MigrationRegion: FreezingRegion}.get(kind, kind)


if __name__ == "__main__":
    build = driver.build
    setattr(driver, "build", lambda options, _: build(options, made))  # noqa: B010
    sys.exit(server.main(sys.argv[3:]))
