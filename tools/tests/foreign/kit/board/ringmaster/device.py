# SPDX-License-Identifier: GPL-2.0-only
"""A network card that finds the client's buffers in a ring of descriptors in its own memory, by their phase bit.

    region 0, registers; each is accessed as a whole
    0x00  4      TAIL: doorbell; the card reads the ring from its head on, up to a descriptor of the wrong phase
    0x04  4  ro  HEAD: index of the next descriptor that the card reads
    0x08  4  ro  bit 0: phase of the next descriptors, which changes with each lap of the ring
    0x0c  4      MODE: bit 0, take the descriptors of the loop ring forever, a packet every 4 ms
    0x10  8  ro  time stamp counter, while the card runs
    0x18  4      PIN: 1 pins the buffer of the loop ring, 0 unpins it; read, how many are pinned
    0x1c  4  ro  lap counter
    region 1, 48 KiB of memory
    0x0000  ring of 16 descriptors: address u64, length u32, phase u32 (bit 0)
    0x0100  completions, one for each: written address u64, written bytes u32, phase u32 (as above) | 2 if lost
    0x0200  loop ring: one descriptor, of the same form
    0x0400  the rest is free for a driver
    region 5, migration; the registers' page has a trapped part of the data section, the rest of it is mapped

The card chooses the place of a packet inside a buffer; the completion names it. Memory of the client is written through
its descriptor, and written pages are one long number for each mapping. The state is the record of the registers, in the
trapped part, then the memory in three pieces of 16 KiB, in the mapped part; the order and the lengths are fixed. Pieces
of memory are stored at once, the record when the card leaves resuming.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from board.wire import (
    MMAP,
    PAGE,
    READ,
    WRITE,
    Device,
    Mapping,
    Refused,
    Region,
    arguments,
    capability_sparse,
    capability_type,
    main,
)

STOP, RUN, COPY, PRE, RESUME, ERROR = 0, 1, 2, 3, 4, 6
RING, SLOTS, DONE, LOOP, MEMORY = 0x0000, 16, 0x0100, 0x0200, 48 * 1024
RECORD_AT, PIECE = 0x80, 16 * 1024
DESCRIPTOR = struct.Struct("<QII")
RECORD = struct.Struct("<8sIIIIQQQI4x")  # magic, tail, head, phase, mode, stamp, packets, laps, checksum of the memory
#: Undrawn transitions that are also accepted.
UNDRAWN = {(PRE, RUN), (COPY, RUN), (STOP, RUN), (STOP, COPY), (COPY, COPY), (RUN, RUN)}
DRAWN = {(RUN, STOP), (RUN, COPY), (COPY, STOP), (RUN, PRE), (PRE, COPY), (RUN, RESUME), (RESUME, RUN)}


class RingMaster(Device):
    pci = True

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.section = os.memfd_create("ringmaster", os.MFD_CLOEXEC)
        os.ftruncate(self.section, PAGE + PIECE)
        self.view = mmap.mmap(self.section, PAGE + PIECE)
        migration = Region(
            PAGE + PIECE,
            READ | WRITE | MMAP,
            [capability_sparse((PAGE, PIECE)), capability_type(3, 1)],
            self.section,
        )
        none = Region(flags=0)
        self.regions = [Region(0x20), Region(MEMORY), none, none, none, migration]
        self.books: dict[Mapping, int] = {}
        self.pinned: list[tuple[Mapping, int, int]] = []  # part of a buffer: address and bytes
        self.power_on()

    def power_on(self) -> None:
        self.state = RUN
        self.tail = self.head = self.mode = self.packets = self.laps = 0
        self.phase = 1
        self.stamp, self.stamped = 0, time.monotonic_ns()
        self.memory = bytearray(MEMORY)
        self.next_packet = 0.0
        self.cursor, self.offered, self.pieces = 0, False, 0
        self.record = b""
        self.size = 0

    def opened(self) -> None:
        self.power_on()

    def closed(self) -> None:
        self.tracking, self.pinned = False, []
        self.power_on()

    def reset(self) -> None:
        for _, address, size in self.pinned:
            self.note(address, size)
        self.pinned = []
        self.power_on()

    # -- packets ------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        moment = time.monotonic_ns()
        if self.state & RUN:
            self.stamp += moment - self.stamped
        self.stamped = moment
        return self.stamp

    def due(self) -> float | None:
        return self.next_packet if self.mode & 1 and self.state & RUN else None

    def tick(self) -> None:
        self.next_packet = time.monotonic() + 0.004
        address, length, _ = DESCRIPTOR.unpack_from(self.memory, LOOP)
        self.deliver(address, length)

    def deliver(self, address: int, length: int) -> tuple[int, int] | None:
        """Write a packet into a buffer; return its place and length, or None."""
        mapping = self.link.mapping(address, length)
        if mapping is None or not mapping.writable or not length:
            return None
        self.packets += 1
        size = min(length, 60 + 40 * (self.packets % 32))
        room = length - size
        at = self.packets * 1472 % (room + 1)
        packet = (struct.pack("<IH", self.packets, size) * (size // 6 + 1))[:size]
        try:
            os.pwrite(mapping.descriptor, packet, mapping.offset + address + at - mapping.start)
        except OSError:
            return None
        self.note(address if self.broken == "page-of-the-buffer" else address + at, size)
        return address + at, size

    def look(self) -> None:
        """Answer the doorbell."""
        if not self.state & RUN:
            return
        for _ in range(SLOTS):
            at = RING + self.head * DESCRIPTOR.size
            address, length, flags = DESCRIPTOR.unpack_from(self.memory, at)
            if flags & 1 != self.phase or self.head == self.tail % SLOTS:
                return
            written = self.deliver(address, length)
            where, size = written or (0, 0)
            lost = 0 if written else 2
            DESCRIPTOR.pack_into(self.memory, DONE + self.head * DESCRIPTOR.size, where, size, self.phase | lost)
            self.head += 1
            if self.head == SLOTS:
                self.head, self.phase, self.laps = 0, self.phase ^ 1, self.laps + 1

    # -- memory of the client -----------------------------------------------------------------------------------------

    def mapped(self, mapping: Mapping) -> None:
        if mapping.descriptor < 0 or os.fstat(mapping.descriptor).st_size < mapping.offset + mapping.size:
            raise Refused(errno.EOPNOTSUPP)
        self.books[mapping] = 0

    def unmapped(self, mapping: Mapping) -> None:
        os.close(mapping.descriptor)
        del self.books[mapping]
        self.pinned = [each for each in self.pinned if each[0] is not mapping]

    def note(self, address: int, size: int) -> None:
        mapping = self.link.mapping(address, size)
        if mapping and self.tracking:
            low, high = (address - mapping.start) // PAGE, (address + size - 1 - mapping.start) // PAGE
            self.books[mapping] |= (1 << high + 1) - (1 << low)

    def parts(self, address: int, length: int) -> list[tuple[Mapping, int, int]]:
        """The parts of a buffer, one for each mapping that it crosses."""
        found = [(each, max(address, each.start), min(address + length, each.end)) for each in self.books]
        return [(each, low, high - low) for each, low, high in found if low < high]

    def track(self, on: bool) -> None:
        if on and not self.tracking:
            self.books = dict.fromkeys(self.books, 0)
        self.tracking = on

    def dirty(self, start: int, pages: int) -> int:
        for _, address, size in self.pinned:
            self.note(address, size)
        found = 0
        for mapping, book in self.books.items():
            shift = (mapping.start - start) // PAGE
            asked = (1 << pages) - 1
            mine = book << shift if shift >= 0 else book >> -shift
            found |= mine & asked
            self.books[mapping] &= ~(asked >> shift if shift >= 0 else asked << -shift)
        return found

    # -- registers ----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 5:
            return self.migration_read(offset, size)
        if region == 1:
            return bytes(self.memory[offset : offset + size])
        pinned, laps = len(self.pinned), self.laps & 0xFFFFFFFF
        wanted = {0x00: self.tail, 0x04: self.head, 0x08: self.phase, 0x0C: self.mode, 0x18: pinned, 0x1C: laps}
        if (offset, size) == (0x10, 8):
            return self.now().to_bytes(8, "little")
        if size != 4 or offset not in wanted:
            raise Refused
        return wanted[offset].to_bytes(4, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 5:
            self.migration_write(offset, data)
            return
        if region == 1:
            self.memory[offset : offset + len(data)] = data
            return
        value = int.from_bytes(data, "little")
        if len(data) != 4 or offset not in (0x00, 0x0C, 0x18):
            raise Refused
        if offset == 0x00:
            self.tail = value % SLOTS
            self.look()
        elif offset == 0x0C:
            self.mode = value & 1
            self.next_packet = time.monotonic()
        else:
            address, length, _ = DESCRIPTOR.unpack_from(self.memory, LOOP)
            if value & 1 and self.link.covered(address, length):
                self.pinned += self.parts(address, length)
            elif not value & 1:
                for part in self.parts(address, length):
                    if part in self.pinned:
                        self.pinned.remove(part)
                        self.note(*part[1:])

    # -- migration ----------------------------------------------------------------------------------------------------

    def transition(self, value: int) -> None:
        new = value & 7
        if (self.state, new) not in DRAWN | UNDRAWN or value >> 3:
            raise Refused
        if new == self.state:
            return
        if self.state == RESUME:
            self.resume()
        self.now()
        self.state = new
        if new & RUN:
            self.next_packet = time.monotonic()
        if self.broken != "cursor-kept" or self.cursor > MEMORY // PIECE:
            self.cursor = 0
        self.offered, self.pieces, self.record, self.size = False, 0, b"", 0

    def make_record(self) -> bytes:
        ring = self.tail, self.head, self.phase, self.mode
        return RECORD.pack(b"RINGREC1", *ring, self.now(), self.packets, self.laps, zlib.crc32(self.memory))

    def resume(self) -> None:
        """Use the state if all its pieces have come; without any, keep the present one."""
        if not self.pieces:
            return
        magic, tail, head, phase, mode, stamp, packets, laps, check = RECORD.unpack(self.record)
        whole = self.pieces == 1 + MEMORY // PIECE and check == zlib.crc32(self.memory)
        if magic != b"RINGREC1" or not whole or head >= SLOTS or tail >= SLOTS or phase > 1:
            self.state = ERROR
            raise Refused(errno.EIO)
        self.tail, self.head, self.phase, self.mode = tail, head, phase, mode
        self.stamp, self.packets, self.laps = stamp, packets, laps

    def left(self) -> int:
        if self.state != COPY or self.cursor > MEMORY // PIECE:
            return 0
        return MEMORY - (self.cursor - 1) * PIECE if self.cursor else RECORD.size + MEMORY

    def place(self) -> int:
        count = self.pieces if self.state == RESUME else self.cursor
        return PAGE if count else RECORD_AT

    def migration_read(self, offset: int, size: int) -> bytes:
        if offset >= RECORD_AT:
            return bytes(self.view[offset : offset + size])
        if (offset, size) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused
        value = 0
        if offset == 0:
            value = self.state
        elif offset == 8:
            if self.offered:
                self.cursor, self.offered = self.cursor + 1, False
            value = self.left()
        elif offset == 16:
            if self.left() and not self.offered:
                self.offered = True
                if self.cursor:
                    self.view[PAGE:] = bytes(self.memory[(self.cursor - 1) * PIECE : self.cursor * PIECE])
                else:
                    self.view[RECORD_AT : RECORD_AT + RECORD.size] = self.make_record()
            value = self.place()
        elif offset == 24:
            value = (PIECE if self.cursor else RECORD.size) if self.offered else self.size
        return value.to_bytes(size, "little")

    def migration_write(self, offset: int, data: bytes) -> None:
        size, value = len(data), int.from_bytes(data, "little")
        if (offset, size) == (0, 4):
            self.transition(value)
        elif (offset, size) == (4, 4):
            pass
        elif self.state != RESUME or (offset < RECORD_AT and (offset, size) != (24, 8)):
            raise Refused
        elif offset >= RECORD_AT:
            self.view[offset : offset + size] = data
        elif self.pieces > MEMORY // PIECE or value != (PIECE if self.pieces else RECORD.size):
            raise Refused
        else:
            if self.pieces:
                self.memory[(self.pieces - 1) * PIECE : self.pieces * PIECE] = self.view[PAGE:]
            else:
                self.record = self.view[RECORD_AT : RECORD_AT + RECORD.size]
            self.pieces += 1
            self.size = value


if __name__ == "__main__":
    path, named = arguments("page-of-the-buffer", "cursor-kept")
    main(RingMaster(named), path)
