# SPDX-License-Identifier: GPL-2.0-only
"""A tape drive: 48 blocks of 1 KiB, a head, and a reader that sends blocks to memory by messages.

Region 0, each register only at its own width:

    0x01  1  command: 1 send length bytes from the head on to address, 2 the same again and again, 3 stop that,
             4 lock the pages of length bytes from address, 5 unlock them
    0x02  2  turns of the capstan, one every 100 us while the drive runs; read only
    0x04  4  address
    0x08  4  length
    0x0c  1  1 if the last command failed, else 0; read only
    0x11  1  block under the head, 0 to 47
    0x18  8  the first bytes of that block; a write records the whole block with them
    0x200 8  and so on: the first bytes of block 0, 1, 2...; read only
    0x20  1  1: the tape jams, the next change of state fails
    0x21  1  1: a worn spot, the second piece of the state cannot be read

Region 1 is the migration region. Its data section is a window of 5000 bytes at offset 997, never mapped. The state is
one stream, made when stop-and-copy is entered: registers, the tape, a checksum; cut into pieces of 5000 bytes, the
last one shorter. In resuming, data may be cut anywhere; it is joined, and applied when resuming is left.

Dirty pages are a set of page numbers. An error reply has a body of the size of a good one.
"""

from __future__ import annotations

import errno
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocking import wire

WINDOW, PIECE = 997, 5000
BLOCKS, BLOCK = 48, 1024
STOP, RUNNING, SAVING, PRECOPY, RESUMING, FAILED = 0, 1, 2, 3, 4, 6
KNOWN = {
    RUNNING: {STOP, SAVING, PRECOPY, RESUMING},
    PRECOPY: {SAVING, RUNNING, STOP},
    SAVING: {STOP, RUNNING},
    STOP: {RUNNING, SAVING},
    RESUMING: {RUNNING, STOP},
}
LABEL = struct.Struct("<4sQBIIB")
REGISTERS = {0x01: 1, 0x02: 2, 0x04: 4, 0x08: 4, 0x0C: 1, 0x11: 1, 0x18: 8, 0x20: 1, 0x21: 1}
REGISTERS.update({0x200 + 8 * n: 8 for n in range(BLOCKS)})


