# SPDX-License-Identifier: GPL-2.0-only
"""One stay in pre-copy or stop-and-copy: what the registers and the data may show (kabi v23, lines 160-228)."""

from __future__ import annotations

from .answer import ANYTHING, Answer, require
from .layout import Layout

#: The bytes of a larger buffer are not compared.
LARGEST_KEPT = 4 << 20


class _Buffer:
    """A buffer that the device has made available."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.size: int | None = None
        self._pieces: list[tuple[int, bytes]] = []
        self._missing = bytearray()

    def measured(self, size: int) -> None:
        """data_size was read."""
        self.size = size
        self._missing = bytearray(b"\1" * size if size <= LARGEST_KEPT else b"\1")

    def covers(self, offset: int, length: int) -> bool:
        """Whether all of an access is in it."""
        return bool(self.size) and self.offset <= offset and offset + length <= self.offset + (self.size or 0)

    def agrees(self, offset: int, data: bytes) -> bool:
        """Whether ``data`` is what was read there before, if it was read."""
        for start, piece in self._pieces:
            low, high = max(start, offset), min(start + len(piece), offset + len(data))
            if low < high and piece[low - start : high - start] != data[low - offset : high - offset]:
                return False
        return True

    def keep(self, offset: int, data: bytes) -> None:
        """Remember what was read."""
        if self.size is not None and self.size <= LARGEST_KEPT:
            self._pieces.append((offset, data))
            at = offset - self.offset
            self._missing[at : at + len(data)] = bytes(len(data))

    @property
    def content(self) -> bytes | None:
        """All of its bytes; None until each was read."""
        if self.size is None or any(self._missing):
            return None
        content = bytearray(self.size)
        for start, piece in self._pieces:
            content[start - self.offset : start - self.offset + len(piece)] = piece
        return bytes(content)


class Saving:
    """Follows a client that reads the state. ``final`` is stop-and-copy, where pending_bytes of 0 is the end.

    ``before`` are the buffers that pre-copy gave out, which belong to the same state; None if it is unknown which of
    them the device regards as read, or it came here by an undocumented transition.
    """

    def __init__(self, layout: Layout, final: bool, before: list[bytes] | None) -> None:
        self._layout = layout
        self._final = final
        self._before = before
        #: The client has left the documented order: until the state changes, the data is unspecified.
        self.undefined = False
        #: Whether bytes were pending at the last read; None before that.
        self.pending: bool | None = None
        self._buffer: _Buffer | None = None
        self._ended = False
        #: The buffers that were read in full.
        self.buffers: list[bytes] = []

    @property
    def place(self) -> tuple[int, int | None] | None:
        """Offset and size (None: not read yet) of the present buffer."""
        return None if self._buffer is None else (self._buffer.offset, self._buffer.size)

    @property
    def content(self) -> bytes | None:
        """The bytes of the present buffer; None until each of them was read."""
        return None if self._buffer is None else self._buffer.content

    @property
    def whole(self) -> list[bytes] | None:
        """The buffers of a state that was read to its end, as specified; otherwise None."""
        if not self._ended or self.undefined or self._before is None:
            return None
        return self._before + self.buffers

    @property
    def so_far(self) -> list[bytes] | None:
        """The buffers that were read, if the device was notified of each; otherwise None."""
        return None if self.undefined or self._buffer is not None else self.buffers

    def read_pending(self, answer: Answer) -> str:
        """pending_bytes: lets go of the buffer before, and says whether there is another."""
        if self._buffer is not None:
            content = self._buffer.content
            if content is None:
                self.undefined = True  # it was to be read first
            else:
                self.buffers.append(content)
            self._buffer, self.pending = None, None
        if self.undefined:
            return ANYTHING
        expected, allowed = "8 bytes", answer.value == 8
        if self._ended:
            expected, allowed = "0, as before", allowed and not answer.number
        elif self._final and self.pending:
            expected, allowed = "more than 0, as before", allowed and bool(answer.number)
        require(allowed, expected)
        self.pending = bool(answer.number)
        self._ended = self._final and not self.pending
        return expected

    def read_offset(self, answer: Answer) -> str:
        """data_offset: makes a buffer available, or shows its place again."""
        if self._buffer is None and not self.pending:
            self.undefined = True  # nothing was pending, or pending_bytes was not read
        if self.undefined:
            return ANYTHING
        if self._buffer is not None:
            expected = f"0x{self._buffer.offset:x}, as before"
            return require(answer.value == 8 and answer.number == self._buffer.offset, expected)
        expected = require(answer.value == 8 and self._layout.takes(answer.number), self._layout.place)
        self._buffer = _Buffer(answer.number)
        return expected

    def read_size(self, answer: Answer) -> str:
        """data_size: of the buffer that is available."""
        if self._buffer is None:
            self.undefined = True
        if self.undefined or self._buffer is None:
            return ANYTHING
        if self._buffer.size is not None:
            expected = f"{self._buffer.size}, as before"
            return require(answer.value == 8 and answer.number == self._buffer.size, expected)
        room = self._layout.size - self._buffer.offset
        expected = require(answer.value == 8 and 0 < answer.number <= room, f"1 to {room}")
        self._buffer.measured(answer.number)
        return expected

    def read_data(self, offset: int, length: int, answer: Answer) -> str:
        """Bytes of the region behind the registers."""
        if self.undefined or self._buffer is None or not self._buffer.covers(offset, length):
            return ANYTHING
        require(0 < answer.value <= length and len(answer.data) == answer.value, "data")
        expected = require(self._buffer.agrees(offset, answer.data), "the same bytes as before", "other bytes")
        self._buffer.keep(offset, answer.data)
        return expected
