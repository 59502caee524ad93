# SPDX-License-Identifier: GPL-2.0-only
"""A file that is there whole, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

#: What file systems say that have no links, such as FAT and some of those in user space.
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def new_file(path: Path, complaint: type[Exception], *, replace: bool = False) -> Iterator[BinaryIO]:
    """A file that gets the name ``path`` when the block ends well, and leaves nothing behind when it does not.

    Raises ``complaint`` when none can be made there, or there is such a file already that is not to be replaced.
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
    """Raises ``complaint`` where there is such a file already."""
    if os.path.lexists(path):
        raise complaint(f"{path}: exists already; name a new file")


def _publish(part: str, path: Path, complaint: type[Exception]) -> None:
    """Give the file its name. Raises ``complaint`` when another one has come to have it meanwhile, OSError."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise complaint(f"{path}: exists already; name a new file") from None
    except OSError as error:
        if error.errno not in _NO_LINKS or os.path.lexists(path):
            raise
        os.rename(part, path)
