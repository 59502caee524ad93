# SPDX-License-Identifier: GPL-2.0-only
"""A sealing engine that serves one client, and ends with exit status 0 when the client goes.

BAR 0, registers of 4 bytes, the last first:

    0x00  rw  doorbell: 1 seals once, 3 seals forever, 0 halts
    0x04  r   status: bit 0 seals forever, bit 1 the last seal could not be written, bit 2 the queue holds a job
    0x08  rw  bytes to be written
    0x0c  rw  host address, high half      0x10  rw  host address, low half
    0x14  r   ticks, 4 in a millisecond, while the device runs
    0x18  rw  index of a word of the key slots
    0x1c  rw  the word at the index, which then increases by one
    0x20  w   queues a job of 8 ms; it continues when the device runs again, even on a target
    0x24  r   jobs done

    The key slots are 64 of 32 bytes, which makes 512 words.

BAR 4 is the journal, 40 KiB, 1 to 8 bytes at their alignment, or whole lines of 64.

Data path: a seal is a chain of digests, written by pwrite() into the client's file, or by DMA_WRITE without one. Dirty
pages are a list of extents, each joined with those that it touches.

Saved state: a letter, a number and a length, then a part: S new slots, J a page of the journal, R the registers. The
slots and pages are sent in pre-copy, and again when they change; the registers at the end. Each buffer is 0x200 after
the previous one, in a section that cannot be mapped. A buffer is applied as it comes: entering resuming clears the
device, and parts that are not given stay empty. No pages are pinned.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loop.wire import Device, Job, Mapping, Region, main, refuse

STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING = range(5)
ALLOWED = {
    STOP: {RUNNING, STOP_AND_COPY, RESUMING},
    RUNNING: {STOP, STOP_AND_COPY, PRE_COPY, RESUMING},
    STOP_AND_COPY: {STOP, STOP_AND_COPY, RUNNING},
    PRE_COPY: {STOP_AND_COPY, RUNNING, STOP},
    RESUMING: {RUNNING, STOP},
}
SLOTS, SLOT, PAGES, PAGE = 64, 32, 10, 4096
FIRST, STEP, STEPS, ROOM = 0x40, 0x200, 8, 0x1400
HEAD = struct.Struct("<cxHI")
PLAIN = struct.Struct("<IIIIIdII32s")


class Engine(Device):
    info_flags = 1  # it can be reset, and is not on any bus

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.regions = {
            0: Region(0x28),
            4: Region(PAGES * PAGE),
            9: Region(FIRST + STEP * STEPS + ROOM, migration=True),
        }
        self.extents: list[tuple[int, int]] | None = None
        self.ring = 0
        self.wipe()
        self.state = RUNNING

    def wipe(self) -> None:
        """Clear the device's own state."""
        self.slots = [bytes(SLOT)] * SLOTS
        self.journal = [bytearray(PAGE) for _ in range(PAGES)]
        self.length = self.high = self.low = self.index = self.done = 0
        self.ticks, self.work, self.jobs = 0.0, 0.0, 0
        self.chain = bytes(32)
        self.forever = self.failed = False
        self.since = time.monotonic()
        self.ring += 1
        self.window = bytearray(STEP * STEPS + ROOM)
        self.start()

    def start(self) -> None:
        self.todo: list[tuple[bytes, int]] = [(b"S", n) for n in range(SLOTS)] + [(b"J", n) for n in range(PAGES)]
        self.current: list[tuple[bytes, int]] | None = None
        self.size = self.count = self.next_slot = 0
        self.closed_up = False
        self.letters = ""

    def opened(self) -> None:
        self.extents = None
        self.reset()

    def closed(self) -> None:
        self.ring += 1

    def reset(self) -> None:
        self.wipe()
        self.state = RUNNING

    # ---- the engine -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = time.monotonic()
        if self.state in (RUNNING, PRE_COPY):
            passed = (now - self.since) * 1000
            self.ticks += 4 * passed
            self.work = max(0.0, self.work - passed)
            if self.jobs and not self.work:
                self.done += self.jobs
                self.jobs = 0
        self.since = now

    def seal(self) -> Job:
        iova, length = self.high << 32 | self.low, self.length
        parts = self.server.lookup(iova, length)
        self.chain = hashlib.sha256(self.chain).digest()
        text = self.chain * (length // 32 + 1)
        for mapping, at, size in parts:
            self.note(at, size)
            piece = text[at - iova : at - iova + size]
            if mapping.fd < 0:
                yield from self.server.dma_write(at, piece)
            elif os.pwrite(mapping.fd, piece, mapping.offset + at - mapping.iova) != size:
                raise refuse(errno.EIO)

    def sealing(self, ring: int) -> Job:
        while ring == self.ring and self.forever:
            if self.state in (RUNNING, PRE_COPY):
                try:
                    yield from self.seal()
                except OSError:
                    self.failed, self.forever = True, False
            yield 0.002

    def read(self, region: int, offset: int, count: int) -> Any:
        if region == 9:
            return self.look(offset, count)
        if region == 4:
            return self.line(offset, count)
        if count != 4 or offset % 4:
            raise refuse(errno.EINVAL)
        self.tick()
        if offset == 0x1C:
            self.index %= SLOTS * SLOT // 4
            word = self.slots[self.index // 8][self.index % 8 * 4 :][:4]
            self.index += 1
            return word
        status = self.forever | self.failed << 1 | (self.jobs > 0) << 2
        values = (
            3 * self.forever,
            status,
            self.length,
            self.high,
            self.low,
            int(self.ticks),
            self.index,
            0,
            0,
            self.done,
        )
        return struct.pack("<I", values[offset // 4] & 0xFFFFFFFF)

    def write(self, region: int, offset: int, data: bytes) -> Any:
        if region == 9:
            return self.put(offset, data)
        if region == 4:
            self.line(offset, len(data))
            self.journal[offset // PAGE][offset % PAGE : offset % PAGE + len(data)] = data
            self.changed(b"J", offset // PAGE)
            return None
        if len(data) != 4 or offset % 4:
            raise refuse(errno.EINVAL)
        value = struct.unpack("<I", data)[0]
        if offset == 0x00:
            return self.doorbell(value)
        if offset == 0x08:
            self.length = value
        elif offset == 0x0C:
            self.high = value
        elif offset == 0x10:
            self.low = value
        elif offset == 0x18:
            self.index = value % (SLOTS * SLOT // 4)
        elif offset == 0x1C:
            self.index %= SLOTS * SLOT // 4
            number, place = self.index // 8, self.index % 8 * 4
            self.slots[number] = self.slots[number][:place] + data + self.slots[number][place + 4 :]
            self.changed(b"S", number)
            self.index += 1
        elif offset == 0x20:
            self.tick()
            self.jobs += 1
            self.work += 8.0
        else:
            raise refuse(errno.EINVAL)
        return None

    def line(self, offset: int, count: int) -> bytes:
        if count not in (1, 2, 4, 8, 64) or offset % count:
            raise refuse(errno.EINVAL)
        return bytes(self.journal[offset // PAGE][offset % PAGE : offset % PAGE + count])

    def doorbell(self, value: int) -> Any:
        if value not in (0, 1, 3) or (value and not 0 < self.length <= 1 << 20):
            raise refuse(errno.EINVAL)
        if value and self.state not in (RUNNING, PRE_COPY):
            raise refuse(errno.EBUSY)
        self.failed, self.forever = False, value == 3
        self.ring += 1
        if value == 3:
            self.server.spawn(self.sealing(self.ring))
        return self.seal() if value == 1 else None

    # ---- memory -----------------------------------------------------------------------------------------------------

    def note(self, at: int, size: int) -> None:
        """Add an extent of whole pages to the list, joined with those that it touches."""
        if self.extents is None:
            return
        page = self.server.page
        first, last = at // page, (at + size - 1) // page + 1
        near = 1 if self.broken == "near-is-next" else 0  # also joins extents that are a page apart
        apart = []
        for start, end in self.extents:
            if end + near < first or start > last + near:
                apart.append((start, end))
            else:
                first, last = min(first, start), max(last, end)
        self.extents = [*apart, (first, last)]

    def cut(self, first: int, last: int) -> list[tuple[int, int]]:
        """Remove the pages of a range from the list."""
        taken, left = [], []
        for start, end in self.extents or []:
            if start < first:
                left.append((start, min(end, first)))
            if end > last:
                left.append((max(start, last), end))
            if max(start, first) < min(end, last):
                taken.append((max(start, first), min(end, last)))
        self.extents = left
        return taken

    def unmapped(self, mapping: Mapping) -> None:
        if self.extents is not None:
            self.cut(mapping.iova // self.server.page, mapping.end // self.server.page)

    def tracking(self) -> bool:
        return self.extents is not None

    def track(self, on: bool) -> None:
        self.extents = (self.extents or []) if on else None

    def bitmap(self, iova: int, pages: int) -> bytes:
        first = iova // self.server.page
        bits = 0
        for start, end in self.cut(first, first + pages):
            bits |= (1 << end - first) - (1 << start - first)
        return bits.to_bytes(-(-pages // 8), "little")

    # ---- migration --------------------------------------------------------------------------------------------------

    def changed(self, letter: bytes, number: int) -> None:
        if (letter, number) not in self.todo:
            self.todo.append((letter, number))

    def change(self, new: int) -> None:
        if new not in ALLOWED[self.state]:
            raise refuse(errno.EINVAL)
        if new == self.state:
            return
        self.tick()
        if self.state == RESUMING and self.letters and "R" not in self.letters:
            raise refuse(errno.EBADMSG, "the registers were not given")
        if new == RESUMING:
            self.wipe()
        elif (self.state, new) == (PRE_COPY, STOP_AND_COPY):
            self.todo += [each for each in self.current or [] if each not in self.todo]
            self.current = None
        else:
            self.start()
        self.state = new

    def left(self) -> int:
        many = sum(HEAD.size + (SLOT if letter == b"S" else PAGE) for letter, _ in self.todo)
        final = HEAD.size + PLAIN.size if self.state == STOP_AND_COPY and not self.closed_up else 0
        return many + final

    def pending(self) -> int:
        if self.state not in (PRE_COPY, STOP_AND_COPY):
            return 0
        if self.current is not None:
            self.current = None
            self.count += 1
        return self.left()

    def offset(self) -> int:
        if self.state in (PRE_COPY, STOP_AND_COPY) and self.current is None and self.left():
            self.offer()
        return FIRST + self.count % STEPS * STEP

    def offer(self) -> None:
        """Offer all waiting slots, a page, or the registers, at the next place in the section."""
        chosen = [each for each in self.todo if each[0] == b"S"] or self.todo[:1]
        self.todo = [each for each in self.todo if each not in chosen]
        text = b""
        for letter, number in chosen:
            part = self.slots[number] if letter == b"S" else bytes(self.journal[number])
            text += HEAD.pack(letter, number, len(part)) + part
        if not chosen:
            self.tick()
            plain = (self.forever, self.length, self.high, self.low, self.index % 512, self.work, self.jobs, self.done)
            text = HEAD.pack(b"R", 0, PLAIN.size) + PLAIN.pack(*plain, self.chain)
            self.closed_up = True
        self.current, self.size = chosen, len(text)
        start = self.count % STEPS * STEP
        self.window[start : start + len(text)] = text

    def given(self, size: int) -> None:
        """Check a buffer as a whole, then apply it."""
        if not HEAD.size <= size <= ROOM:
            raise refuse(errno.EINVAL)
        start = self.count % STEPS * STEP
        text, parts = bytes(self.window[start : start + size]), []
        while text:
            if len(text) < HEAD.size:
                raise refuse(errno.EBADMSG)
            letter, number, length = HEAD.unpack_from(text)
            part = text[HEAD.size : HEAD.size + length]
            wanted, most = {b"S": (SLOT, SLOTS), b"J": (PAGE, PAGES), b"R": (PLAIN.size, 1)}.get(letter, (-1, 0))
            if length != wanted or len(part) != length or number >= most:
                raise refuse(errno.EBADMSG)
            parts.append((letter, number, part))
            text = text[HEAD.size + length :]
        for letter, number, part in parts:
            self.apply(letter, number, part)
        self.count += 1

    def apply(self, letter: bytes, number: int, part: bytes) -> None:
        self.letters += letter.decode()
        if letter == b"S":
            if self.broken == "one-after-another":  # assumes that the slots come in order, from the first on
                number, self.next_slot = self.next_slot % SLOTS, self.next_slot + 1
            self.slots[number] = part
        elif letter == b"J":
            self.journal[number] = bytearray(part)
        else:
            forever, self.length, self.high, self.low, self.index, self.work, self.jobs, self.done, self.chain = (
                PLAIN.unpack(part)
            )
            self.forever = bool(forever)
            self.ring += 1
            if forever:
                self.server.spawn(self.sealing(self.ring))

    def look(self, offset: int, count: int) -> bytes:
        if offset >= FIRST:
            return bytes(self.window[offset - FIRST : offset - FIRST + count])
        if (offset, count) == (0, 4):
            return struct.pack("<I", self.state)
        if (offset, count) == (4, 4):
            return bytes(4)
        if count == 8 and offset in (8, 16, 24):
            if offset == 8:
                return struct.pack("<Q", self.pending())
            if offset == 16:
                return struct.pack("<Q", self.offset())
            return struct.pack("<Q", self.size if self.current is not None else 0)
        raise refuse(errno.EINVAL)

    def put(self, offset: int, data: bytes) -> None:
        if offset >= FIRST and self.state == RESUMING:
            self.window[offset - FIRST : offset - FIRST + len(data)] = data
        elif (offset, len(data)) == (0, 4):
            self.change(struct.unpack("<I", data)[0])
        elif (offset, len(data)) == (24, 8) and self.state == RESUMING:
            self.given(struct.unpack("<Q", data)[0])
        elif (offset, len(data)) not in ((4, 4), (8, 8), (16, 8)):  # these are ignored
            raise refuse(errno.EINVAL)


if __name__ == "__main__":
    main(Engine, __doc__, ("near-is-next", "one-after-another"), quits=True)
