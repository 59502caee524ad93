# SPDX-License-Identifier: GPL-2.0-only
"""The client's side of saving (kabi v23, lines 196-224): steps a to f.

A client may leave the state at any point, read pending_bytes again before an iteration, data_offset and data_size
again until all of the buffer has been read, the data again and in any pieces until the iteration ends, and read
nothing at all. A client that saves in stop-and-copy continues until pending_bytes is 0, except after an error, a reset
or a close, or if it returns to running (lines 226-228).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...common.words import counted, enumerated
from ...run.client import Access
from ...run.ledger import Ledger
from ...uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, PENDING_BYTES
from .access import UNKNOWN, is_data, register_of, value_of
from .loop import Loop
from .stream import Areas, Content, Coverage, Stream, Transaction

UNSEEN = (
    "data in a mappable part of the region was not seen to be moved: it may have gone through a "
    "mapping, which no trace shows"
)
NO_VALUE = "the trace does not have the values of the registers"


@dataclass
class _Iteration:
    """One buffer, from data_offset to the next pending_bytes; None for what was not read."""

    offset: int | None = None
    size: int | None = None
    read: Coverage = field(default_factory=Coverage)
    content: Content = field(default_factory=Content)
    #: Data was read, some of it outside the buffer.
    touched: bool = False
    outside: bool = False
    #: The order was already broken.
    faulty: bool = False
    #: How it began was not seen.
    unsure: bool = False

    @property
    def unknown(self) -> bool:
        """The trace does not have the buffer's place or size."""
        return UNKNOWN in (self.offset, self.size)

    @property
    def whole(self) -> bool:
        """All of the buffer was seen to be read."""
        if self.offset is None or self.size is None or self.unknown:
            return False
        return self.read.inside(self.size) == self.size


