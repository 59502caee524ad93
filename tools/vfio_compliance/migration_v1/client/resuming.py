# SPDX-License-Identifier: GPL-2.0-only
"""The client's side of resuming (kabi v23, lines 230-241): data_offset, data, data_size, for each buffer.

A client may leave the state at any point, write a buffer in any pieces, and write nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...common.words import counted
from ...run.client import Access
from ...run.ledger import Ledger
from ...uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DeviceState
from .access import UNKNOWN, is_data, register_of, value_of
from .comparison import Comparison
from .loop import Loop
from .saving import NO_VALUE, UNSEEN
from .stream import Areas, Content, Coverage, Transaction


@dataclass
class _Buffer:
    """One buffer, from data_offset to data_size."""

    #: None: data_offset was never read, for it or before.
    offset: int | None
    written: Coverage = field(default_factory=Coverage)
    content: Content = field(default_factory=Content)
    #: Data was written, some of it where it should not be.
    touched: bool = False
    outside: bool = False
    #: data_offset was read again.
    reread: bool = False


class Resuming(Loop):
    """One stay in resuming. ``unsure``: how it began was not seen.

    ``comparison`` judges what is written.
    """

    def __init__(self, ledger: Ledger, areas: Areas, comparison: Comparison, unsure: bool) -> None:
        super().__init__(ledger)
        self._areas = areas
        self._comparison: Comparison | None = comparison
        self._unsure = unsure
        self._buffer: _Buffer | None = None
        self._last_offset: int | None = None
        #: data_size came too early; the data coming now is not a second offence.
        self._excused = False

    def take(self, access: Access) -> None:
        """An access to the region other than to device_state."""
        asks = access.verb == "read" and register_of(access) == DATA_OFFSET.name
        gives = access.verb == "write" and register_of(access) == DATA_SIZE.name
        if not (asks or gives or (access.verb == "write" and is_data(access))):
            return
        carried_out = self.step(access)
        # What was refused may have been wrong: a write is judged nevertheless.
        if gives:
            self._write_size(access)
        elif access.verb == "write":
            self._write_data(access)
        elif access.ok:
            self._read_offset(access)
        if not carried_out or not (is_data(access) or access.ok):
            self._lose_track()

    def leave(self, state: int | None) -> None:
        """The state ends; ``state`` is the one that was written, None for another end."""
        running = state in (DeviceState.RUNNING, DeviceState.PRE_COPY)
        if running and self._buffer and self._buffer.touched and not self._excused:
            self._without_size(self._buffer, "the device was set running")
        elif self._comparison and not self._unsure:
            self._comparison.end(running)

    def _lose_track(self) -> None:
        """A step failed, or a register was read short: what the client makes of that is unknown."""
        self._unsure = True
        self._buffer = self._comparison = None

    def _read_offset(self, access: Access) -> None:
        self._excused = False
        offset = value_of(access)
        if self._buffer and self._buffer.touched and not self._unsure:
            if offset == self._buffer.offset:
                self._buffer.reread = True
                return
            self._without_size(self._buffer, "data_offset of another buffer was read")
        self._unsure = False
        self._buffer = _Buffer(offset)
        self._last_offset = offset

    def _write_data(self, access: Access) -> None:
        if self._unsure or self._excused:
            return
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = _Buffer(self._last_offset)
            self._misplaced(
                buffer, "data_offset to be read for each buffer", "data was written and data_offset had not been read"
            )
        if buffer.offset == UNKNOWN:
            buffer.touched = True
            return
        start = 0 if buffer.offset is None else access.offset - buffer.offset
        if buffer.reread and buffer.written.overlaps(start, start + access.length):
            self._without_size(buffer, "data was written over it")
            buffer = self._buffer = _Buffer(buffer.offset)
        buffer.touched = True
        if start < 0:
            self._misplaced(
                buffer,
                f"data to be written from data_offset, 0x{buffer.offset:x}, on",
                f"data was written at 0x{access.offset:x}",
            )
        if access.value > 0:
            buffer.written.add(start, start + access.value)
            buffer.content.add(start, access)

    def _write_size(self, access: Access) -> None:
        buffer, self._buffer = self._buffer, None
        if self._unsure or self._excused:
            return
        size = value_of(access)
        place = buffer.offset if buffer else self._last_offset
        buffer = buffer or _Buffer(place)
        if UNKNOWN in (size, place):
            self._unknown_size(buffer, size)
            return
        done = buffer.written.inside(size)
        unseen = done < size and self._areas.touch(place, size)
        if unseen:
            self.ledger.undecided(UNSEEN, "FLD-06", *(() if buffer.touched else ("FLD-04",)))
        elif done == size:
            self.ledger.keep("FLD-06")
        else:
            self._excused = not buffer.touched
            self.ledger.offend(
                "FLD-06",
                "data_size to be written after the data, as its size",
                f"data_size was written as {size} when {counted(done, 'byte')} of data had been written",
            )
        if buffer.written.end > size:
            self._misplaced(
                buffer,
                f"data to be written inside the buffer of {counted(size, 'byte')} that data_size announces",
                f"data was written up to {counted(buffer.written.end, 'byte')} from data_offset",
            )
        if buffer.touched and not buffer.outside:
            self.ledger.keep("FLD-04")
        if self._comparison and size:
            self._comparison.take(buffer.content.transaction(size) if done == size else Transaction(size))

    def _unknown_size(self, buffer: _Buffer, size: int) -> None:
        """The trace does not have the place of the data, or its size."""
        self.ledger.undecided(NO_VALUE, "FLD-06", *(("FLD-04",) if buffer.touched else ()))
        if self._comparison and size == UNKNOWN:
            self._comparison.lose(NO_VALUE)
        elif self._comparison and size:
            self._comparison.take(Transaction(size))

    def _misplaced(self, buffer: _Buffer, expected: str, seen: str) -> None:
        if not buffer.outside:
            self.ledger.offend("FLD-04", expected, seen)
        buffer.outside = True

    def _without_size(self, buffer: _Buffer, when: str) -> None:
        self.ledger.offend(
            "FLD-06",
            "data_size to be written once the data of a buffer is",
            f"{when}, and data_size was not written for the {counted(buffer.written.inside(1 << 64), 'byte')} before",
        )
