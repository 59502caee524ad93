# SPDX-License-Identifier: GPL-2.0-only
"""A saved state on its way from one device to another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..common.words import counted

#: Bytes moved at once.
PIECE = 1 << 20


class Buffer(NamedTuple):
    """One buffer of a state: its offset in the region, its size, and how many bytes of the state precede it."""

    offset: int
    size: int
    start: int


class Stream:
    """The buffers of a state in the order in which they were read; the data is opaque, and is kept in a temporary file.

    Memory use does not grow with the state.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self.buffers: list[Buffer] = []
        #: Bytes in all.
        self.total = 0

    def add(self, offset: int, pieces: Iterable[bytes | memoryview]) -> Buffer:
        """Append a buffer that was at ``offset``. Raises what ``pieces`` raises, and OSError for a full disk.

        Each piece is stored before the next one is asked for, so that a view may be reused.
        """
        start = self.total
        for piece in pieces:
            self._store(piece)
        self.buffers.append(Buffer(offset, self.total - start, start))
        return self.buffers[-1]

    def pieces(self, buffer: Buffer, length: int = PIECE) -> Iterator[bytes]:
        """The bytes of ``buffer``, ``length`` at a time. Raises OSError."""
        for start in range(0, buffer.size, length):
            yield os.pread(self._file.fileno(), min(length, buffer.size - start), buffer.start + start)

    def data(self, buffer: Buffer) -> bytes:
        """All the bytes of ``buffer``. Raises OSError."""
        return b"".join(self.pieces(buffer))

    @property
    def sizes(self) -> list[int]:
        """Sizes of the buffers in order, in bytes."""
        return [buffer.size for buffer in self.buffers]

    def difference(self, other: Stream) -> str:
        """How ``other`` differs, in words; empty if it is the same, buffer by buffer. Raises OSError."""
        if len(self.buffers) != len(other.buffers):
            return f"{counted(len(self.buffers), 'buffer')}, not {len(other.buffers)}"
        for number, (mine, its) in enumerate(zip(self.buffers, other.buffers, strict=True), 1):
            if mine.size != its.size:
                return f"{counted(mine.size, 'byte')} in buffer {number}, not {its.size}"
            if any(one != another for one, another in zip(self.pieces(mine), other.pieces(its), strict=True)):
                return f"different bytes in buffer {number}"
        return ""

    def same_at_end(self) -> int:
        """How many buffers at the end of the state are identical: place, size and bytes. Raises OSError."""
        if not self.buffers:
            return 0
        last = self.buffers[-1]
        times = 0
        for buffer in reversed(self.buffers):
            if buffer[:2] != last[:2] or any(
                a != b for a, b in zip(self.pieces(buffer), self.pieces(last), strict=True)
            ):
                break
            times += 1
        return times

    def _store(self, piece: bytes | memoryview) -> None:
        left = memoryview(piece)
        while left:  # a disk that is nearly full takes a part
            done = os.pwrite(self._file.fileno(), left, self.total)
            self.total += done
            left = left[done:]
