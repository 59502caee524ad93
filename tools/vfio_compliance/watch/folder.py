# SPDX-License-Identifier: GPL-2.0-only
"""The folder of a run, which only one run may use; and folders for temporary files of a run.

Both are locked as long as a process of the run lives, including the test process, so that others can see whether the
run is over. A run that was killed leaves its folder for temporary files unlocked: the next one removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: The start of the name of a folder for temporary files.
PREFIX: Final = "vfio-run-"

IN_USE: Final = "another run uses it, or a test process of a killed run has not ended yet"


class FolderError(Exception):
    """A folder that cannot be used; the message names it, and says why and what to do."""


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """The folder of a run, made if missing, for this run alone; yields a descriptor that holds it.

    Raises FolderError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a saved state can hold a guest's secrets
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror}; name another folder with --out") from None
    try:
        if not _lock(held):
            raise FolderError(f"{folder}: {IN_USE}; wait for it, or name another folder with --out")
        yield held
    finally:
        os.close(held)


@contextlib.contextmanager
def scratch() -> Iterator[tuple[Path, int]]:
    """A folder for temporary files, removed with the block, and a descriptor that marks it as in use.

    Those of runs that were killed are removed first. Raises OSError.
    """
    remove_leftovers()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if _lock(held) and folder.is_dir():  # else a run that starts at this moment took it for a leftover
            break
        os.close(held)
    try:
        yield folder, held
    finally:
        # Whatever a killed process leaves in it is removed too.
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def remove_leftovers() -> list[Path]:
    """Remove this user's folders for temporary files of killed runs; return those that were found."""
    found = []
    try:
        names = os.listdir(tempfile.gettempdir())
    except OSError:
        return []
    for folder in (Path(tempfile.gettempdir(), name) for name in names if name.startswith(PREFIX)):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if _lock(held):
                    shutil.rmtree(folder, ignore_errors=True)
                    found.append(folder)
            finally:
                os.close(held)
    return found


def _lock(held: int) -> bool:
    """Whether no one else holds it. If the file system has no locks, no one is known to."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
