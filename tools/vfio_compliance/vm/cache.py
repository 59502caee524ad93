# SPDX-License-Identifier: GPL-2.0-only
"""A folder of finished things: an entry is either whole or not there."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vfio_compliance.vm.errors import VmError

_PARTIAL = ".partial-"
#: The error of a full disk, and the free bytes below which a disk counts as full.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LEAST = 1 << 20


@contextlib.contextmanager
def reporting_when_full(folder: Path) -> Iterator[None]:
    """Recognises a full disk behind any error, and raises a VmError that says so."""
    try:
        yield
    except (VmError, OSError) as error:
        said = f"{error} {getattr(error, 'detail', '')}"
        full = getattr(error, "errno", None) in _FULL or any(os.strerror(number) in said for number in _FULL)
        if full or shutil.disk_usage(folder).free < _LEAST:
            remedy = "make room there, or name another folder with --cache"
            raise VmError(f"{folder}: the disk is full, and kernels and builds go there: {remedy}") from error
        raise


class Cache:
    """Entries are made in a private folder next to their place and appear in it by one rename."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out, and removes the unfinished entries of an interrupted run.

        Raises OSError if the folder cannot be created or written.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for rest in self.root.glob(f"*/{_PARTIAL}*"):
                shutil.rmtree(rest, ignore_errors=True)
            yield

    def path(self, kind: str, name: str) -> Path:
        """The path of an entry, present or not; ``kind`` is the sub-folder."""
        return self.root / kind / name

    def entry(self, kind: str, name: str, make: Callable[[Path], None]) -> Path:
        """The folder of an entry, made by ``make(empty folder)`` if it is not there yet.

        Exceptions of ``make`` pass through, and leave nothing behind. Call it while ``locked``.
        """
        final = self.path(kind, name)
        if final.is_dir():
            return final
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=final.parent))
        try:
            partial.chmod(0o755)
            with reporting_when_full(partial):
                make(partial)
            partial.rename(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return final

    def names(self, kind: str) -> list[str]:
        """The finished entries of a kind."""
        folder = self.root / kind
        if not folder.is_dir():
            return []
        return sorted(e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith(_PARTIAL))
