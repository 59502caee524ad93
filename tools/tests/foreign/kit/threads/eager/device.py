# SPDX-License-Identifier: GPL-2.0-only
"""A video decoder that uses data at once: piece by piece as it is written, and for good when data_size is written.

Region 1, the registers (0x80 bytes); region 2, the frame store (24 KiB); region 8, the migration region, whose trapped
data section has two halves at 0x100 and 0x2000, which buffers use in turn.

| offset | width | what |
|---|---|---|
| 0x00 | 8, ro | macroblocks decoded: 25 in each ms while the decoder runs |
| 0x0a | 2 | control: bit 0 puts out a part of a picture every 3 ms |
| 0x0c | 4 | surface in the client's memory, low half of its address |
| 0x10 | 4 | its high half |
| 0x14 | 4 | its bytes, up to 1 MiB |
| 0x18 | 2, wo | kick: 1 put out a picture, 2 attach the surface (pin it), 3 detach, 4 decode (25 ms) and put out |
| 0x1a | 2, ro | status: bit 0 busy, bit 1 no surface |
| 0x20 | 4 | user data, low half |
| 0x24 | 4 | user data, high half |
| 0x40 | 2 | upset: 1 saving fails, 2 the next change of state is fatal, 3 it is refused, 4 storing fails |

Data path: a picture is lines of 512 bytes, each a number of its own and bytes of the frame store, copied into a mapping
of the client's memory, or sent to it without a descriptor. Each mapping has a byte for each of its pages.

The state: slices of the frame store that changed since they were last read, and in stop-and-copy the context. In
resuming, a slice goes into the frame store itself while it is written, and the previous content is kept until data_size
is written: then that is put back, and the slice is checked and stored as a whole, or refused. With an incomplete state,
leaving resuming leads to the error state, until a reset.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from threads.wire import Device, Hangup, Refusal, Window, serve

CUTS = (0, 6000, 11000, 15096, 19192, 22192, 24576)
SLICES = len(CUTS) - 1
MARK = struct.Struct("<HHIII")  # which slice (SLICES: the context), 0x5AFE, bytes, sum, generation
CONTEXT = struct.Struct("<QQQIIHH")
HALVES, HALF = (0x100, 0x2000), 0x1800
LINE = 512
DECODING, REFRESH = 0.025, 0.003


class Surface:
    """Memory of the client: a written page has a 1 in marks."""

    def __init__(self, start: int, size: int, flags: int, page: int) -> None:
        self.start, self.size, self.flags, self.page = start, size, flags, page
        self.view: mmap.mmap | None = None
        self.marks = bytearray(size // page)

    def numbers(self, start: int, size: int) -> range:
        """The pages of this memory that a range touches."""
        first = max(start, self.start) - self.start
        last = min(start + size, self.start + self.size) - self.start - 1
        return range(first // self.page, last // self.page + 1) if first <= last else range(0)


class Eager(Device):
    regions = 10

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken
        self.surfaces: list[Surface] = []
        self.attached: list[tuple[int, int, int]] = []  # surface, and its mapped part: start and bytes
        self.on = False
        self.reset()

    def reset(self) -> None:
        for start, _, _ in list(self.attached):
            self.detach(start)
        self.frame = bytearray(zlib.crc32(bytes([at & 255])) >> 8 & 255 for at in range(CUTS[-1]))
        self.generation = [1] * SLICES
        self.blocks, self.began = 0, time.monotonic_ns()
        self.address = self.length = self.control = self.status = self.user = self.upset = 0
        self.serial = 0
        self.left = 0.0  # of the decoding
        self.mark = time.monotonic()
        self.refreshed = self.mark
        self.state = 1
        self.anew()

    def closed(self) -> None:
        self.attached.clear()
        self.unmap_all()
        self.on = False
        self.reset()

    def window(self, index: int) -> Window:
        if index == 8:
            return Window(HALVES[1] + HALF, 3, (3, 1))
        return Window({1: 0x80, 2: len(self.frame)}.get(index, 0), 3 if index in (1, 2) else 0)

    # ---- registers and frame store

    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 8:
            return self.migration_read(offset, count)
        if region == 2:
            return bytes(self.frame[offset : offset + count])
        registers = {
            (0x00, 8): self.decoded(),
            (0x0A, 2): self.control,
            (0x0C, 4): self.address & 0xFFFFFFFF,
            (0x10, 4): self.address >> 32,
            (0x14, 4): self.length,
            (0x1A, 2): self.status,
            (0x20, 4): self.user & 0xFFFFFFFF,
            (0x24, 4): self.user >> 32,
            (0x40, 2): self.upset,
        }
        if (offset, count) not in registers:
            raise Refusal
        return registers[offset, count].to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        number = int.from_bytes(data, "little")
        place = (offset, len(data))
        if region == 8:
            self.migration_write(offset, data)
        elif region == 2:
            self.frame[offset : offset + len(data)] = data
            for index in range(SLICES):
                if offset < CUTS[index + 1] and CUTS[index] < offset + len(data):
                    self.generation[index] += 1
        elif place == (0x0A, 2):
            self.control, self.refreshed = number & 1, time.monotonic()
        elif place == (0x0C, 4):
            self.address = self.address >> 32 << 32 | number
        elif place == (0x10, 4):
            self.address = self.address & 0xFFFFFFFF | number << 32
        elif place == (0x14, 4):
            self.length = min(number, 1 << 20)
        elif place == (0x18, 2):
            self.kick(number)
        elif place == (0x20, 4):
            self.user = self.user >> 32 << 32 | number
        elif place == (0x24, 4):
            self.user = self.user & 0xFFFFFFFF | number << 32
        elif place == (0x40, 2):
            self.upset = number
        else:
            raise Refusal

    def decoded(self) -> int:
        return self.blocks + ((time.monotonic_ns() - self.began) // 40_000 if self.state & 1 else 0)

    def kick(self, number: int) -> None:
        if number == 3:
            self.detach(self.address)
        elif number == 2:
            self.covered(1)
            self.attached.append((self.address, self.address, max(self.length, 1)))
        elif not self.state & 1 or self.status & 1:
            raise Refusal(errno.EBUSY)
        elif number == 1:
            self.put_out(0, self.length)
        elif number == 4:
            self.covered(2)
            self.status, self.left, self.mark = 1, DECODING, time.monotonic()
        else:
            raise Refusal

    # ---- pictures

    def covered(self, want: int) -> None:
        at, end = self.address, self.address + max(self.length, 1)
        for surface in sorted(self.surfaces, key=lambda one: one.start):
            if surface.start <= at < surface.start + surface.size and surface.flags & want:
                at = surface.start + surface.size
        if at < end:
            raise Refusal(errno.EFAULT)

    def put_out(self, begin: int, end: int) -> None:
        self.covered(2)
        lines = []
        for at in range(begin, end, LINE):
            self.serial += 1
            place = at % (len(self.frame) - LINE)
            lines.append(struct.pack("<Q", self.serial * 0x9E3779B97F4A7C15 & (1 << 64) - 1))
            lines.append(bytes(self.frame[place : place + LINE - 8]))
        picture = b"".join(lines)[: end - begin]
        start = self.address + begin
        for surface in self.surfaces:
            pages = surface.numbers(start, len(picture))
            if not pages:
                continue
            first = max(start, surface.start)
            part = picture[first - start : surface.start + surface.size - start]
            if surface.view:
                surface.view[first - surface.start : first - surface.start + len(part)] = part
            elif self.client:
                step = self.client.piece
                self.client.store([(first + at, part[at : at + step]) for at in range(0, len(part), step)])
            else:
                raise Hangup
            if self.on:
                surface.marks[pages.start : pages.stop] = b"\1" * len(pages)

    def due(self) -> float | None:
        if not self.state & 1 or not (self.status & 1 or self.control & 1):
            return None
        now, waits = time.monotonic(), []
        try:
            if self.status & 1:
                rest = self.left - (now - self.mark)
                if rest <= 0:
                    self.status, self.left = 0, 0.0
                    self.put_out(0, self.length)
                else:
                    waits.append(rest)
            if self.control & 1:
                if now - self.refreshed >= REFRESH:
                    self.refreshed = now
                    begin = self.serial % (self.length // LINE + 1) * LINE
                    if begin >= self.length:
                        begin = 0
                        self.serial += 1
                    self.put_out(begin, min(begin + LINE, self.length))
                waits.append(REFRESH)
        except Refusal:
            self.status, self.left, self.control = 2, 0.0, 0
        return min(waits, default=None)

    def detach(self, start: int) -> None:
        for entry in [entry for entry in self.attached if entry[0] == start]:
            self.attached.remove(entry)
            if self.on and self.broken != "surface-forgotten":
                for surface in self.surfaces:
                    for number in surface.numbers(*entry[1:]):
                        surface.marks[number] = 1

    # ---- memory of the client

    def map(self, address: int, size: int, flags: int, offset: int, file: int) -> None:
        with contextlib.ExitStack() as later:
            if file >= 0:
                later.callback(os.close, file)
            if any(one.start < address + size and address < one.start + one.size for one in self.surfaces):
                raise Refusal(errno.EEXIST)
            surface = Surface(address, size, flags, self.page)
            if file >= 0:
                access = mmap.PROT_READ | (mmap.PROT_WRITE if flags & 2 else 0)
                try:
                    surface.view = mmap.mmap(file, size, mmap.MAP_SHARED, access, offset=offset)
                except (OSError, ValueError, OverflowError):
                    raise Refusal from None
            self.surfaces.append(surface)

    def mapped(self, address: int, size: int) -> bool:
        return any((one.start, one.size) == (address, size) for one in self.surfaces)

    def unmap(self, address: int, size: int) -> None:
        for surface in [one for one in self.surfaces if one.start == address]:
            rest = []
            for whole, start, length in self.attached:
                if start < address:
                    rest.append((whole, start, min(start + length, address) - start))
                if start + length > address + size:
                    after = max(start, address + size)
                    rest.append((whole, after, start + length - after))
            self.attached = rest
            if surface.view:
                surface.view.close()
            self.surfaces.remove(surface)

    def unmap_all(self) -> None:
        for surface in list(self.surfaces):
            self.unmap(surface.start, surface.size)

    def tracking(self, on: bool) -> None:
        self.on = on
        if not on:
            for surface in self.surfaces:
                surface.marks = bytearray(len(surface.marks))

    def is_tracking(self) -> bool:
        return self.on

    def dirty(self, address: int, pages: int) -> bytes:
        size, bits = pages * self.page, 0
        for surface in self.surfaces:
            asked = surface.numbers(address, size)
            found = {number for number in asked if surface.marks[number]}
            surface.marks[asked.start : asked.stop] = bytes(len(asked))
            for _, start, length in self.attached:
                found.update(set(surface.numbers(start, length)) & set(asked))
            shift = (surface.start - address) // self.page
            for number in found:
                bits |= 1 << (shift + number)
        return bits.to_bytes((pages + 7) // 8, "little")

    # ---- migration, the source

    def anew(self) -> None:
        """Begin a session of either kind."""
        self.taken = [0] * SLICES
        self.context_due = True
        self.offer, self.offered, self.offered_generation = b"", -1, 0
        self.half = 0
        self.section = [bytearray(HALF), bytearray(HALF)]
        self.before: list[tuple[int, bytes]] = []
        self.known = 0  # which bytes of the heading have come
        self.stored: set[int] = set()
        self.size_told = 0

    def waiting(self) -> Iterator[int]:
        yield from (index for index in range(SLICES) if self.taken[index] != self.generation[index])
        if self.state == 2 and self.context_due:
            yield SLICES

    def migration_read(self, offset: int, count: int) -> bytes:
        if offset >= HALVES[0]:
            half = int(offset >= HALVES[1])
            at = offset - HALVES[half]
            if at + count > HALF:
                raise Refusal
            return bytes(self.section[half][at : at + count])
        if (offset, count) == (0, 4):
            return struct.pack("<I", self.state)
        if (offset, count) == (4, 4):
            return bytes(4)
        if (offset, count) == (8, 8):
            return struct.pack("<Q", self.pending())
        if (offset, count) == (16, 8):
            return struct.pack("<Q", self.place())
        if (offset, count) == (24, 8):
            return struct.pack("<Q", len(self.offer) if self.state & 2 else self.size_told)
        raise Refusal

    def pending(self) -> int:
        if not self.state & 2:
            return 0
        if self.offered == SLICES:
            self.context_due = False
        elif self.offered >= 0:
            self.taken[self.offered] = self.offered_generation
        self.offered, self.offer = -1, b""
        sizes = [*(CUTS[index + 1] - CUTS[index] for index in range(SLICES)), CONTEXT.size]
        return sum(MARK.size + sizes[index] for index in self.waiting())

    def place(self) -> int:
        if self.state & 2 and self.offered < 0:
            if self.upset == 1:
                raise Refusal(errno.EIO)
            index = next(self.waiting(), -1)
            if index < 0:
                return HALVES[self.half]
            if index < SLICES:
                body = bytes(self.frame[CUTS[index] : CUTS[index + 1]])
                self.offered_generation = self.generation[index]
            else:
                control = self.control | self.status << 8
                head = (self.blocks, self.address, self.user, self.length, self.serial & 0xFFFFFFFF, control)
                body = CONTEXT.pack(*head, int(self.left * 2e6))
            self.offered, self.half = index, 1 - self.half
            self.offer = MARK.pack(index, 0x5AFE, len(body), zlib.adler32(body), self.offered_generation) + body
            self.section[self.half][: len(self.offer)] = self.offer
        elif self.state & 2 and self.broken == "flip-again":
            self.half = 1 - self.half
            self.section[self.half][: len(self.offer)] = self.offer
        return HALVES[self.half]

    # ---- migration, the target

    def migration_write(self, offset: int, data: bytes) -> None:
        if offset >= HALVES[0]:
            half = int(offset >= HALVES[1])
            at = offset - HALVES[half]
            if self.state != 4 or at + len(data) > HALF:
                raise Refusal
            self.section[half][at : at + len(data)] = data
            if half == self.half:
                self.piece(at, at + len(data))
        elif (offset, len(data)) == (0, 4):
            self.change(data[0] & 7)
        elif (offset, len(data)) == (24, 8) and self.state == 4:
            self.told(int.from_bytes(data, "little"))
        elif (offset, len(data)) not in ((4, 4), (8, 8), (16, 8)):
            raise Refusal

    def piece(self, begin: int, end: int) -> None:
        """Store a part of a slice in its place, if that is known by now."""
        if begin < MARK.size:
            self.put_back()
            self.known |= (1 << min(end, MARK.size)) - (1 << begin)
        if self.known == (1 << MARK.size) - 1:
            index, _, size, _, _ = MARK.unpack_from(self.section[self.half])
            begin, end = max(begin, MARK.size) - MARK.size, min(end - MARK.size, size)
            if index < SLICES and size == CUTS[index + 1] - CUTS[index] and begin < end:
                place = CUTS[index] + begin
                self.before.append((place, bytes(self.frame[place : place + end - begin])))
                body = self.section[self.half][MARK.size + begin : MARK.size + end]
                self.frame[place : place + end - begin] = body

    def put_back(self) -> None:
        for place, old in reversed(self.before):
            self.frame[place : place + len(old)] = old
        self.before.clear()

    def told(self, size: int) -> None:
        """Store a buffer, or refuse it and undo it."""
        self.put_back()
        self.known, self.before = 0, []
        section = self.section[self.half]
        if not MARK.size <= size <= HALF:
            raise Refusal
        index, magic, length, total, _ = MARK.unpack_from(section)
        body = bytes(section[MARK.size : size])
        if index > SLICES or magic != 0x5AFE or length != len(body) or zlib.adler32(body) != total:
            raise Refusal(errno.EBADMSG)
        if length != (CONTEXT.size if index == SLICES else CUTS[index + 1] - CUTS[index]):
            raise Refusal(errno.EBADMSG)
        if self.upset == 4:
            raise Refusal(errno.EIO)
        if index == SLICES:
            self.blocks, self.address, self.user, self.length, self.serial, control, left = CONTEXT.unpack(body)
            self.control, self.status, self.left = control & 1, control >> 8, left / 2e6
        else:
            self.frame[CUTS[index] : CUTS[index + 1]] = body
            self.generation[index] += 1
        self.stored.add(index)
        self.half, self.size_told = 1 - self.half, size

    # ---- device_state

    def change(self, new: int) -> None:
        old = self.state
        if old == 6 or new > 4:
            raise Refusal
        if self.upset in (2, 3):
            upset, self.upset = self.upset, 0
            if upset == 2:
                self.halt()
                self.state = 6
            raise Refusal(errno.EIO if upset == 2 else errno.EAGAIN)
        if new == old:
            return
        if (new == 4 and old & 2) or (old == 4 and new & 2):
            raise Refusal
        if old == 4:
            self.put_back()
            if self.stored and len(self.stored) <= SLICES:
                self.state = 6
                raise Refusal(errno.EIO)
        if not new & 1:
            self.halt()
        elif not old & 1:
            self.began, self.mark = time.monotonic_ns(), time.monotonic()
        self.state = new
        if old & new & 2:
            self.offered, self.offer, self.context_due = -1, b"", True
        else:
            self.anew()

    def halt(self) -> None:
        if self.state & 1:
            self.blocks = self.decoded()
            self.left = max(self.left - (time.monotonic() - self.mark), 1e-5) if self.status & 1 else 0.0


if __name__ == "__main__":
    serve(Eager, ("flip-again", "surface-forgotten"))