class Tape(wire.Card):
    platform = True

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.regions = [wire.Region(1024), wire.Region(6144, kind=wire.MIGRATION)]
        self.forget()
        self.rewind()

    # ---- the drive ---------------------------------------------------------------------------------------------------
    def rewind(self) -> None:
        self.state = RUNNING
        self.turns, self.since = 0, time.monotonic()
        self.tape = bytearray(BLOCKS * BLOCK)
        self.head = self.failed = self.address = self.length = 0
        self.sending = self.jammed = self.worn = False
        self.sent = 0
        self.next = 0.0
        self.stream, self.position, self.offered = b"", 0, False
        self.window, self.taken = bytearray(PIECE), bytearray()

    def forget(self) -> None:
        self.memory: dict[int, tuple[int, int]] = {}
        self.locked: set[tuple[int, int]] = set()
        self.touched: set[int] = set()
        self.told: set[int] = set()
        self.watching = False

    def opened(self) -> None:
        self.forget()
        self.rewind()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.rewind()
        for address, length in self.locked:
            if self.watching:
                self.touched.update(self.pages(address, length))
        self.locked.clear()

    def runs(self) -> bool:
        return bool(self.state & 1)

    def capstan(self) -> int:
        return self.turns + (int((time.monotonic() - self.since) * 10000) if self.runs() else 0)

    def pages(self, address: int, length: int) -> range:
        return range(address // self.page, (address + length - 1) // self.page + 1)

    def reachable(self, address: int, length: int) -> bool:
        """Whether each byte is in memory that may be written, in one mapping or in several without a gap."""
        end = address + length
        while address < end:
            for start, (size, flags) in self.memory.items():
                if start <= address < start + size and flags & 2:
                    address = start + size
                    break
            else:
                return False
        return length > 0

    def send(self) -> None:
        if not self.reachable(self.address, self.length):
            raise wire.refuse(errno.EFAULT)
        self.sent += 1
        start = self.head * BLOCK
        data = (self.tape[start:] + self.tape[:start]) * (self.length // len(self.tape) + 1)
        pattern = (self.sent * 2654435761 + 1 & 0xFFFFFFFF).to_bytes(4, "little") * (self.length // 4 + 1)
        mixed = int.from_bytes(data[: self.length], "little") ^ int.from_bytes(pattern[: self.length], "little")
        if self.watching:
            self.touched.update(self.pages(self.address, self.length))
        self.link.put(self.address, mixed.to_bytes(self.length, "little"))

    def wait(self) -> float | None:
        return max(0.0, self.next - time.monotonic()) if self.sending and self.runs() else None

    def tick(self) -> None:
        self.next = time.monotonic() + 0.015
        try:
            self.send()
        except OSError:
            self.sending, self.failed = False, 1

    def command(self, number: int) -> None:
        self.failed = 0
        if number in (1, 2) and (self.length > 65536 or not self.length):
            raise wire.refuse()
        if number == 1:
            if not self.runs():
                raise wire.refuse(errno.EBUSY)
            self.send()
        elif number == 2:
            self.sending, self.next = True, 0.0
        elif number == 3:
            self.sending = False
        elif number == 4:
            if not self.reachable(self.address, self.length):
                raise wire.refuse(errno.EFAULT)
            self.locked.add((self.address, self.length))
        elif number == 5:
            gone = {lock for lock in self.locked if lock[0] == self.address}
            self.locked -= gone
            if self.watching:
                for address, length in gone:
                    self.touched.update(self.pages(address, length))
        else:
            raise wire.refuse()

    def look(self, offset: int) -> int:
        if offset == 0x18 or offset >= 0x200:
            block = self.head if offset == 0x18 else (offset - 0x200) // 8
            return int.from_bytes(self.tape[block * BLOCK : block * BLOCK + 8], "little")
        return {
            0x02: self.capstan() & 0xFFFF,
            0x04: self.address,
            0x08: self.length,
            0x0C: self.failed,
            0x11: self.head,
            0x20: self.jammed,
            0x21: self.worn,
        }.get(offset, 0)

    def turn(self, offset: int, value: int) -> None:
        if offset == 0x01:
            self.command(value)
        elif offset == 0x04:
            self.address = value
        elif offset == 0x08:
            self.length = value
        elif offset == 0x11 and value < BLOCKS:
            self.head = value
        elif offset == 0x18:
            start = self.head * BLOCK
            self.tape[start : start + BLOCK] = value.to_bytes(8, "little") * (BLOCK // 8)
        elif offset == 0x20:
            self.jammed = value == 1
        elif offset == 0x21:
            self.worn = value == 1
        else:
            raise wire.refuse(errno.EPERM)

    # ---- migration ---------------------------------------------------------------------------------------------------
    def change(self, wanted: int) -> None:
        wanted &= 7
        if self.state == FAILED:
            raise wire.refuse(errno.EIO)
        if self.jammed:
            self.turns, self.state = self.capstan(), FAILED
            raise wire.refuse(errno.EIO)
        if wanted == self.state:
            return
        if wanted not in KNOWN[self.state]:
            raise wire.refuse()
        if self.state == RESUMING and self.taken:
            self.thread(bytes(self.taken))
        self.turns, self.since = self.capstan(), time.monotonic()
        self.state = wanted
        self.position, self.offered, self.stream = 0, False, b""
        self.window, self.taken = bytearray(PIECE), bytearray()
        if wanted == SAVING:
            label = LABEL.pack(b"TAPE", self.turns, self.head, self.address, self.length, self.sending)
            whole = label + self.tape
            self.stream = whole + struct.pack("<I", zlib.crc32(whole))

    def thread(self, whole: bytes) -> None:
        """Loads the tape that was given."""
        check = int.from_bytes(whole[-4:], "little")
        if len(whole) != LABEL.size + BLOCKS * BLOCK + 4 or zlib.crc32(whole[:-4]) != check:
            raise wire.refuse(errno.EIO)
        magic, turns, head, address, length, sending = LABEL.unpack_from(whole)
        if magic != b"TAPE" or head >= BLOCKS or length > 65536:
            raise wire.refuse(errno.EIO)
        self.turns, self.head, self.address, self.length, self.sending = turns, head, address, length, bool(sending)
        self.tape[:] = whole[LABEL.size : -4]

    def piece(self) -> bytes:
        return self.stream[self.position : self.position + PIECE]

    def ask_register(self, offset: int) -> int:
        if offset == 0:
            return self.state
        if offset == 4:
            return 0
        if offset == 8:
            if self.offered:
                self.position, self.offered = self.position + PIECE, False
            return max(0, len(self.stream) - self.position)
        if offset == 16:
            if self.state == SAVING and self.piece():
                if self.worn and self.position:
                    raise wire.refuse(errno.EIO)
                self.offered = True
            return WINDOW
        return len(self.piece())

    def set_register(self, offset: int, value: int) -> None:
        if offset == 0:
            self.change(value)
        elif offset == 4:
            pass
        elif offset == 24 and self.state == RESUMING:
            if value > PIECE:
                raise wire.refuse()
            if len(self.taken) + value > LABEL.size + BLOCKS * BLOCK + 4:
                raise wire.refuse(errno.ENOSPC)
            self.taken += self.window[:value]
        else:
            raise wire.refuse(errno.EPERM)

    def wind(self, offset: int, count: int) -> bytes:
        """Reads of the window."""
        at = offset - WINDOW
        shown = bytes(self.window) if self.state == RESUMING else self.piece() if self.offered else b""
        data = shown[at : at + count].ljust(count, b"\0")
        if self.fault == "word-lane" and count <= 8:
            lane = 8 - offset % 8
            data = data[:lane].ljust(count, b"\0")
        return data

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 0:
            if REGISTERS.get(offset) != count:
                raise wire.refuse()
            return self.look(offset).to_bytes(count, "little")
        if offset < 32:
            if {0: 4, 4: 4, 8: 8, 16: 8, 24: 8}.get(offset) != count:
                raise wire.refuse()
            return self.ask_register(offset).to_bytes(count, "little")
        if not WINDOW <= offset <= offset + count <= WINDOW + PIECE:
            raise wire.refuse()
        return self.wind(offset, count)

    def write(self, region: int, offset: int, data: bytes) -> None:
        count = len(data)
        if region == 0:
            if REGISTERS.get(offset) != count:
                raise wire.refuse()
            self.turn(offset, int.from_bytes(data, "little"))
        elif offset < 32:
            if {0: 4, 4: 4, 8: 8, 16: 8, 24: 8}.get(offset) != count:
                raise wire.refuse()
            self.set_register(offset, int.from_bytes(data, "little"))
        else:
            if self.state != RESUMING or not WINDOW <= offset <= offset + count <= WINDOW + PIECE:
                raise wire.refuse(errno.EPERM)
            self.window[offset - WINDOW : offset - WINDOW + count] = data

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if address % self.page or size % self.page:
            raise wire.refuse()
        if any(address < start + other and start < address + size for start, (other, _) in self.memory.items()):
            raise wire.refuse(errno.EEXIST)
        self.memory[address] = (size, flags)

    def unmap(self, address: int, size: int) -> None:
        if address not in self.memory or self.memory[address][0] != size:
            raise wire.refuse(errno.ENOENT)
        del self.memory[address]
        gone = self.pages(address, size)
        self.touched = {page for page in self.touched if page not in gone}
        self.told = {page for page in self.told if page not in gone}
        for lock in [lock for lock in self.locked if lock[0] < address + size and address < lock[0] + lock[1]]:
            self.locked.remove(lock)
            for start, end in ((lock[0], address), (address + size, lock[0] + lock[1])):
                if start < end:
                    self.locked.add((start, end - start))

    def unmap_all(self) -> None:
        self.memory.clear()
        self.touched.clear()
        self.told.clear()
        self.locked.clear()

    def track(self, on: bool) -> None:
        if on != self.watching:
            self.touched.clear()
            self.told.clear()
        self.watching = on

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        count = size // self.page
        if not self.watching or page != self.page or not size or address % page or size % page:
            raise wire.refuse()
        if address + size > 1 << 64 or not (count + 63) // 64 * 8 <= room <= wire.LARGEST:
            raise wire.refuse()
        asked = range(address // page, address // page + count)
        there = {n for n in self.touched if n in asked}
        self.touched -= there
        for start, length in self.locked:
            mine = {n for n in self.pages(start, length) if n in asked}
            if self.fault == "locked-once":
                mine, self.told = mine - self.told, self.told | mine
            there |= mine
        bits = bytearray(room)
        for n in there:
            bits[(n - asked[0]) >> 3] |= 1 << ((n - asked[0]) & 7)
        return bytes(bits)

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        if address not in self.memory or self.memory[address][0] != size:
            raise wire.refuse(errno.ENOENT)
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits

    def error_body(self, command: int, body: bytes) -> bytes:
        size = {wire.DMA_UNMAP: 24, wire.GET_INFO: 16, wire.GET_REGION: 32, wire.GET_IRQ: 16, wire.REGION_WRITE: 16}
        if command == wire.REGION_READ and len(body) >= 16:
            return body[:16] + bytes(min(wire.LARGEST, int.from_bytes(body[12:16], "little")))
        if command in (wire.DMA_UNMAP, wire.DIRTY_PAGES) and len(body) >= 40:
            return body[:40] + bytes(min(wire.LARGEST, int.from_bytes(body[32:40], "little")))
        return bytes(size.get(command, 0))


if __name__ == "__main__":
    wire.serve(Tape(wire.broken_by()))
