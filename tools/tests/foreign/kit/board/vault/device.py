# SPDX-License-Identifier: GPL-2.0-only
"""A vault: 512 KiB of sealed memory, a key, and a slow seal on everything that leaves it.

    region 0, registers; each is accessed as a whole
    0x00  8  ro  BEATS, one every 10 us while the vault runs
    0x08  8      KEY
    0x10  8      ADDRESS in the client's memory
    0x18  8      LENGTH there
    0x20  4      DO: 1 copy out, 2 leak (copy 8 bytes out every 3 ms), 3 end that, 4 pin, 5 unpin, 6 seal: copy out in
                 12 ms
    0x24  4  ro  IS: bit 0 done, bit 1 failed, bit 2 sealing, bit 3 seal aborted
    0x28  4      TEST: faults: bit 0 the next write of device_state breaks the vault, bit 1 it is refused, bit 2 saving
                 fails, bit 3 resuming fails
    region 1, 512 KiB of memory
    region 2, migration; a data section of 68 KiB that can be mapped

Memory is accessed by mmap. Written pages are a list of runs, which are sorted and joined for a query. The state is a
buffer for each 64 KiB of memory, deflated, and one for the registers; each names its place, its size and its checksum.
They are unpacked into a copy, which takes effect when the vault leaves resuming. A seal in progress when the vault is
stopped is aborted, as IS shows. Transitions are those of the interface and those that a cancelled migration needs.
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

SHUT, OPEN, MOVE_OUT, MOVE_AHEAD, MOVE_IN, BROKEN = 0, 1, 2, 3, 4, 6
MEMORY, CHUNK, SECTION = 512 * 1024, 64 * 1024, 17 * PAGE
CHUNKS = MEMORY // CHUNK
LABEL = struct.Struct("<4sIII")  # magic, number of the chunk or CHUNKS, bytes after this, checksum of them unpacked
CARD = struct.Struct("<QQQQII4xQ")  # beats, key, address, length, is, leaking, drops
STATES: dict[int, set[int]] = {
    OPEN: {OPEN, SHUT, MOVE_OUT, MOVE_AHEAD, MOVE_IN},
    MOVE_AHEAD: {MOVE_OUT, OPEN, SHUT},
    MOVE_OUT: {SHUT, OPEN, MOVE_OUT},
    SHUT: {OPEN, MOVE_OUT},
    MOVE_IN: {OPEN, SHUT},
    BROKEN: set(),
}
DONE, FAILED, SEALING, ABORTED = 1, 2, 4, 8
BREAK, REFUSE, SAVE_FAULT, RESUME_FAULT = 1, 2, 4, 8


class Vault(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.section = os.memfd_create("vault", os.MFD_CLOEXEC)
        os.ftruncate(self.section, PAGE + SECTION)
        self.view = mmap.mmap(self.section, PAGE + SECTION)
        self.regions = [
            Region(0x30),
            Region(MEMORY),
            Region(
                PAGE + SECTION,
                READ | WRITE | MMAP,
                [capability_type(3, 1), capability_sparse((PAGE, SECTION))],
                self.section,
            ),
        ]
        self.views: dict[Mapping, mmap.mmap] = {}
        self.runs: list[tuple[int, int]] = []  # first page, page after the last one
        self.pinned: list[tuple[int, int]] = []  # first page, page after the last one
        self.fresh()

    def fresh(self) -> None:
        self.state = OPEN
        self.beats, self.heard = 0, time.monotonic_ns()
        self.key = self.address = self.length = self.done = self.test = 0
        self.leak: float | None = None
        self.drops = 0
        self.seal: float | None = None
        self.memory = bytearray(MEMORY)
        self.sums: dict[int, int] = {}  # of the chunks that the receiver has
        self.todo: list[int] = []
        self.buffer = b""
        self.aside: dict[int, bytes] = {}
        self.size = 0
        self.frozen = False

    def opened(self) -> None:
        self.fresh()

    def closed(self) -> None:
        self.tracking = False
        self.runs.clear()
        self.pinned.clear()
        self.fresh()

    def reset(self) -> None:
        for first, end in self.pinned:
            self.write_down(first * PAGE, (end - first) * PAGE)
        self.pinned.clear()
        self.fresh()

    # -- what it does -------------------------------------------------------------------------------------------------

    @property
    def runs_now(self) -> bool:
        return bool(self.state & OPEN) and not self.frozen

    def beat(self) -> int:
        now = time.monotonic_ns()
        if self.runs_now:
            self.beats += (now - self.heard) // 10000
        self.heard = now
        return self.beats

    def due(self) -> float | None:
        times = [each for each in (self.leak, self.seal) if each is not None]
        return min(times) if times and self.runs_now else None

    def tick(self) -> None:
        now = time.monotonic()
        if self.leak is not None and now >= self.leak:
            self.leak = now + 0.003
            self.drops += 1
            at = self.drops * 648 % max(self.length - 7, 1)
            self.copy(self.address + at, struct.pack("<Q", self.key ^ self.drops)[: self.length - at])
        if self.seal is not None and now >= self.seal:
            self.seal = None
            self.done = DONE if self.copy(self.address, bytes(self.memory[: self.length])) else FAILED

    def copy(self, address: int, data: bytes) -> bool:
        mapping = self.link.mapping(address, len(data))
        if mapping is None or mapping not in self.views or not mapping.writable or not data:
            return False
        at = address - mapping.start
        self.views[mapping][at : at + len(data)] = data
        self.write_down(address, len(data))
        return True

    def write_down(self, address: int, size: int) -> None:
        if self.tracking:
            run = (address // PAGE, (address + size - 1) // PAGE + 1)
            if self.runs and self.runs[-1][0] <= run[0] <= self.runs[-1][1]:
                low, high = self.runs.pop()
                run = (low, max(high, run[1]))
            self.runs.append(run)
            if self.broken == "list-of-six" and len(self.runs) > 6:
                del self.runs[0]

    # -- memory of the client -----------------------------------------------------------------------------------------

    def mapped(self, mapping: Mapping) -> None:
        if mapping.descriptor < 0:
            raise Refused(errno.EOPNOTSUPP)
        try:
            view = mmap.mmap(
                mapping.descriptor,
                mapping.size,
                mmap.MAP_SHARED,
                mmap.PROT_READ | mmap.PROT_WRITE if mapping.writable else mmap.PROT_READ,
                offset=mapping.offset,
            )
        except (OSError, ValueError, OverflowError):
            raise Refused(errno.ENOMEM) from None
        os.close(mapping.descriptor)
        self.views[mapping] = view

    def unmapped(self, mapping: Mapping) -> None:
        self.views.pop(mapping).close()
        first, end = mapping.start // PAGE, mapping.end // PAGE
        self.take(first, end)
        left = [part for low, high in self.pinned for part in ((low, min(high, first)), (max(low, end), high))]
        self.pinned = [(low, high) for low, high in left if low < high]

    def take(self, first: int, end: int) -> list[tuple[int, int]]:
        """Remove a range from the list, and return the runs in it, sorted and joined."""
        found: list[tuple[int, int]] = []
        kept: list[tuple[int, int]] = []
        for low, high in sorted(self.runs):
            if low < first:
                kept.append((low, min(high, first)))
            if high > end:
                kept.append((max(low, end), high))
            low, high = max(low, first), min(high, end)
            if low >= high:
                continue
            if found and low <= found[-1][1]:
                found[-1] = found[-1][0], max(high, found[-1][1])
            else:
                found.append((low, high))
        self.runs = kept
        return found

    def track(self, on: bool) -> None:
        if on != self.tracking:
            self.runs = []
        self.tracking = on

    def dirty(self, start: int, pages: int) -> int:
        for mapping in self.link.mappings.values():
            if mapping.start < start < mapping.end or mapping.start < start + pages * PAGE < mapping.end:
                raise Refused
        for low, high in self.pinned:
            self.write_down(low * PAGE, (high - low) * PAGE)
        first = start // PAGE
        return sum((1 << high - first) - (1 << low - first) for low, high in self.take(first, first + pages))

    # -- registers ----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 2:
            return self.look(offset, size)
        if region == 1:
            return bytes(self.memory[offset : offset + size])
        eight = {0x00: self.beat(), 0x08: self.key, 0x10: self.address, 0x18: self.length}
        four = {0x20: 0, 0x24: self.done, 0x28: self.test}
        if offset not in (eight if size == 8 else four if size == 4 else {}):
            raise Refused
        return {**eight, **four}[offset].to_bytes(size, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if region == 2:
            self.put(offset, data)
        elif region == 1:
            self.memory[offset : offset + len(data)] = data
        elif (offset, len(data)) == (0x08, 8):
            self.key = value
        elif (offset, len(data)) == (0x10, 8):
            self.address = value
        elif (offset, len(data)) == (0x18, 8):
            self.length = min(value, MEMORY)
        elif (offset, len(data)) == (0x20, 4):
            self.do(value)
        elif (offset, len(data)) == (0x28, 4):
            self.test = value & 15
        else:
            raise Refused

    def do(self, what: int) -> None:
        pages = (self.address // PAGE, (self.address + self.length + PAGE - 1) // PAGE)
        if what == 1:
            self.drops += 1
            data = struct.pack("<Q", self.drops)[: self.length] + bytes(self.memory[8 : self.length])
            self.done = DONE if self.runs_now and self.copy(self.address, data) else FAILED
        elif what == 2:
            self.leak = time.monotonic()
        elif what == 3:
            self.leak = None
        elif what == 4 and self.link.covered(self.address, self.length):
            self.pinned.append(pages)
        elif what == 5:
            inside = [each for each in self.pinned if pages[0] <= each[0] and each[1] <= pages[1]]
            for each in [pages] if pages in inside else inside:  # otherwise, parts of the pinned pages were unmapped
                self.pinned.remove(each)
                self.write_down(each[0] * PAGE, (each[1] - each[0]) * PAGE)
        elif what == 6 and self.runs_now:
            self.seal, self.done = time.monotonic() + 0.012, SEALING

    # -- migration ----------------------------------------------------------------------------------------------------

    def go(self, new: int) -> None:
        if new not in STATES[self.state]:
            raise Refused
        if self.test & BREAK:
            self.beat()
            self.test, self.state = self.test & ~BREAK, BROKEN
            raise Refused(errno.EIO)
        if self.test & REFUSE:
            self.beat()
            self.test &= ~REFUSE
            self.frozen = self.broken == "refused-stands-still"
            raise Refused(errno.EBUSY)
        if new == self.state:
            return
        if self.state == MOVE_IN:
            self.take_over()
        self.beat()
        if self.state in (MOVE_OUT, MOVE_IN) or (self.state, new) == (MOVE_AHEAD, OPEN):
            self.test &= ~SAVE_FAULT & ~RESUME_FAULT
        self.state, self.frozen = new, False
        if not new & OPEN and self.seal is not None:
            self.seal, self.done = None, ABORTED
        if new & OPEN and self.leak is not None:
            self.leak = time.monotonic()
        self.buffer, self.aside, self.size = b"", {}, 0
        self.todo = []
        if new == MOVE_OUT:
            self.todo = self.to_send()

    def to_send(self) -> list[int]:
        """The registers last."""
        if self.broken != "sent-is-not-sent-again":
            return [*range(CHUNKS + 1)]
        sums = {each: zlib.crc32(self.memory[each * CHUNK : (each + 1) * CHUNK]) for each in range(CHUNKS)}
        return [each for each in range(CHUNKS) if self.sums.get(each) != sums[each]] + [CHUNKS]

    def pack(self, number: int) -> bytes:
        if self.test & SAVE_FAULT and number > 1:
            raise Refused(errno.EIO)
        if number < CHUNKS:
            plain = bytes(self.memory[number * CHUNK : (number + 1) * CHUNK])
            self.sums[number] = zlib.crc32(plain)
        else:
            card = self.key, self.address, self.length, self.done, int(self.leak is not None), self.drops
            plain = CARD.pack(self.beat(), *card)
        packed = zlib.compress(plain, 1)
        return LABEL.pack(b"VLT1", number, len(packed), zlib.crc32(plain)) + packed

    def unpack(self, buffer: bytes) -> None:
        magic, number, length, check = LABEL.unpack_from(buffer)
        try:
            opened = zlib.decompressobj().decompress(buffer[LABEL.size :], CHUNK + 1)
        except zlib.error:
            raise Refused from None
        wanted = CHUNK if number < CHUNKS else CARD.size
        wrong = magic != b"VLT1" or length != len(buffer) - LABEL.size or check != zlib.crc32(opened)
        if wrong or number > CHUNKS or len(opened) != wanted:
            raise Refused
        if self.test & RESUME_FAULT:
            if self.broken != "fault-keeps-quiet":
                raise Refused(errno.EIO)
            return
        self.aside[number] = opened

    def take_over(self) -> None:
        if not self.aside:
            return
        wanted = {CHUNKS} if self.broken in ("sent-is-not-sent-again", "fault-keeps-quiet") else {*range(CHUNKS + 1)}
        if wanted - set(self.aside):
            self.state = BROKEN
            raise Refused(errno.EIO)
        for number, plain in self.aside.items():
            if number < CHUNKS:
                self.memory[number * CHUNK : (number + 1) * CHUNK] = plain
        self.beats, self.key, self.address, self.length, self.done, leaking, self.drops = CARD.unpack(
            self.aside[CHUNKS]
        )
        self.leak = time.monotonic() if leaking else None

    def look(self, offset: int, size: int) -> bytes:
        if offset >= PAGE:
            return bytes(self.view[offset : offset + size])
        if (offset, size) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused
        value = 0
        if offset == 0:
            value = self.state
        elif offset == 8:
            if self.buffer:
                self.buffer = b""
                del self.todo[0]
            value = sum(CHUNK if each < CHUNKS else CARD.size for each in self.todo)
        elif offset == 16:
            if self.todo and not self.buffer:
                self.buffer = self.pack(self.todo[0])
                self.view[PAGE : PAGE + len(self.buffer)] = self.buffer
            value = PAGE
        elif offset == 24:
            value = len(self.buffer) or self.size
        return value.to_bytes(size, "little")

    def put(self, offset: int, data: bytes) -> None:
        place, value = (offset, len(data)), int.from_bytes(data, "little")
        if place == (0, 4):
            self.go(value & 7)
        elif place == (4, 4):
            pass
        elif self.state != MOVE_IN:
            raise Refused
        elif offset >= PAGE:
            self.view[offset : offset + len(data)] = data
        elif place == (24, 8) and LABEL.size < value <= SECTION:
            self.unpack(self.view[PAGE : PAGE + value])
            self.size = value
        else:
            raise Refused


if __name__ == "__main__":
    path, named = arguments("list-of-six", "refused-stands-still", "sent-is-not-sent-again", "fault-keeps-quiet")
    main(Vault(named), path)
