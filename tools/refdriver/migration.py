# SPDX-License-Identifier: GPL-2.0-only
"""The migration region: its header, the device state behind it, and the data section (kabi v23:49-270)."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from errno import EBUSY, EINVAL, EIO

from .machine import MEMORY_SIZE, Machine
from .options import Options
from .refusal import Refusal
from .regions import check_range
from .stream import PASS_PRE_COPY, PASS_WHOLE, Incoming, Outgoing, cut

# kabi v23:96-102
STOP = 0b000
RUNNING = 0b001
STOP_AND_COPY = 0b010
PRE_COPY = 0b011
RESUMING = 0b100
ERROR = 0b110

_RUNNING_BIT = 0b001
_STATE_BITS = 0b111
_STATES = (STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING)

#: The transitions of the diagram, kabi v23:106-124.
_DRAWN = frozenset(
    {
        (RUNNING, STOP),
        (RUNNING, STOP_AND_COPY),
        (RUNNING, PRE_COPY),
        (PRE_COPY, STOP_AND_COPY),
        (STOP_AND_COPY, STOP),
        (RUNNING, RESUMING),
        (RESUMING, RUNNING),
    }
)

_REFUSED_BY = {
    "stop-refused": (RUNNING, STOP),
    "stop-and-copy-to-stop-refused": (STOP_AND_COPY, STOP),
    "pre-copy-refused": (RUNNING, PRE_COPY),
    "pre-copy-to-stop-and-copy-refused": (PRE_COPY, STOP_AND_COPY),
    "resuming-refused": (RUNNING, RESUMING),
}
_MUST_DRAIN = {"pre-copy-must-drain": PRE_COPY, "stop-and-copy-must-drain": STOP_AND_COPY}
_WRONGLY_VALID = {
    "state-invalid-5-accepted": 0b101,
    "state-invalid-7-accepted": 0b111,
    "state-error-accepted": ERROR,
}

#: The data section begins at a page, so that it can be mapped (kabi v23:189-191).
SECTION_OFFSET = 4096
SECTION_SIZE = 16 << 10
REGION_SIZE = SECTION_OFFSET + SECTION_SIZE


class MigrationRegion:
    """Region 9. Carries the machine from state to state."""

    size = REGION_SIZE

    def __init__(self, options: Options, machine: Machine) -> None:
        self._options = options
        self._defects = options.defects
        self._machine = machine
        self._state = RUNNING
        self._previous_state = RUNNING
        self._outgoing: Outgoing | None = None
        self._incoming: Incoming | None = None
        #: Where buffers lie; the same place for saving and for resuming.
        self._data_offset = SECTION_OFFSET + (8 if "data-offset-unaligned" in self._defects else 0)
        self._largest_buffer = REGION_SIZE - self._data_offset
        #: The image taken on entering pre-copy.
        self._snapshot: bytes | None = None
        #: Whether a write of device_state has been refused since the last reset or opening.
        self._failed = False
        #: What defects let the user put into read-only fields.
        self._forced: dict[str, int] = {}
        # Only native width and alignment (kabi v23:52-54): a register is found by offset and width together.
        self._readers: dict[tuple[int, int], Callable[[], int]] = {}
        self._writers: dict[tuple[int, int], Callable[[int], int]] = {}
        self._place_registers()
        self.fd = -1
        self._section: mmap.mmap | None = None
        self._force(RUNNING)

    def _place_registers(self) -> None:
        """Lay the header out (kabi v23:244-270)."""
        base = 8 if "header-shifted" in self._defects else 0
        pending, reserved = (4, 12) if "pending-misplaced" in self._defects else (8, 4)
        self._readers = {
            (base, 4): self._read_state,
            (base + reserved, 4): self._read_reserved,
            (base + pending, 8): self._read_pending,
            (base + 16, 8): self._read_offset,
            (base + 24, 8): self._read_size,
        }
        self._writers = {
            (base, 4): self._write_state,
            (base + reserved, 4): self._write_reserved,
            (base + pending, 8): self._write_pending,
            (base + 16, 8): self._write_offset,
            (base + 24, 8): self._write_size,
        }

    # The user comes and goes.

    @property
    def areas(self) -> list[tuple[int, int]]:
        """Offset and size of what may be mapped (kabi v23:186-189)."""
        kind = self._options.data_section
        if kind == "trapped":
            return []
        size = SECTION_SIZE // 2 if kind == "partitioned" else SECTION_SIZE
        if "area-covers-registers" in self._defects:
            return [(0, SECTION_OFFSET + size)]
        if "area-outside-region" in self._defects:
            return [(SECTION_OFFSET, SECTION_SIZE + mmap.PAGESIZE)]
        return [(SECTION_OFFSET, size)]

    def open(self) -> None:
        """A user begins: the device runs (kabi v23:126), and the data section is fresh."""
        # As large as the region, since an area's place in the file is its offset in the region.
        # Sealed, so that a user cannot pull the memory away from under the device.
        self.fd = os.memfd_create("refdriver-data-section", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, REGION_SIZE)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._section = mmap.mmap(self.fd, REGION_SIZE)
        if "open-in-stop" in self._defects:
            self._force(STOP)

    def close(self) -> None:
        """The user has gone, in whatever state: the next one finds the device running (kabi v23:127-130)."""
        if self._section is not None:
            self._section.close()
            os.close(self.fd)
            self._section = None
        if "close-needs-stop" in self._defects and self._state != STOP:
            return
        self._force(RUNNING)

    def check_reset(self) -> None:
        """Refuse a reset; only a defect does (kabi v23:71-72)."""
        if "reset-refused-in-stop" in self._defects and self._state == STOP:
            raise Refusal(EBUSY)

    def reset(self) -> None:
        """From any state, the error state too, back to the default state."""
        if "reset-keeps-state" in self._defects:
            return
        if "reset-keeps-error" in self._defects and self._state == ERROR:
            return
        self._force(STOP if "reset-to-stop" in self._defects else RUNNING)

    def _force(self, state: int) -> None:
        """Put the device into a state whatever came before."""
        self._failed = False
        self._move(self._state, state)
        self._previous_state = state

    # Access.

    def read(self, offset: int, count: int) -> bytes:
        """A register, or any part of the data section, mapped or not (kabi v23:191-192)."""
        reader = self._readers.get((offset, count))
        if reader is not None:
            return reader().to_bytes(count, "little")
        if offset >= SECTION_OFFSET and self._section is not None:
            check_range(offset, count, REGION_SIZE)
            return self._section[offset : offset + count]
        return self._read_at_odd_width(offset, count)

    def write(self, offset: int, data: bytes) -> int:
        """As ``read``. Gives the count to report, which is less than what was written only by defect."""
        writer = self._writers.get((offset, len(data)))
        if writer is not None:
            return writer(int.from_bytes(data, "little"))
        if offset >= SECTION_OFFSET and self._section is not None:
            check_range(offset, len(data), REGION_SIZE)
            self._section[offset : offset + len(data)] = data
            return len(data)
        return self._write_at_odd_width(offset, data)

    def _read_at_odd_width(self, offset: int, count: int) -> bytes:
        """Refused, as the text asks (kabi v23:53-54)."""
        end = offset + count
        met = [(at, width) for at, width in sorted(self._readers) if at < end and offset < at + width]
        whole = met and count and met[0][0] <= offset and end <= met[-1][0] + met[-1][1]
        if whole and (
            ("width-byte-read-accepted" in self._defects and count == 1)
            or ("width-straddling-read-accepted" in self._defects and len(met) > 1)
        ):
            header = b"".join(self._readers[key]().to_bytes(key[1], "little") for key in met)
            return header[offset - met[0][0] : end - met[0][0]]
        raise Refusal(EINVAL)

    def _write_at_odd_width(self, offset: int, data: bytes) -> int:
        """Refused, and without effect."""
        if (offset, 4) in self._writers and self._writers[offset, 4] == self._write_state:
            value = int.from_bytes(data, "little")
            if "width-halfword-write-applied" in self._defects and len(data) == 2:
                self._write_state(value)
                return 2
            if "width-refused-but-applied" in self._defects and len(data) == 1:
                self._write_state(value)
        raise Refusal(EINVAL)

    # device_state (kabi v23:56-102).

    def _read_state(self) -> int:
        if self._failed and "state-failure-reports-7" in self._defects:
            return 0b111
        if "state-read-stale" in self._defects:
            return self._previous_state
        if "stop-and-copy-reads-stop" in self._defects and self._state == STOP_AND_COPY:
            return STOP
        return self._state

    def _write_state(self, value: int) -> int:
        try:
            self._change_state(value)
        except Refusal:
            self._failed = True
            if "state-failure-stores" in self._defects:
                self._state = value & _STATE_BITS
            if "state-failure-silent" in self._defects:
                return 4
            if "state-failure-short" in self._defects:
                return 2
            raise
        if "state-latched-after-failure" not in self._defects:
            self._failed = False
        return 0 if "state-write-short" in self._defects else 4

    def _change_state(self, value: int) -> None:
        """Go where the user asks, or raise Refusal and stay (kabi v23:59-70)."""
        if "reserved-bits-confuse" in self._defects and value & ~_STATE_BITS:
            self._state = value & ~_STATE_BITS | value << 1 & _STATE_BITS
            return
        old, new = self._state, value & _STATE_BITS  # bits 3-31 are reserved (kabi v23:87)
        fault = self._machine.take_fault()
        if fault == 1:
            self._move(old, ERROR)  # an internal error (kabi v23:68-70)
        if fault:
            raise Refusal(EIO)
        if "state-latched-after-failure" in self._defects and self._failed:
            raise Refusal(EIO)
        if old == ERROR and not ("error-left-by-write" in self._defects and new == RUNNING):
            raise Refusal(EIO)  # only reset leaves it (kabi v23:71-72)
        if new not in _STATES and not any(
            new == state and name in self._defects for name, state in _WRONGLY_VALID.items()
        ):
            raise Refusal(EINVAL)
        if new == old:
            if "self-write-moves" in self._defects:
                self._move(old, STOP)
            return
        if (old, new) not in _DRAWN:
            if self._options.refuse_undrawn:
                raise Refusal(EINVAL)
            if "undrawn-wrong-state" in self._defects:
                new = next(state for state in _STATES if state not in (old, new))
        self._refuse_by_defect(old, new)
        image = self._incoming.result() if self._incoming is not None else None
        if image is not None:
            self._machine.load(image)  # kabi v23:152-155
        self._move(old, new)

    def _refuse_by_defect(self, old: int, new: int) -> None:
        for name, transition in _REFUSED_BY.items():
            if name in self._defects and transition == (old, new):
                raise Refusal(EINVAL)
        for name, state in _MUST_DRAIN.items():
            if name in self._defects and state == old and self._outgoing is not None and self._outgoing.left():
                raise Refusal(EBUSY)

    def _move(self, old: int, new: int) -> None:
        """Make the transition, which nothing can refuse any more."""
        if self._works_in(old, new):
            self._machine.run()
        elif not (new == STOP_AND_COPY and "stop-and-copy-keeps-running" in self._defects):
            self._machine.halt()  # before the write returns (kabi v23:79-80)
        # What was not read of the old state's data is of no interest any more (kabi v23:146-148).
        self._outgoing = self._start_saving(new)
        self._incoming = Incoming(self._defects) if new == RESUMING else None
        self._forced.clear()
        self._previous_state, self._state = old, new

    def _works_in(self, old: int, new: int) -> bool:
        """Whether the device works in a state: bit 0 says so, and nothing else (kabi v23:78-79)."""
        works = bool(new & _RUNNING_BIT)
        if "running-bit-inverted" in self._defects:
            works = not works
        if "pre-copy-stops" in self._defects and new == PRE_COPY:
            works = False
        if "resumed-stays-stopped" in self._defects and (old, new) == (RESUMING, RUNNING):
            works = False
        return works

    # Saving (kabi v23:160-173, 196-228).

    def _start_saving(self, state: int) -> Outgoing | None:
        if state not in (PRE_COPY, STOP_AND_COPY):
            self._snapshot = None
            return None
        image = self._machine.save()
        if state == PRE_COPY:
            # The device memory once, while it goes on changing; all of it is sent again later.
            self._snapshot = image
            buffers = cut(image[:MEMORY_SIZE], PASS_PRE_COPY, self._largest_buffer, self._defects)
        else:
            if "pre-copy-snapshot-only" in self._defects and self._snapshot is not None:
                image = self._snapshot
            buffers = cut(image, PASS_WHOLE, self._largest_buffer, self._defects)
        if "saving-ignored" in self._defects:
            buffers = []
        return Outgoing(buffers)

    def _offer(self) -> None:
        """Have the present buffer in the data section before the read returns (kabi v23:205-208)."""
        if self._outgoing is not None and self._section is not None:
            buffer = self._outgoing.offer()
            if buffer is not None:
                self._section[self._data_offset : self._data_offset + len(buffer)] = buffer

    def _read_pending(self) -> int:
        pending = 0 if self._outgoing is None else self._outgoing.pending()
        if "state-changes-by-itself" in self._defects and self._state == STOP_AND_COPY:
            self._state = STOP
        return self._forced.get("pending", pending)

    def _write_pending(self, value: int) -> int:
        if "pending-writable" in self._defects:
            self._forced["pending"] = value
            return 8
        return self._write_read_only()

    def _read_offset(self) -> int:
        self._offer()
        if "data-offset-zero" in self._defects:
            return 0
        return self._forced.get("offset", self._data_offset)

    def _write_offset(self, value: int) -> int:
        if "data-offset-writable" in self._defects:
            self._forced["offset"] = value
            return 8
        return self._write_read_only()

    def _read_size(self) -> int:
        # The order of the two reads is not the user's to choose, but nothing is lost by serving either.
        self._offer()
        return 0 if self._outgoing is None else self._outgoing.offered_size()

    # Resuming (kabi v23:230-241).

    def _write_size(self, value: int) -> int:
        if self._incoming is None or self._section is None or value > self._largest_buffer:
            raise Refusal(EINVAL)
        if "resuming-data-refused" in self._defects:
            raise Refusal(EINVAL)
        if value:
            # Copied out: the user may still be writing to the section.
            self._incoming.take(self._section[self._data_offset : self._data_offset + value])
        return 8

    # reserved (kabi v23:157-158).

    def _read_reserved(self) -> int:
        if "reserved-read-refused" in self._defects:
            raise Refusal(EINVAL)
        if "reserved-garbage" in self._defects:
            return 0xDEADBEEF
        return self._forced.get("reserved", 0)

    def _write_reserved(self, value: int) -> int:
        if "reserved-write-refused" in self._defects:
            raise Refusal(EINVAL)
        if "reserved-stored" in self._defects:
            self._forced["reserved"] = value
        return 4

    def _write_read_only(self) -> int:
        if self._options.refuse_read_only:
            raise Refusal(EINVAL)
        return 8
