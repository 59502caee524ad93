# SPDX-License-Identifier: GPL-2.0-only
"""An FPGA card that collects data, byte after byte, and checks it when resuming is left.

Region 3, the shell (0x80 bytes); region 4, the tiles (32 KiB, all of it can be mapped); region 7, the migration region:
a trapped page of header, then a data section of 16 KiB, all of it mappable.

| offset | width | what |
|---|---|---|
| 0x00 | 8 | bytes to copy, up to 1 MiB |
| 0x08 | 8 | address in the client's memory |
| 0x10 | 1, wo | go: 1 copy, 2 stream (a beat every 4 ms), 3 end the stream, 4 reconfigure (30 ms), then copy |
| 0x11 | 1, ro | busy: 1 while it reconfigures, 4 if the last copy failed |
| 0x18 | 8, ro | clock cycles at 100 MHz, gated off while the card is stopped |
| 0x20 | 8, wo | lock the memory at this address, of the size above |
| 0x28 | 8, wo | unlock the memory at this address |
| 0x30 | 1 | latch: 1 readback fails, 2 the next change of state is fatal, 3 it is refused, 4 configuration fails |
| 0x38 | 8 | name of the design |

Data path: tiles are copied into a mapping of the client's memory; each page begins with the present cycle. Each mapping
has one large number, bit n of which is its page n.

The state is read back as one image when stop-and-copy is entered, and cut into frames of 12 KiB; pre-copy offers none.
In resuming, all bytes are joined, in pieces of any size. When resuming is left, the image is checked: with one that is
damaged, short or too long, the change fails, the card stays in resuming, and the whole image may be given again.
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
from threads.wire import Device, Hangup, Refusal, Window, serve

TILES = 32 << 10
HEADER, SECTION, FRAME = 0x1000, 0x4000, 12 << 10
IMAGE = struct.Struct("<8sII")  # magic, bytes after this, their sum
SHELL = struct.Struct("<QQQQQqB")
RECONFIGURE, BEAT = 30_000_000, 4_000_000  # ns
STOP, RUNNING, SAVING, PRECOPY, RESUMING, ERROR = 0, 1, 2, 3, 4, 6
PATHS = {
    RUNNING: (STOP, SAVING, PRECOPY, RESUMING),
    PRECOPY: (SAVING, RUNNING),
    SAVING: (STOP, RUNNING, SAVING),
    STOP: (RUNNING, SAVING),
    RESUMING: (RUNNING,),
}


class Memory:
    def __init__(self, size: int, flags: int, view: mmap.mmap | None) -> None:
        self.size, self.flags, self.view = size, flags, view
        self.dirty = 0


def ones(first: int, last: int) -> int:
    """Bits first to last, inclusive."""
    return (1 << last + 1) - (1 << first)


class Patient(Device):
    flags = 3
    regions = 9

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken
        self.tiles_file = os.memfd_create("tiles")
        os.ftruncate(self.tiles_file, TILES)
        self.tiles = mmap.mmap(self.tiles_file, TILES)
        self.section_file = os.memfd_create("section")
        os.ftruncate(self.section_file, HEADER + SECTION)
        self.section = mmap.mmap(self.section_file, HEADER + SECTION)
        self.memory: dict[int, Memory] = {}
        self.locks: list[tuple[int, int, int]] = []  # name, start and bytes of each lock
        self.logs = False
        self.collected: list[bytes] = []
        self.reset()

    def reset(self) -> None:
        for lock in list(self.locks):
            self.unlock(lock[0])
        self.tiles[:] = b"".join(struct.pack("<I", word * 0x01000193 & 0xFFFFFFFF) for word in range(TILES // 4))
        self.length = self.address = self.name = self.busy = self.latch = 0
        self.cycles, self.edge = 0, time.monotonic_ns()
        self.to_go = -1  # ns of reconfiguration
        self.stream = False
        self.beat = self.last_beat = 0
        self.state = RUNNING
        self.frames: list[bytes] = []
        self.shown = False  # the first frame is in the section
        self.spoiled = False
        self.forget()

    def closed(self) -> None:
        self.locks.clear()
        self.unmap_all()
        self.logs = False
        self.collected = []
        self.reset()
        self.section[:] = bytes(HEADER + SECTION)

    def window(self, index: int) -> Window:
        if index == 3:
            return Window(0x80)
        if index == 4:
            return Window(TILES, file=self.tiles_file)
        if index == 7:
            return Window(HEADER + SECTION, 3, (3, 1), ((HEADER, SECTION),), self.section_file)
        return Window(0, 0)

    # ---- the shell

    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 4:
            return self.tiles[offset : offset + count]
        if region == 7:
            return self.migration_read(offset, count)
        match offset, count:
            case 0x00, 8:
                value = self.length
            case 0x08, 8:
                value = self.address
            case 0x11, 1:
                value = self.busy
            case 0x18, 8:
                value = self.clock()
            case 0x30, 1:
                value = self.latch
            case 0x38, 8:
                value = self.name
            case _:
                raise Refusal
        return value.to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if region == 4:
            self.tiles[offset : offset + len(data)] = data
            return
        if region == 7:
            self.migration_write(offset, data)
            return
        match offset, len(data):
            case 0x00, 8:
                self.length = min(value, 1 << 20)
            case 0x08, 8:
                self.address = value
            case 0x10, 1:
                self.go(value)
            case 0x20, 8:
                self.parts(value, max(self.length, 1), 1)
                self.locks.append((value, value, max(self.length, 1)))
            case 0x28, 8:
                self.unlock(value)
            case 0x30, 1:
                self.latch = value
            case 0x38, 8:
                self.name = value
            case _:
                raise Refusal

    def clock(self) -> int:
        return self.cycles + ((time.monotonic_ns() - self.edge) // 10 if self.state & RUNNING else 0)

    def go(self, value: int) -> None:
        if value == 3:
            self.stream = False
        elif not self.state & RUNNING or self.busy == 1:
            raise Refusal(errno.EBUSY)
        elif value == 1:
            self.copy(self.address, self.length)
        elif value == 2:
            self.parts(self.address, self.length, 2)
            self.stream, self.beat, self.last_beat = True, 0, 0
        elif value == 4:
            self.parts(self.address, self.length, 2)
            self.busy, self.to_go, self.edge_of_work = 1, RECONFIGURE, time.monotonic_ns()
        else:
            raise Refusal

    # ---- into the client's memory

    def parts(self, address: int, size: int, want: int) -> list[tuple[int, int, int]]:
        """A range as mappings, places in them and bytes; all of it must be mapped."""
        parts = []
        while size > 0:
            for start, memory in self.memory.items():
                if start <= address < start + memory.size and memory.flags & want:
                    step = min(size, start + memory.size - address)
                    parts.append((start, address - start, step))
                    address, size = address + step, size - step
                    break
            else:
                raise Refusal(errno.EFAULT)
        return parts

    def copy(self, address: int, size: int) -> None:
        for start, place, count in self.parts(address, size, 2):
            memory = self.memory[start]
            for at in range(place // self.page, (place + count - 1) // self.page + 1):
                first, last = max(at * self.page, place), min((at + 1) * self.page, place + count)
                tile = first % (TILES - self.page)
                data = (struct.pack("<Q", self.clock()) + self.tiles[tile : tile + last - first])[: last - first]
                if memory.view:
                    memory.view[first:last] = data
                elif self.client:
                    step = self.client.piece
                    self.client.store([(start + first + at, data[at : at + step]) for at in range(0, len(data), step)])
                else:
                    raise Hangup
                if self.logs:
                    memory.dirty |= 1 << at

    def due(self) -> float | None:
        if not self.state & RUNNING or not (self.stream or self.busy == 1):
            return None
        now, waits = time.monotonic_ns(), []
        try:
            if self.busy == 1:
                rest = self.to_go - (now - self.edge_of_work)
                if rest <= 0:
                    self.busy, self.to_go = 0, -1
                    self.copy(self.address, self.length)
                else:
                    waits.append(rest)
            if self.stream:
                if now - self.last_beat >= BEAT:
                    self.last_beat = now
                    self.copy(self.address + self.beat, min(256, self.length - self.beat))
                    self.beat = self.beat + 1000 if self.beat + 1000 < self.length else 0
                waits.append(BEAT)
        except Refusal:
            self.busy, self.stream, self.to_go = 4, False, -1
        return min(waits) / 1e9 if waits else None

    def unlock(self, address: int) -> None:
        for lock in [lock for lock in self.locks if lock[0] == address]:
            self.locks.remove(lock)
            if self.logs:
                for start, memory in self.memory.items():
                    memory.dirty |= self.within(start, memory, *lock[1:])

    def within(self, start: int, memory: Memory, address: int, size: int) -> int:
        """The pages of a mapping that a range touches."""
        first, last = max(address, start) - start, min(address + size, start + memory.size) - start - 1
        return ones(first // self.page, last // self.page) if first <= last else 0

    # ---- the client's memory

    def map(self, address: int, size: int, flags: int, offset: int, file: int) -> None:
        try:
            if any(start < address + size and address < start + old.size for start, old in self.memory.items()):
                raise Refusal(errno.EEXIST)
            view = None
            if file >= 0:
                access = mmap.PROT_READ | (mmap.PROT_WRITE if flags & 2 else 0)
                view = mmap.mmap(file, size, mmap.MAP_SHARED, access, offset=offset)
            self.memory[address] = Memory(size, flags, view)
        except (OSError, ValueError, OverflowError):
            raise Refusal from None
        finally:
            if file >= 0:
                os.close(file)

    def mapped(self, address: int, size: int) -> bool:
        return address in self.memory and self.memory[address].size == size

    def unmap(self, address: int, size: int) -> None:
        memory = self.memory.pop(address)
        locks = []
        for name, start, length in self.locks:
            for low, high in ((start, min(start + length, address)), (max(start, address + size), start + length)):
                if low < high:
                    locks.append((name, low, high - low))
        self.locks = locks
        if memory.view:
            memory.view.close()

    def unmap_all(self) -> None:
        for address, memory in list(self.memory.items()):
            self.unmap(address, memory.size)

    def tracking(self, on: bool) -> None:
        self.logs = on
        for memory in self.memory.values():
            memory.dirty = memory.dirty if on else 0

    def is_tracking(self) -> bool:
        return self.logs

    def dirty(self, address: int, pages: int) -> bytes:
        answer = 0
        for start, memory in self.memory.items():
            asked = self.within(start, memory, address, pages * self.page)
            if not asked:
                continue
            found = memory.dirty & asked
            memory.dirty &= 0 if self.broken == "clears-all" else ~asked
            for lock in self.locks:
                found |= self.within(start, memory, *lock[1:]) & asked
            shift = (start - address) // self.page
            answer |= found << shift if shift >= 0 else found >> -shift
        return answer.to_bytes((pages + 7) // 8, "little")

    # ---- the migration region

    def migration_read(self, offset: int, count: int) -> bytes:
        if offset >= HEADER:
            if self.broken == "map-late" and self.shown:
                frame = self.frames[0].ljust(SECTION, b"\0")
                return frame[offset - HEADER : offset - HEADER + count]
            return self.section[offset : offset + count]
        match offset, count:
            case 0, 4:
                value = self.state
            case 4, 4:
                value = 0
            case 8, 8:
                if self.shown:
                    del self.frames[0]
                    self.shown = False
                value = sum(len(frame) for frame in self.frames)
            case 16, 8:
                self.show()
                value = HEADER
            case 24, 8:
                value = len(self.frames[0]) if self.shown else 0
                if self.shown and self.broken == "map-late":
                    self.section[HEADER : HEADER + value] = self.frames[0]
            case _:
                raise Refusal
        return value.to_bytes(count, "little")

    def show(self) -> None:
        if self.frames and not self.shown:
            if self.latch == 1:
                raise Refusal(errno.EIO)
            self.shown = True
            if self.broken != "map-late":
                self.section[HEADER : HEADER + len(self.frames[0])] = self.frames[0]

    def migration_write(self, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if offset >= HEADER:
            if self.state != RESUMING:
                raise Refusal(errno.EACCES)
            self.section[offset : offset + len(data)] = data
            return
        match offset, len(data):
            case 0, 4:
                self.change(value & 7)
            case (4, 4) | (8, 8) | (16, 8):
                pass
            case 24, 8:
                if self.state != RESUMING or not 0 < value <= SECTION:
                    raise Refusal
                if sum(map(len, self.collected)) + value > 2 * TILES:
                    raise Refusal(errno.ENOSPC)
                self.collected.append(self.section[HEADER : HEADER + value])
            case _:
                raise Refusal

    def change(self, new: int) -> None:
        if new not in PATHS.get(self.state, ()):
            raise Refusal
        if self.latch in (2, 3):
            fatal, self.latch = self.latch == 2, 0
            if fatal:
                self.gate()
                self.state = ERROR
            raise Refusal(errno.EIO if fatal else errno.EBUSY)
        if new == self.state:
            return
        if self.state == RESUMING:
            self.configure()
        if new == SAVING and self.latch == 1:
            raise Refusal(errno.EIO)
        if not new & RUNNING:
            self.gate()
        elif not self.state & RUNNING:
            self.edge = self.edge_of_work = time.monotonic_ns()
        self.state, self.frames, self.shown = new, [], False
        if new == SAVING:
            shell = SHELL.pack(
                self.cycles, self.address, self.length, self.name, self.beat, self.to_go, self.busy | self.stream << 4
            )
            body = shell + self.tiles[:]
            image = IMAGE.pack(b"PATIENCE", len(body), zlib.crc32(body)) + body
            self.frames = [image[at : at + FRAME] for at in range(0, len(image), FRAME)]
        if new == RESUMING:
            self.spoiled = False
            self.forget()

    def gate(self) -> None:
        if self.state & RUNNING:
            self.cycles = self.clock()
            if self.busy == 1:
                self.to_go = max(self.to_go - (time.monotonic_ns() - self.edge_of_work), 1)

    def forget(self) -> None:
        if self.broken != "collector-kept" or sum(map(len, self.collected)) == IMAGE.size + SHELL.size + TILES:
            self.collected = []

    def configure(self) -> None:
        """Make the collected data the design, if it is one."""
        image, self.collected = b"".join(self.collected), []
        if not image and not self.spoiled:
            return
        self.spoiled = True
        if self.latch == 4:
            raise Refusal(errno.EIO)
        if len(image) != IMAGE.size + SHELL.size + TILES:
            raise Refusal(errno.ENODATA)
        magic, size, total = IMAGE.unpack_from(image)
        body = image[IMAGE.size :]
        if magic != b"PATIENCE" or size != len(body) or total != zlib.crc32(body):
            raise Refusal(errno.EBADMSG)
        self.spoiled = False
        self.cycles, self.address, self.length, self.name, self.beat, self.to_go, bits = SHELL.unpack_from(body)
        self.busy, self.stream = bits & 15, bool(bits >> 4)
        self.tiles[:] = body[SHELL.size :]


if __name__ == "__main__":
    serve(Patient, ("collector-kept", "map-late", "clears-all"))
