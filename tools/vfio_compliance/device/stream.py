# SPDX-License-Identifier: GPL-2.0-only
"""A saved state on its way from one device to another."""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

#: Bytes moved at once.
PIECE = 1 << 20

#: A state of at most so many bytes is kept in memory, a larger one in a temporary file.
_IN_MEMORY = 16 << 20

#: So many pieces may wait to be hashed and stored while the next ones are read.
_WAITING = 8

#: Smaller pieces are not worth handing to another thread.
_WORTH_A_THREAD = 64 << 10


class Buffer(NamedTuple):
    """One buffer of a state: where it lay in the region, its bytes, and how many of the state came before it."""

    offset: int
    size: int
    start: int


class Stream:
    """The buffers of a state in the order in which they were read; the data is opaque.

    Memory does not grow with the state. Hashing and storing go on while the device prepares the next buffer.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._hashes: list[Any] = []
        self._worker: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self.buffers: list[Buffer] = []
        #: Bytes in all.
        self.total = 0

    def add(self, offset: int, pieces: Iterable[bytes]) -> Buffer:
        """Append a buffer that lay at ``offset``. Raises what ``pieces`` raises, and OSError for a full disk."""
        digest, start = hashlib.sha256(), self.total
        for piece in pieces:
            if len(piece) < _WORTH_A_THREAD:
                self._settle()
                self._keep(digest, self.total, piece)
            else:
                self._worker = self._worker or ThreadPoolExecutor(1)
                self._waiting.append(self._worker.submit(self._keep, digest, self.total, piece))
                self._settle(_WAITING)
            self.total += len(piece)
        self._hashes.append(digest)
        self.buffers.append(Buffer(offset, self.total - start, start))
        return self.buffers[-1]

    def pieces(self, buffer: Buffer, length: int = PIECE) -> Iterator[bytes]:
        """The bytes of ``buffer``, ``length`` at a time. Raises OSError."""
        self._settle()
        for start in range(0, buffer.size, length):
            self._file.seek(buffer.start + start)
            yield self._file.read(min(length, buffer.size - start))

    def data(self, buffer: Buffer) -> bytes:
        """All the bytes of ``buffer``. Raises OSError."""
        return b"".join(self.pieces(buffer))

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each buffer, in order. Raises OSError."""
        self._settle()
        return [digest.hexdigest() for digest in self._hashes]

    @property
    def sizes(self) -> list[int]:
        """Sizes of the buffers in order, in bytes."""
        return [buffer.size for buffer in self.buffers]

    def _keep(self, digest: Any, position: int, piece: bytes) -> None:
        digest.update(piece)
        self._file.seek(position)
        self._file.write(piece)

    def _settle(self, most: int = 0) -> None:
        """Wait until at most ``most`` pieces are left to be stored."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()
