# SPDX-License-Identifier: GPL-2.0-only
"""An audio DSP that compares device_state as a whole word: with a reserved bit set, it is not a known state.

Region 6, the registers (0x40 bytes); region 0, the migration region: a trapped page of header, an area of 8 KiB that
can be mapped, and 4 KiB that cannot. There is one interrupt, at the end of each period.

| offset | width | what |
|---|---|---|
| 0x00 | 2 | control: bit 0 capture (16 frames every 4 ms), bit 1 interrupt after each period of 5 ms |
| 0x02 | 2, wo | command: 1 fill the ring with samples, 2 pin the ring, 3 unpin it, 4 a burst: fill the ring in 15 ms |
| 0x04 | 4, ro | status: bit 0 burst in progress, bit 4 ring not mapped |
| 0x08 | 4, ro | samples since power-on, at 192 kHz |
| 0x10 | 8 | ring: its page in the client's memory, times 4096, and the offset in that page |
| 0x18 | 4 | ring: bytes, up to 256 KiB |
| 0x20 | 2 | volume, left |
| 0x22 | 2 | volume, right |
| 0x24 | 2 | balance |
| 0x26 | 2 | tone |
| 0x28 | 4 | test: 1 saving fails, 2 the next state is fatal, 3 it is refused, 4 records are refused |

Data path: samples of 4 bytes are made from the count and copied into the client's memory. A written page enters a table
with the number of the query that will report it.

The state is a stream of records: one for each of 24 voices of 1 KiB, the mixer, and the end. Voices are offered in
pre-copy, up to seven at a time, and again after a change. Voices are in the mapped area, mixer and end after it. The
target reads the stream record by record, wherever it is cut, and stores each in its voice.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from threads.wire import Device, Hangup, Refusal, Window, serve

VOICES, VOICE = 24, 1024
RECORD = struct.Struct("<BBHI")  # 0xA5, kind, bytes, sum of the bytes
MIXER, END = 0x40, 0x7F  # kinds; a voice is of the kind of its number
FIELDS = struct.Struct("<IQIHHHHHHII")
AREA, MAPPED, BEHIND, TRAPPED = 0x1000, 0x2000, 0x3000, 0x1000
CAPTURE, PERIOD, BURST = 0.004, 0.005, 0.015
MIX = ("left", "right", "balance", "tone")


class Block:
    """A mapping of the client's memory."""

    def __init__(self, start: int, end: int, flags: int, view: mmap.mmap | None) -> None:
        self.start, self.end, self.flags, self.view = start, end, flags, view


