# SPDX-License-Identifier: GPL-2.0-only
"""A saved state on its way from one device to another."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: Bytes moved at once; no more of a state than this is ever in memory, but for what is kept below.
PIECE = 1 << 20

#: A state of at most so many bytes is kept in memory, a larger one in a temporary file.
_IN_MEMORY = 16 << 20


class Buffer(NamedTuple):
    """One buffer of a state: where it lay in the region, its bytes, and their hash."""

    offset: int
    size: int
    digest: str
    #: Bytes of the state before this buffer.
    start: int


class Stream:
    """The buffers of a state in the order in which they were read; the data is opaque."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self.buffers: list[Buffer] = []
        #: Bytes in all.
        self.total = 0

    def add(self, offset: int, pieces: Iterable[bytes]) -> Buffer:
        """Append a buffer that lay at ``offset``. Raises what ``pieces`` raises, and OSError for a full disk."""
        self._file.seek(self.total)
        digest, size = hashlib.sha256(), 0
        for piece in pieces:
            self._file.write(piece)
            digest.update(piece)
            size += len(piece)
        buffer = Buffer(offset, size, digest.hexdigest(), self.total)
        self.buffers.append(buffer)
        self.total += size
        return buffer

    def pieces(self, buffer: Buffer, length: int = PIECE) -> Iterator[bytes]:
        """The bytes of ``buffer``, ``length`` at a time."""
        for start in range(0, buffer.size, length):
            self._file.seek(buffer.start + start)
            yield self._file.read(min(length, buffer.size - start))

    def bytes(self, buffer: Buffer) -> bytes:
        """All the bytes of ``buffer``."""
        return b"".join(self.pieces(buffer))

    @property
    def digests(self) -> list[str]:
        """Hashes of the buffers in order."""
        return [buffer.digest for buffer in self.buffers]

    @property
    def sizes(self) -> list[int]:
        """Sizes of the buffers in order."""
        return [buffer.size for buffer in self.buffers]
