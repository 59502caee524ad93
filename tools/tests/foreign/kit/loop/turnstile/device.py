# SPDX-License-Identifier: GPL-2.0-only
"""A lock controller at a turnstile, which gives no information about itself while it is stopped.

Region 0, registers:

    0x00  8  rw  host address of the log    0x14  4  rw  bytes of the log that one write has
    0x08  2  rw  barriers                   0x0a  2  rw  mode
    0x0c  4  r   passages, two in a millisecond, while the device runs
    0x10  2  w   log: 1 writes it once, 2 again and again, 0 ends that
    0x12  2  r   status: bit 0 writes again and again, bit 1 could not write, bit 2 a person passes through
    0x18  2  rw  alarm: 1 raises interrupt 1 again and again
    0x1a  2  w   jam: the next write of device_state 1 is refused, 2 leads to the error state; 3 a badge cannot be read
                 when it is saved, 4 it cannot be written when it is given
    0x20  8  rw  master code                0x28  8  w   lets a person pass through, which takes 8 ms of running
    0x30  8  w   pins the log from this address on          0x38  8  w   unpins it

Region 1 has the badges, 640 of 32 bytes, accessed by 2 bytes or more. They are in one of two banks.

Data path: events of 64 bytes, by pwrite() into the client's file, or by DMA_WRITE. Dirty pages are the bits of one
whole number for each mapping. An alarm rings 3 ms after its cause; if the device is stopped before that, once it runs
again.

Saved state: the card (text, NAME=NUMBER in each line) in the part of the section that cannot be mapped, then four
quarters of the badges, each with its number and a sum, in two windows that can. Nothing is offered in pre-copy. Given
data goes into the other bank; the banks are exchanged when resuming is left with all parts.

Information on the device and its regions is refused with EBUSY while bit 0 of device_state is clear. pending_bytes,
data_offset and data_size are refused where they have no meaning.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loop.wire import Device, Job, Mapping, Region, main, refuse

STOP, RUNNING, SAVING, PRE_COPY, RESUMING, ERROR = 0, 1, 2, 3, 4, 6
TURNS = {
    STOP: (RUNNING, SAVING),
    RUNNING: (STOP, SAVING, PRE_COPY, RESUMING),
    SAVING: (STOP, SAVING, RUNNING),
    PRE_COPY: (SAVING, RUNNING),
    RESUMING: (RUNNING,),
}
BADGES, QUARTER = 640 * 32, 160 * 32
CARD_AT, CARD_ROOM, WINDOWS, WINDOW = 0x100, 0x1F00, (0x2000, 0x4000), 0x2000
TAG = struct.Struct("<4sIQ")
PASS, EVENT = 8.0, struct.Struct("<QHHIQ40s")


class Turnstile(Device):
    info_flags = 5  # it can be reset, and is a platform device
    count_of_regions = 4
    irqs = (0, 1)

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.section = os.memfd_create("section")
        os.ftruncate(self.section, 0x6000)
        self.regions = {
            0: Region(0x40),
            1: Region(BADGES),
            3: Region(0x6000, migration=True, areas=[(0x2000, 0x4000)], fd=self.section),
        }
        self.dirty: dict[int, int] | None = None
        self.pins: list[tuple[int, int]] = []
        self.shift = 0
        self.clean()

    def clean(self) -> None:
        self.state = RUNNING
        self.banks = [bytearray(BADGES), bytearray(BADGES)]
        self.bank = 0
        self.address = self.length = self.barriers = self.mode = self.code = 0
        self.logs = self.failed = self.alarm = self.owed = False
        self.passages, self.passing, self.events = 0.0, 0.0, 0
        self.jam = 0
        self.since = time.monotonic()
        self.shift += 1
        self.rewind()

    def rewind(self) -> None:
        self.next, self.offered = 0, b""
        self.spoiled = False
        self.card: dict[str, int] = {}
        self.quarters: set[int] = set()
        self.places = 0

    def opened(self) -> None:
        self.clean()

    def closed(self) -> None:
        self.dirty = None
        self.pins.clear()
        self.clean()

    def reset(self) -> None:
        for at, size in self.pins:
            self.soil(at, size)
        self.pins.clear()
        self.clean()

    def asked(self) -> None:
        if not self.state & RUNNING:
            raise refuse(errno.EBUSY)

    # ---- the turnstile ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = time.monotonic()
        if self.state & RUNNING:
            passed = (now - self.since) * 1000
            self.passages += 2 * passed
            self.passing = max(0.0, self.passing - passed)
        self.since = now

    def log(self) -> Job:
        parts = self.server.lookup(self.address, self.length)
        self.events += 1
        event = EVENT.pack(self.events, self.barriers, self.mode, 0, self.code, b"passage")
        text = (event * (self.length // EVENT.size + 1))[: self.length]
        done = 0
        for mapping, at, size in parts:
            self.soil(at, size)
            if mapping.fd < 0:
                yield from self.server.dma_write(at, text[done : done + size])
            else:
                os.pwrite(mapping.fd, text[done : done + size], mapping.offset + at - mapping.iova)
            done += size

    def logging(self, shift: int) -> Job:
        while self.logs and shift == self.shift:
            if self.state & RUNNING:
                try:
                    yield from self.log()
                except OSError:
                    self.logs, self.failed = False, True
            yield 0.004

    def alarming(self, shift: int) -> Job:
        while self.alarm and shift == self.shift:
            if self.state & RUNNING:
                self.owed = True
                self.server.loop.after(0.003, self.ring)
            yield 0.004

    def ring(self) -> None:
        if self.owed and (self.state & RUNNING or self.broken == "rings-after-stop"):
            self.owed = False
            self.server.interrupt(1, 0)

    def begin_shift(self) -> None:
        """Resume, or end, what the device does by itself."""
        self.shift += 1
        if self.logs:
            self.server.spawn(self.logging(self.shift))
        if self.alarm:
            self.server.spawn(self.alarming(self.shift))

    def read(self, region: int, offset: int, count: int) -> Any:
        if region == 3:
            return self.read_migration(offset, count)
        if region == 1:
            self.badge(offset, count)
            return bytes(self.banks[self.bank][offset : offset + count])
        self.tick()
        status = self.logs | self.failed << 1 | (self.passing > 0) << 2
        values = {
            (0x00, 8): self.address,
            (0x08, 2): self.barriers,
            (0x0A, 2): self.mode,
            (0x0C, 4): int(self.passages) & 0xFFFFFFFF,
            (0x12, 2): status,
            (0x14, 4): self.length,
            (0x18, 2): int(self.alarm),
            (0x20, 8): self.code,
        }
        if (offset, count) not in values:
            raise refuse(errno.EINVAL)
        return values[offset, count].to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> Any:
        if region == 3:
            return self.write_migration(offset, data)
        if region == 1:
            self.badge(offset, len(data))
            self.banks[self.bank][offset : offset + len(data)] = data
            return None
        value = int.from_bytes(data, "little")
        match offset, len(data):
            case 0x00, 8:
                self.address = value
            case 0x14, 4:
                self.length = value
            case 0x08, 2:
                self.barriers = value
            case 0x0A, 2:
                self.mode = value
            case 0x20, 8:
                self.code = value
            case 0x28, 8:
                self.tick()
                self.passing = PASS
            case 0x1A, 2 if value <= 4:
                self.jam = value
            case 0x18, 2 if value <= 1:
                self.alarm, self.owed = bool(value), False
                self.begin_shift()
            case 0x10, 2 if value <= 2:
                return self.order(value)
            case ((0x30 | 0x38), 8):
                self.pin(offset == 0x30, value)
            case _:
                raise refuse(errno.EINVAL)
        return None

    @staticmethod
    def badge(offset: int, count: int) -> None:
        if offset % 2 or count % 2:
            raise refuse(errno.EINVAL)

    def order(self, value: int) -> Any:
        if value and not 0 < self.length <= 1 << 20:
            raise refuse(errno.EINVAL)
        if value and not self.state & RUNNING:
            raise refuse(errno.EBUSY)
        self.logs, self.failed = value == 2, False
        self.begin_shift()
        return self.log() if value == 1 else None

    # ---- memory -----------------------------------------------------------------------------------------------------

    def pin(self, pins: bool, at: int) -> None:
        if not 0 < self.length <= 1 << 20:
            raise refuse(errno.EINVAL)
        self.server.lookup(at, self.length)
        if pins:
            self.pins.append((at, self.length))
        elif (at, self.length) in self.pins:
            self.soil(at, self.length)
            self.pins.remove((at, self.length))
        else:
            raise refuse(errno.EINVAL)

    def within(self, mapping: Mapping, at: int, size: int) -> int:
        """The bits of a mapping's pages that a range touches."""
        page = self.server.page
        first, last = max(at, mapping.iova), min(at + size, mapping.end)
        if first >= last:
            return 0
        low, high = (first - mapping.iova) // page, (last - 1 - mapping.iova) // page
        return (1 << high + 1) - (1 << low)

    def soil(self, at: int, size: int) -> None:
        if self.dirty is not None:
            for mapping in self.server.mappings:
                self.dirty[mapping.iova] = self.dirty.get(mapping.iova, 0) | self.within(mapping, at, size)

    def unmapped(self, mapping: Mapping) -> None:
        if self.dirty:
            self.dirty.pop(mapping.iova, None)
        kept = []
        for at, size in self.pins:  # the parts of a pin before and after the mapping stay
            if at < mapping.iova:
                kept.append((at, min(at + size, mapping.iova) - at))
            if at + size > mapping.end:
                start = max(at, mapping.end)
                kept.append((start, at + size - start))
        self.pins = kept

    def tracking(self) -> bool:
        return self.dirty is not None

    def track(self, on: bool) -> None:
        if not on:
            self.dirty = None
        elif self.dirty is None:
            self.dirty = {}

    def bitmap(self, iova: int, pages: int) -> bytes:
        assert self.dirty is not None
        bits = 0
        for mapping in self.server.mappings:
            window = self.within(mapping, iova, pages * self.server.page)
            found = self.dirty.get(mapping.iova, 0)
            self.dirty[mapping.iova] = found & ~window
            for at, size in self.pins:
                found |= self.within(mapping, at, size)
            apart = (mapping.iova - iova) // self.server.page
            found &= window
            bits |= found << apart if apart >= 0 else found >> -apart
        return bits.to_bytes(-(-pages // 8), "little")

    # ---- migration --------------------------------------------------------------------------------------------------

    def change(self, new: int) -> None:
        if self.state == ERROR or (new != self.state and new not in TURNS[self.state]):
            raise refuse(errno.EPERM)
        if self.jam in (1, 2):
            jam, self.jam = self.jam, 0
            if jam == 1:
                raise refuse(errno.EBUSY)
            self.tick()
            self.state = ERROR
            raise refuse(errno.EIO)
        if new not in TURNS[self.state]:
            raise refuse(errno.EPERM)
        if new == self.state:
            return
        if self.state == RESUMING:
            self.settle()
        self.tick()
        if self.state != RUNNING and new in (STOP, RUNNING):
            self.jam = 0
        self.rewind()
        self.state = new
        if new & RUNNING:
            self.begin_shift()
            self.ring()

    def part(self, number: int) -> bytes:
        """One buffer of the present state."""
        if number:
            body = bytes(self.banks[self.bank][(number - 1) * QUARTER : number * QUARTER])
            return TAG.pack(b"BDGE", number - 1, sum(body)) + body
        self.tick()
        card = {
            "passages": int(self.passages),
            "passing": int(self.passing * 1e6),
            "address": self.address,
            "length": self.length,
            "barriers": self.barriers,
            "mode": self.mode,
            "code": self.code,
            "events": self.events,
            "logs": int(self.logs),
            "alarm": int(self.alarm),
        }
        return b"CARD\n" + b"".join(b"%s=%d\n" % (name.encode(), value) for name, value in card.items()) + b"END\n"

    def pending(self) -> int:
        if not self.state & SAVING or self.state == ERROR:
            raise refuse(errno.ENODATA)
        if self.state == PRE_COPY:
            return 0
        if self.offered:
            self.next, self.offered = self.next + 1, b""
        return (5 - self.next) * QUARTER

    def place(self, number: int) -> int:
        return WINDOWS[number % 2] if number else CARD_AT

    def offset(self) -> int:
        if self.state == RESUMING:
            return self.place(self.places)
        if self.state != SAVING or self.next > 4:
            raise refuse(errno.ENODATA)
        if not self.offered:
            if self.jam == 3 and self.next >= 2:
                raise refuse(errno.EIO, "a badge cannot be read")
            self.offered = self.part(self.next)
            os.pwrite(self.section, self.offered, self.place(self.next))
        return self.place(self.next)

    def given(self, size: int) -> None:
        """Store a part in the bank that is not in use."""
        number = self.places
        room = WINDOW if number else CARD_ROOM
        if self.jam == 4:
            self.spoiled = True
            raise refuse(errno.EIO, "a badge cannot be written")
        if not 0 < size <= room:
            raise refuse(errno.EINVAL)
        text = os.pread(self.section, size, self.place(number))
        if text[:5] == b"CARD\n" and text[-4:] == b"END\n":
            lines = [line.partition(b"=") for line in text.splitlines()[1:-1]]
            card = {name.decode(): int(value) for name, _, value in lines}
            if card.keys() != self.names() or any(not 0 <= each < 1 << 64 for each in card.values()):
                raise refuse(errno.EBADMSG)
            self.card = card
        elif text[:4] == b"BDGE" and size == TAG.size + QUARTER:
            _, quarter, check = TAG.unpack_from(text)
            body = text[TAG.size :]
            if quarter > 3 or check != sum(body):
                raise refuse(errno.EBADMSG)
            self.banks[1 - self.bank][quarter * QUARTER : (quarter + 1) * QUARTER] = body
            self.quarters.add(quarter)
        else:
            raise refuse(errno.EBADMSG)
        self.places += 1

    def names(self) -> set[str]:
        lines = self.part(0).splitlines()[1:-1]
        return {line.partition(b"=")[0].decode() for line in lines}

    def settle(self) -> None:
        """Use the given parts, either all or none."""
        if not self.spoiled and not self.card and not self.quarters:
            return
        if self.spoiled or not self.card or len(self.quarters) != 4:
            raise refuse(errno.EBADMSG)
        card = self.card
        self.bank = 1 - self.bank
        self.passages, self.passing = float(card["passages"]), card["passing"] / 1e6
        self.address, self.length, self.code = card["address"], card["length"], card["code"]
        self.barriers, self.mode = card["barriers"] & 0xFFFF, card["mode"] & 0xFFFF
        self.events, self.logs, self.alarm = card["events"], bool(card["logs"]), bool(card["alarm"])

    def read_migration(self, offset: int, count: int) -> bytes:
        if offset >= 32:
            return os.pread(self.section, count, offset)
        if (offset, count) == (0, 4):
            return struct.pack("<I", self.state)
        if (offset, count) == (4, 4):
            return bytes(4)
        if count != 8 or offset not in (8, 16, 24):
            raise refuse(errno.EINVAL)
        if offset == 24 and not self.offered:
            raise refuse(errno.ENODATA)
        return struct.pack(
            "<Q", self.pending() if offset == 8 else self.offset() if offset == 16 else len(self.offered)
        )

    def write_migration(self, offset: int, data: bytes) -> None:
        if offset >= 32:
            if self.state != RESUMING:
                raise refuse(errno.EPERM)
            os.pwrite(self.section, data, offset)
        elif (offset, len(data)) == (0, 4):
            self.change(struct.unpack("<I", data)[0])
        elif (offset, len(data)) == (24, 8):
            if self.state != RESUMING:
                raise refuse(errno.EPERM)
            self.given(struct.unpack("<Q", data)[0])
        elif (offset, len(data)) != (4, 4):
            raise refuse(errno.EINVAL)


if __name__ == "__main__":
    main(Turnstile, __doc__, ("rings-after-stop",))