class Saving(Loop):
    """One stay in pre-copy or stop-and-copy. ``unsure``: how it began was not seen."""

    def __init__(self, ledger: Ledger, areas: Areas, stream: Stream, unsure: bool) -> None:
        super().__init__(ledger)
        self._areas = areas
        self._stream = stream
        self._unsure = unsure
        if unsure:
            stream.lose()
        #: pending_bytes as it was last read in this state; None: it was not.
        self.pending: int | None = None
        self._zero_kept = False
        self._iteration: _Iteration | None = None
        self._last_offset: int | None = None

    def take(self, access: Access) -> None:
        """An access to the region other than to device_state."""
        register = register_of(access)
        if access.verb != "read" or not (is_data(access) or register in _STEPS):
            return
        self._stream.begun = True
        carried_out = self.step(access)
        value = value_of(access) if access.ok else None
        if is_data(access):
            self._read_data(access)  # a read that was refused may have been a client's fault
        elif register == DATA_OFFSET.name:
            self._read_offset(value)
        elif register == DATA_SIZE.name:
            self._read_size(value)
        elif value is not None:
            self._read_pending(value)
        if not carried_out or not (is_data(access) or access.ok):
            self._lose_track()

    @property
    def unsure(self) -> bool:
        """How it began was not seen, and pending_bytes has not been read since."""
        return self._unsure

    def leave(self) -> None:
        """The state ends, or the trace."""
        self._finish(next_one=False)

    def _lose_track(self) -> None:
        """A step failed, or a register was read short: what the client makes of that is unknown."""
        self._unsure = True
        if self._iteration:
            self._iteration.unsure = True

    def _read_pending(self, value: int) -> None:
        self._finish(next_one=True)
        self._unsure = False
        self.pending = value
        self._zero_kept = value == 0
        if self._zero_kept:
            self.ledger.keep("SAV-02")

    def _read_offset(self, value: int | None) -> None:
        """None: it was requested, but not returned. The request itself may be the fault."""
        current = self._iteration
        if current and current.whole and current.size:
            self._finish(next_one=False)
            self._iteration = _Iteration(faulty=True)
            self.ledger.offend(
                "SAV-11",
                "pending_bytes to be read (step f) before data_offset (step b) of the next iteration",
                f"data_offset was read again when all {counted(current.size, 'byte')} of the buffer had been",
            )
        iteration = self._under_way(DATA_OFFSET.name)
        if value is not None:
            iteration.offset = self._last_offset = value

    def _read_size(self, value: int | None) -> None:
        iteration = self._under_way(DATA_SIZE.name)
        if iteration.offset is None:
            self._disorder(
                iteration,
                "data_offset (step b) to be read before data_size (step c)",
                "data_size was read without data_offset having been read in this iteration",
            )
        if value is not None:
            iteration.size = value

    def _read_data(self, access: Access) -> None:
        iteration = self._under_way("data")
        iteration.touched = True
        missing = [
            name for name, value in (("data_offset", iteration.offset), ("data_size", iteration.size)) if value is None
        ]
        if missing:
            names = enumerated(missing, "and")
            self._disorder(iteration, f"{names} to be read before the data (step d)", f"data was read without {names}")
        self._check_place(iteration, access)
        if iteration.offset not in (None, UNKNOWN) and access.value > 0:
            start = access.offset - iteration.offset
            iteration.read.add(start, start + access.value)
            iteration.content.add(start, access)

    def _check_place(self, iteration: _Iteration, access: Access) -> None:
        start = self._last_offset if iteration.offset is None else iteration.offset
        end = access.offset + access.length
        if iteration.unsure or start == UNKNOWN:
            iteration.outside = True
        elif start is None:
            self._misplaced(iteration, access, "data to be read from where data_offset says", "which was never read")
        elif access.offset < start or (iteration.size not in (None, UNKNOWN) and end > start + iteration.size):
            limit = "" if iteration.size in (None, UNKNOWN) else f"0x{start + iteration.size:x}"
            self._misplaced(
                iteration, access, "data to be read inside the buffer only", f"the buffer is [0x{start:x}, {limit})"
            )

    def _misplaced(self, iteration: _Iteration, access: Access, expected: str, why: str) -> None:
        iteration.outside = True
        place = f"[0x{access.offset:x}, 0x{access.offset + access.length:x})"
        self.ledger.offend("FLD-04", expected, f"data was read at {place}; {why}")

    def _disorder(self, iteration: _Iteration, expected: str, seen: str) -> None:
        if not iteration.faulty and not iteration.unsure:
            iteration.faulty = True
            self.ledger.offend("SAV-11", expected, seen)

    def _under_way(self, step: str) -> _Iteration:
        """The iteration that a step belongs to; a new one if none has begun."""
        if self._iteration is None:
            self._iteration = _Iteration(unsure=self._unsure)
            if self._unsure:
                pass
            elif self.pending == UNKNOWN:
                self.ledger.undecided(NO_VALUE, "SAV-02")
            elif self.pending is None:
                self._disorder(
                    self._iteration,
                    "pending_bytes (step a) to be read before an iteration",
                    f"{step} was read before pending_bytes had been in this state",
                )
            elif self.pending == 0:
                self._iteration.unsure = True  # whatever it does in there is this one offence
                self.ledger.offend(
                    "SAV-02",
                    "no iteration while pending_bytes is 0",
                    f"{step} was read after pending_bytes had read 0",
                    after_all=self._zero_kept,
                )
                self._zero_kept = False
        return self._iteration

    def _finish(self, next_one: bool) -> None:
        """The iteration is over: by the read of pending_bytes that begins the ``next_one``, or left."""
        iteration, self._iteration = self._iteration, None
        if iteration is None:
            return
        unseen = not iteration.whole and self._areas.touch(iteration.offset, iteration.size)
        if not iteration.unsure:
            self._judge(iteration, unseen, next_one)
        self._add_to_stream(iteration, unseen, next_one)

    def _judge(self, iteration: _Iteration, unseen: bool, next_one: bool) -> None:
        if iteration.size is not None:
            self.ledger.keep("FLD-06")
        elif iteration.touched:
            self.ledger.offend(
                "FLD-06",
                "data_size to be read to learn how much data there is",
                "data was read in an iteration in which data_size was not",
            )
        if iteration.touched and iteration.unknown:
            self.ledger.undecided(NO_VALUE, "FLD-04")
        elif iteration.touched and not iteration.outside:
            self.ledger.keep("FLD-04")
        if next_one and iteration.unknown and not iteration.faulty:
            self.ledger.undecided(NO_VALUE, "SAV-11")
            return
        if next_one and not iteration.whole and not unseen:
            size = "the bytes" if iteration.size is None else f"the {counted(iteration.size, 'byte')}"
            done = iteration.read.inside(iteration.size or 0)
            self._disorder(
                iteration,
                "the data of the buffer to be read (step d) before pending_bytes, which ends the iteration (step f)",
                f"pending_bytes was read when {done} of {size} had been",
            )
        if not iteration.faulty:
            self.ledger.keep("SAV-11")
            if unseen:  # the registers were read in order; whether the data was, is unknown
                self.ledger.undecided(UNSEEN, "SAV-11", *(() if iteration.touched else ("FLD-04",)))

    def _add_to_stream(self, iteration: _Iteration, unseen: bool, next_one: bool) -> None:
        stream = self._stream
        size = 0 if iteration.size in (None, UNKNOWN) else iteration.size or 0
        taken = next_one or iteration.touched
        if iteration.whole:
            if size:
                stream.add(iteration.content.transaction(size))
        elif iteration.unsure:
            if iteration.touched or unseen:
                stream.lose()
        elif iteration.unknown:
            if taken and iteration.size != UNKNOWN:
                stream.add(Transaction(size))
            elif taken:
                stream.lose()
        elif unseen and size and next_one:
            stream.add(Transaction(size))
        elif unseen or (iteration.touched and next_one):
            stream.lose()


_STEPS = (PENDING_BYTES.name, DATA_OFFSET.name, DATA_SIZE.name)
