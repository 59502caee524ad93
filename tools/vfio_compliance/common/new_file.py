# SPDX-License-Identifier: GPL-2.0-only
"""A file that is complete or does not exist."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

#: Errors of file systems without links, such as FAT and some in user space.
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def new_file(path: Path, complaint: type[Exception], *, replace: bool = False) -> Iterator[BinaryIO]:
    """A file that gets the name ``path`` if the block succeeds, and leaves nothing behind if it fails.

    Raises ``complaint`` if the file cannot be made, or if it exists already and ``replace`` is not set.
    """
    if not replace:
        refuse_existing(path, complaint)
    try:
        number, part = tempfile.mkstemp(prefix=f".{path.name[:200]}.", suffix=".part", dir=path.parent)
    except (OSError, ValueError) as error:
        raise complaint(f"{path}: cannot be made: {getattr(error, 'strerror', None) or error}") from None
    try:
        with open(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(number)
        if replace:
            os.replace(part, path)
        else:
            _publish(part, path, complaint)
    except OSError as error:
        raise complaint(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if os.path.lexists(part):
            os.unlink(part)


def refuse_existing(path: Path, complaint: type[Exception]) -> None:
    """Raises ``complaint`` if the file exists already."""
    if os.path.lexists(path):
        raise complaint(f"{path}: exists already; name a new file")


def _publish(part: str, path: Path, complaint: type[Exception]) -> None:
    """Give the file its name. Raises ``complaint`` if another file has got that name in the meantime, OSError."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise complaint(f"{path}: exists already; name a new file") from None
    except OSError as error:
        if error.errno not in _NO_LINKS or os.path.lexists(path):
            raise
        os.rename(part, path)