class Wholeword(Device):
    regions = 7
    interrupts = ((1, 1),)

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken
        self.file = os.memfd_create("voices")
        os.ftruncate(self.file, BEHIND)
        self.area = mmap.mmap(self.file, BEHIND)
        self.blocks: list[Block] = []
        self.pins: dict[int, set[int]] = {}  # start of a pinned range: pages
        self.table: dict[int, int] = {}  # page: the query that will report it
        self.query = 0
        self.tracks = False
        self.event = -1
        self.reset()

    def reset(self) -> None:
        for start in list(self.pins):
            self.unpin(start)
        self.voices = [bytearray(struct.pack("<I", 77 + number * 3) * (VOICE // 4)) for number in range(VOICES)]
        self.mix = dict.fromkeys(MIX, 0)
        self.control = self.status = self.ring = self.size = self.test = 0
        self.count, self.started = 0, time.monotonic()
        self.cursor = 0
        self.rest = 0.0  # of the burst
        self.captured = self.rung = self.burst = self.started
        self.word = 1
        self.fresh_session()

    def closed(self) -> None:
        self.pins.clear()
        self.unmap_all()
        self.tracking(False)
        if self.event >= 0:
            os.close(self.event)
        self.event = -1
        self.area[:] = bytes(BEHIND)
        self.reset()

    def window(self, index: int) -> Window:
        if index == 0:
            return Window(BEHIND + TRAPPED, 3, (3, 1), ((AREA, MAPPED),), self.file)
        return Window(0x40 if index == 6 else 0)

    def set_irqs(self, flags: int, index: int, start: int, count: int, data: bytes, files: list[int]) -> None:
        kind, action = flags & 7, flags & 0x38
        if action != 0x20 or kind not in (1, 2, 4):
            raise Refusal
        if kind == 4 or not count:
            if self.event >= 0:
                os.close(self.event)
            self.event = files.pop(0) if files and count else -1
        elif kind == 1 or data[:1] != b"\0":
            self.ringing()

    def ringing(self) -> None:
        if self.event >= 0:
            try:
                os.write(self.event, struct.pack("<Q", 1))
            except OSError:
                os.close(self.event)
                self.event = -1

    # ---- registers

    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 0:
            return self.migration_read(offset, count)
        if region != 6:
            raise Refusal
        if count == 2 and offset in range(0x20, 0x28, 2):
            return struct.pack("<H", self.mix[MIX[(offset - 0x20) // 2]])
        values = {0x00: (2, self.control), 0x04: (4, self.status), 0x08: (4, self.samples() & 0xFFFFFFFF)}
        values |= {0x10: (8, self.ring), 0x18: (4, self.size), 0x28: (4, self.test)}
        width, value = values.get(offset, (0, 0))
        if width != count:
            raise Refusal
        return value.to_bytes(width, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 0:
            self.migration_write(offset, data)
            return
        value, now = int.from_bytes(data, "little"), time.monotonic()
        if region != 6:
            raise Refusal
        if len(data) == 2 and offset in range(0x20, 0x28, 2):
            self.mix[MIX[(offset - 0x20) // 2]] = value
            for voice in range(0, VOICES, 5):
                self.voices[voice][8:10] = data
                self.touched.add(voice)
        elif (offset, len(data)) == (0x00, 2):
            self.control, self.captured, self.rung = value & 3, now, now
        elif (offset, len(data)) == (0x02, 2):
            self.command(value)
        elif (offset, len(data)) == (0x10, 8):
            self.ring = value
        elif (offset, len(data)) == (0x18, 4):
            self.size = min(value, 256 << 10)
        elif (offset, len(data)) == (0x28, 4):
            self.test = value
        else:
            raise Refusal

    def samples(self) -> int:
        return self.count + (int((time.monotonic() - self.started) * 192_000) if self.word & 1 else 0)

    def command(self, value: int) -> None:
        if value == 2:
            self.blocks_of(self.ring, max(self.size, 1), 1)
            last = self.ring + max(self.size, 1) - 1
            self.pins.setdefault(self.ring, set()).update(range(self.ring // self.page, last // self.page + 1))
        elif value == 3:
            self.unpin(self.ring)
        elif not self.word & 1 or self.status & 1:
            raise Refusal(errno.EBUSY)
        elif value == 1:
            self.sound(0, self.size)
        elif value == 4:
            self.blocks_of(self.ring, self.size, 2)
            self.status, self.rest, self.burst = 1, BURST, time.monotonic()
        else:
            raise Refusal

    # ---- samples

    def blocks_of(self, address: int, size: int, want: int) -> list[Block]:
        found, at = [], address
        for block in sorted(self.blocks, key=lambda one: one.start):
            if block.start <= at < block.end and at < address + size and block.flags & want:
                found.append(block)
                at = block.end
        if at < address + size:
            raise Refusal(errno.EFAULT)
        return found

    def sound(self, begin: int, end: int) -> None:
        start, size = self.ring + begin, end - begin
        first = self.samples() + 1
        data = b"".join(struct.pack("<I", (first + n) * 2654435761 & 0xFFFFFFFF) for n in range((size + 3) // 4))[:size]
        for block in self.blocks_of(start, size, 2):
            low, high = max(start, block.start), min(start + size, block.end)
            part = data[low - start : high - start]
            if block.view:
                block.view[low - block.start : high - block.start] = part
            elif self.client:
                step = self.client.piece
                self.client.store([(low + at, part[at : at + step]) for at in range(0, len(part), step)])
            else:
                raise Hangup
        if self.tracks and size:
            self.table |= dict.fromkeys(range(start // self.page, (start + size - 1) // self.page + 1), self.query)

    def due(self) -> float | None:
        now = time.monotonic()
        if not self.word & 1:
            if self.broken == "last-period" and self.control & 2 and self.rung:
                if now - self.rung < PERIOD:
                    return PERIOD - (now - self.rung)
                self.rung = 0.0
                self.ringing()
            return None
        waits = []
        if self.control & 2:
            if now - self.rung >= PERIOD:
                self.rung = now
                self.ringing()
            waits.append(self.rung + PERIOD - now)
        try:
            if self.status & 1:
                if now - self.burst >= self.rest:
                    self.status, self.rest = 0, 0.0
                    self.sound(0, self.size)
                else:
                    waits.append(self.rest - (now - self.burst))
            if self.control & 1:
                if now - self.captured >= CAPTURE:
                    self.captured = now
                    self.cursor = self.cursor + 64 if self.cursor + 64 < self.size else 0
                    self.sound(self.cursor, min(self.cursor + 64, self.size))
                waits.append(self.captured + CAPTURE - now)
        except Refusal:
            self.status, self.control = 0x10, self.control & 2
        return max(min(waits), 0.0) if waits else None

    def unpin(self, start: int) -> None:
        pages = self.pins.pop(start, set())
        if self.tracks:
            self.table |= dict.fromkeys(pages, self.query)

    # ---- the client's memory

    def map(self, address: int, size: int, flags: int, offset: int, file: int) -> None:
        view = None
        try:
            if any(block.start < address + size and address < block.end for block in self.blocks):
                raise Refusal(errno.EEXIST)
            if file >= 0:
                access = mmap.PROT_READ | (mmap.PROT_WRITE if flags & 2 else 0)
                view = mmap.mmap(file, size, mmap.MAP_SHARED, access, offset=offset)
        except (OSError, ValueError, OverflowError):
            raise Refusal from None
        finally:
            if file >= 0:
                os.close(file)
        self.blocks.append(Block(address, address + size, flags, view))

    def mapped(self, address: int, size: int) -> bool:
        return any((block.start, block.end) == (address, address + size) for block in self.blocks)

    def unmap(self, address: int, size: int) -> None:
        end = address + size
        for pages in self.pins.values():
            pages -= {page for page in pages if address <= page * self.page < end}
        self.table = {page: query for page, query in self.table.items() if not address <= page * self.page < end}
        for block in [block for block in self.blocks if block.start == address]:
            self.blocks.remove(block)
            if block.view:
                block.view.close()

    def unmap_all(self) -> None:
        for block in list(self.blocks):
            self.unmap(block.start, block.end - block.start)

    def tracking(self, on: bool) -> None:
        self.tracks = on
        if not on and self.broken != "table-kept":
            self.table.clear()

    def is_tracking(self) -> bool:
        return self.tracks

    def dirty(self, address: int, pages: int) -> bytes:
        bits = bytearray((pages + 7) // 8)
        first = address // self.page
        told = {page for page, query in self.table.items() if first <= page < first + pages and query <= self.query}
        self.query += 1
        for page in told:
            del self.table[page]
        for pinned in self.pins.values():
            told |= {page for page in pinned if first <= page < first + pages}
        for page in told:
            if any(block.start <= page * self.page < block.end for block in self.blocks):
                bits[(page - first) // 8] |= 1 << (page - first) % 8
        return bytes(bits)

    # ---- migration

    def fresh_session(self) -> None:
        self.touched = set(range(VOICES))
        self.tail = True  # mixer and end are still to be sent
        self.buffer, self.carries = b"", set[int]()
        self.place = AREA
        self.behind = bytearray(TRAPPED)
        self.stream = b""
        self.heard: set[int] = set()
        self.told = 0

    def migration_read(self, offset: int, count: int) -> bytes:
        if offset >= AREA:
            section = self.area[AREA:] + self.behind
            return bytes(section[offset - AREA : offset - AREA + count])
        if (offset, count) == (0, 4):
            return struct.pack("<I", self.word)
        if (offset, count) == (4, 4):
            return bytes(4)
        if (offset, count) == (8, 8):
            return struct.pack("<Q", self.left())
        if (offset, count) == (16, 8):
            self.make()
            return struct.pack("<Q", self.place)
        if (offset, count) == (24, 8):
            return struct.pack("<Q", len(self.buffer) if self.word & 2 else self.told)
        raise Refusal

    def left(self) -> int:
        self.buffer, self.carries = b"", set()
        if not self.word & 2:
            return 0
        return len(self.touched) * (RECORD.size + VOICE) + (100 if self.tail and self.word == 2 else 0)

    def record(self, kind: int, body: bytes) -> bytes:
        return RECORD.pack(0xA5, kind, len(body), sum(body)) + body

    def make(self) -> None:
        """Offer the next buffer, unless one is offered."""
        if self.word == 4:
            self.place = AREA
        if self.buffer or not self.word & 2:
            return
        if self.test == 1 and (self.touched or (self.tail and self.word == 2)):
            raise Refusal(errno.EIO)
        if self.touched:
            self.carries = set(sorted(self.touched)[:7])
            self.touched -= self.carries
            self.buffer = b"".join(self.record(voice, bytes(self.voices[voice])) for voice in sorted(self.carries))
            self.place = AREA
            self.area[AREA : AREA + len(self.buffer)] = self.buffer
        elif self.tail and self.word == 2:
            self.tail = False
            head = (self.count & 0xFFFFFFFF, self.ring, self.size, *(self.mix[name] for name in MIX))
            mixer = FIELDS.pack(*head, self.control, self.status, self.cursor, int(self.rest * 1e6))
            self.buffer = self.record(MIXER, mixer) + self.record(END, bytes([VOICES]))
            self.place = BEHIND + 0x10
            self.behind[0x10 : 0x10 + len(self.buffer)] = self.buffer

    def migration_write(self, offset: int, data: bytes) -> None:
        if offset >= AREA:
            if self.word != 4:
                raise Refusal(errno.EROFS)
            near = max(0, min(len(data), BEHIND - offset))
            self.area[offset : offset + near] = data[:near]
            self.behind[max(0, offset - BEHIND) : max(0, offset - BEHIND) + len(data) - near] = data[near:]
        elif (offset, len(data)) == (0, 4):
            self.transition(int.from_bytes(data, "little"))
        elif (offset, len(data)) == (24, 8) and self.word == 4:
            size = int.from_bytes(data, "little")
            if not 0 < size <= MAPPED + TRAPPED:
                raise Refusal
            self.hear(size)
        elif (offset, len(data)) not in ((4, 4), (16, 8)):
            raise Refusal

    def hear(self, size: int) -> None:
        """Take more of the stream; each complete record takes effect."""
        stream = self.stream + self.migration_read(AREA, size)
        heard = set(self.heard)
        at, orders = 0, []
        while len(stream) - at >= RECORD.size:
            mark, kind, length, total = RECORD.unpack_from(stream, at)
            want = VOICE if kind < VOICES else {MIXER: FIELDS.size, END: 1}.get(kind)
            if mark != 0xA5 or length != want:
                raise Refusal(errno.EBADMSG)
            body = stream[at + RECORD.size : at + RECORD.size + length]
            if len(body) < length:
                break
            if sum(body) != total:
                raise Refusal(errno.EBADMSG)
            orders.append((kind, body))
            heard.add(kind)
            at += RECORD.size + length
        if self.test == 4:
            raise Refusal(errno.EIO)
        self.stream, self.heard, self.told = stream[at:], heard, size
        for kind, body in orders:
            if kind < VOICES:
                self.voices[kind][:] = body
            elif kind == MIXER:
                fields = FIELDS.unpack(body)
                self.count, self.ring, self.size = fields[:3]
                self.mix = dict(zip(MIX, fields[3:7], strict=True))
                self.control, self.status, self.cursor = fields[7:10]
                self.rest = fields[10] / 1e6

    def transition(self, word: int) -> None:
        """Write device_state: the whole word counts."""
        if self.broken == "reserved-lost" and word >> 3:
            return
        if self.word == 6 or word not in (0, 1, 2, 3, 4):
            raise Refusal
        if self.test in (2, 3):
            fatal, self.test = self.test == 2, 0
            if fatal:
                self.silence()
                self.word = 6
            raise Refusal(errno.EIO if fatal else errno.EBUSY)
        match self.word, word:
            case (1, 1) | (0, 0) | (3, 3) | (2, 2) | (4, 4):
                return
            case (1, _) | (3, 2) | (3, 1) | (2, 0) | (2, 1) | (0, 1) | (0, 2) | (0, 3):
                pass
            case 4, 1:
                if (self.heard or self.stream) and (len(self.heard) < VOICES + 2 or self.stream):
                    raise Refusal(errno.ENODATA)
            case _:
                raise Refusal
        old = self.word
        if old & 1 and not word & 1:
            self.silence()
        if word & 1 and not old & 1:
            self.started = self.captured = self.rung = self.burst = time.monotonic()
        if old == 3 and word == 2:
            self.touched |= self.carries
            self.buffer, self.carries = b"", set()
        else:
            self.fresh_session()
        self.word = word

    def silence(self) -> None:
        self.count = self.samples()
        if self.status & 1:
            self.rest = max(self.rest - (time.monotonic() - self.burst), 1e-5)


if __name__ == "__main__":
    serve(Wholeword, ("reserved-lost", "last-period", "table-kept"))
