# SPDX-License-Identifier: GPL-2.0-only
"""One stay in resuming: what the device must accept (kabi v23, lines 230-241)."""

from __future__ import annotations

from collections.abc import Sequence

from .answer import ANYTHING, Answer, require
from .layout import Layout


class Resuming:
    """Follows a client that restores a state. ``stream`` is one that the device is known to understand, if any."""

    def __init__(self, layout: Layout, stream: Sequence[bytes]) -> None:
        self._layout = layout
        self._stream = stream
        #: The client wrote something other than the saved state: the outcome is unspecified.
        self.undefined = False
        #: Where the next buffer goes; None until data_offset has been read for it.
        self.place: int | None = None
        #: How many buffers of the stream the device has accepted.
        self.taken = 0
        self._written = bytearray()

    @property
    def next_buffer(self) -> bytes | None:
        """What must come next; None if the device has everything, or nothing is known."""
        return self._stream[self.taken] if self.taken < len(self._stream) else None

    @property
    def whole(self) -> bool:
        """Whether the device has a whole state, and nothing else."""
        return bool(self._stream) and self.taken == len(self._stream) and not self.undefined and not self._written

    @property
    def touched(self) -> bool:
        """Whether anything was written to the device."""
        return bool(self.taken or self._written or self.undefined)

    def read_offset(self, answer: Answer) -> str:
        """data_offset: where the next buffer goes."""
        if self._stream and self.next_buffer is None:
            self.undefined = True  # it has everything, and more was announced
        if self.undefined:
            return ANYTHING
        if self.place is not None:
            return require(answer.value == 8 and answer.number == self.place, f"0x{self.place:x}, as before")
        expected = require(answer.value == 8 and self._layout.takes(answer.number), self._layout.place)
        self.place = answer.number
        return expected

    def write_data(self, offset: int, data: bytes, answer: Answer) -> str:
        """Bytes of a buffer, in pieces that follow one another."""
        buffer = self.next_buffer
        start = len(self._written)
        right = (
            self.place is not None
            and buffer is not None
            and offset == self.place + start
            and buffer[start : start + len(data)] == data
        )
        if not right:
            self.undefined = True
        if self.undefined:
            return ANYTHING
        expected = require(0 < answer.value <= len(data), "bytes taken")
        self._written += data[: answer.value]
        return expected

    def write_size(self, size: int, answer: Answer) -> str:
        """data_size: the buffer is there."""
        buffer = self.next_buffer
        if buffer is None or self._written != buffer or size != len(buffer):
            self.undefined = True
        if self.undefined:
            return ANYTHING
        expected = require(answer.value == 8, "8 bytes taken")
        self.taken += 1
        self.place = None
        self._written = bytearray()
        return expected
