# SPDX-License-Identifier: GPL-2.0-only
"""A storage controller that maps nothing: it accesses its client's memory only by messages.

Region 0, the registers (0x40 bytes); region 5, the migration region (0x40 bytes of header, then 8 KiB of trapped data).

| offset | width | what |
|---|---|---|
| 0x00 | 1, wo | command: 1 read sectors, 2 write sectors, 3 begin to mirror, 4 end it, 5 read slowly (20 ms) |
| 0x01 | 1, ro | phase: 0 idle, 1 busy, 2 the last command failed |
| 0x02 | 2 | first sector, of 1 KiB |
| 0x04 | 4 | bytes, up to 1 MiB; at its end, the medium continues at its start |
| 0x08 | 8 | address in the client's memory |
| 0x10 | 4, ro | ticks of 100 us in which the controller ran |
| 0x14 | 1, wo | trouble: 1 packing fails, 2 the next change of state is fatal, 3 it is refused, 4 storing fails |
| 0x18 | 8 | serial number, kept in sector 5 |

Data path: transfers are cut into pieces of 700 bytes, three of them in flight at a time. A log of intervals, in whole
pages, records them. Mirroring stores a stamp of the ticks every 4 ms, each time at the next place.

The state: runs of up to seven sectors that changed, each with a heading, from pre-copy on; then the catalogue with the
registers. A run is packed again if it changes later, or if the session goes to another state before the client asks for
the next run. Given data is stored on a second medium, which replaces the first when resuming is left. Leaving is
refused if the medium has gaps, or without a catalogue.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from threads.wire import Device, Hangup, Refusal, Window, serve

SECTOR, SECTORS = 1024, 40
HEADING = struct.Struct("<4sIII")  # what, first sector, sectors, sum of all bytes
CATALOGUE = struct.Struct("<IHBIQii")  # ticks, sector, phase, bytes, address, mirror, leisure
PLACE, ROOM = 0x40, 0x2000
RUN, PIECE, ON_THE_WIRE = 7, 700, 3
LABEL = 5 * SECTOR
LARGEST = 1 << 20
ROUND, LEISURE = 0.004, 0.005
DRAWN = {(1, 0), (1, 2), (1, 3), (1, 4), (3, 2), (2, 0), (4, 1)}
UNDRAWN = {(3, 1), (3, 0), (2, 1), (0, 1), (0, 2), (4, 0)}


class Courier(Device):
    flags = 3
    regions = 6

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken
        self.rooms: dict[int, tuple[int, int]] = {}
        self.log: list[tuple[int, int]] | None = None
        self.reset()

    def reset(self) -> None:
        self.medium = bytearray((7 * at + at // SECTOR) & 255 for at in range(SECTOR * SECTORS))
        self.sector = self.bytes = self.address = self.phase = 0
        self.ticks, self.since = 0, time.monotonic()
        self.mirror = -1  # the place of the next stamp; -1 without one
        self.leisure = -1  # bytes of the slow transfer so far
        self.next = 0.0
        self.trouble = 0
        self.state = 1
        self.session(0)

    def closed(self) -> None:
        self.rooms.clear()
        self.log = None
        self.reset()

    def window(self, index: int) -> Window:
        return {0: Window(0x40), 5: Window(PLACE + ROOM, 3, (3, 1))}.get(index, Window(0, 0))

    # ---- the registers

    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 5:
            return self.migration_read(offset, count)
        value = {
            (0x01, 1): self.phase,
            (0x02, 2): self.sector,
            (0x04, 4): self.bytes,
            (0x08, 8): self.address,
            (0x10, 4): self.now() & 0xFFFFFFFF,
            (0x18, 8): int.from_bytes(self.medium[LABEL : LABEL + 8], "little"),
        }.get((offset, count))
        if value is None:
            raise Refusal
        return value.to_bytes(count, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if region == 5:
            self.migration_write(offset, data)
        elif (offset, len(data)) == (0x00, 1):
            self.command(value)
        elif (offset, len(data)) == (0x02, 2):
            self.sector = value
        elif (offset, len(data)) == (0x04, 4):
            self.bytes = value
        elif (offset, len(data)) == (0x08, 8):
            self.address = value
        elif (offset, len(data)) == (0x14, 1):
            self.trouble = value
        elif (offset, len(data)) == (0x18, 8):
            self.burn(LABEL, data)
        else:
            raise Refusal

    def now(self) -> int:
        return self.ticks + (int((time.monotonic() - self.since) * 10000) if self.state & 1 else 0)

    def command(self, value: int) -> None:
        if value == 4:
            self.mirror = -1
            return
        if not self.state & 1 or self.leisure >= 0:
            raise Refusal(errno.EBUSY)
        if value not in (1, 2, 3, 5):
            raise Refusal
        place = self.sector * SECTOR
        if not 0 < self.bytes <= (len(self.medium) - place if value == 2 else LARGEST):
            self.phase = 2
            raise Refusal
        try:
            self.reachable(self.bytes, 1 if value == 2 else 2)
            self.phase = 0
            if value == 1:
                self.bring(0, self.bytes)
            elif value == 2:
                self.burn(place, self.collect())
            elif value == 3:
                self.mirror, self.next = 0, time.monotonic()
            else:
                self.phase, self.leisure, self.next = 1, 0, time.monotonic() + LEISURE
        except Refusal:
            self.phase = 2
            raise

    def burn(self, place: int, data: bytes) -> None:
        self.medium[place : place + len(data)] = data
        if self.state & 2:
            self.changed.update(range(place // SECTOR, (place + len(data) - 1) // SECTOR + 1))

    # ---- the client's memory

    def bring(self, begin: int, end: int) -> None:
        """Transfer bytes to their place in the client's memory."""
        medium, pieces = self.medium, []
        while begin < end:
            place = (self.sector * SECTOR + begin) % len(medium)
            data = bytes(medium[place : place + min(PIECE, end - begin)])
            pieces.append((self.address + begin, data))
            begin += len(data)
        self.store(pieces)

    def store(self, pieces: list[tuple[int, bytes]]) -> None:
        if not self.client:
            raise Hangup
        largest = self.client.piece
        for address, data in pieces:
            self.note(address, address + len(data))
        small = [
            (address + at, data[at : at + largest]) for address, data in pieces for at in range(0, len(data), largest)
        ]
        self.client.store(small, ON_THE_WIRE)

    def collect(self) -> bytes:
        if not self.client:
            raise Hangup
        step = min(PIECE, self.client.piece)
        wanted = [(self.address + at, min(step, self.bytes - at)) for at in range(0, self.bytes, step)]
        return b"".join(self.client.fetch(wanted, ON_THE_WIRE))

    def reachable(self, size: int, want: int) -> None:
        at = self.address
        while at < self.address + size:
            rooms = [(start, start + room) for start, (room, flags) in self.rooms.items() if flags & want]
            ends = [end for start, end in rooms if start <= at < end]
            if not ends:
                raise Refusal(errno.EFAULT)
            at = ends[0]

    def due(self) -> float | None:
        if not self.state & 1 or (self.mirror < 0 and self.leisure < 0):
            return None
        left = self.next - time.monotonic()
        if left > 0:
            return left
        try:
            self.reachable(self.bytes, 2)
            if self.leisure >= 0:
                step = (self.bytes + 3) // 4
                self.bring(self.leisure, min(self.leisure + step, self.bytes))
                self.leisure += step
                if self.leisure >= self.bytes:
                    self.leisure, self.phase = -1, 0
            if self.mirror >= 0:
                stamp = struct.pack("<Q", self.now() + 1) * 8
                self.store([(self.address + self.mirror, stamp[: self.bytes - self.mirror])])
                self.mirror = self.mirror + 680 if self.mirror + 680 < self.bytes else 0
        except Refusal:
            self.mirror, self.leisure, self.phase = -1, -1, 2
            return None
        self.next = time.monotonic() + (LEISURE if self.leisure >= 0 else ROUND)
        return ROUND

    # ---- dirty pages

    def note(self, begin: int, end: int) -> None:
        if self.log is None:
            return
        begin, end = begin // self.page * self.page, -(-end // self.page) * self.page
        apart = [span for span in self.log if span[1] < begin or end < span[0]]
        for span in self.log:
            if span not in apart:
                begin, end = min(begin, span[0]), max(end, span[1])
        apart.append((begin, end))
        self.log = apart

    def cut(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Remove a range from the log; return the parts that were in it."""
        if self.log is None:
            return []
        found = [(max(a, begin), min(b, end)) for a, b in self.log if a < end and begin < b]
        rest = [(a, min(b, begin)) for a, b in self.log if a < begin] + [
            (max(a, end), b) for a, b in self.log if b > end
        ]
        self.log = rest
        return found

    def tracking(self, on: bool) -> None:
        self.log = (self.log or []) if on else None

    def is_tracking(self) -> bool:
        return self.log is not None

    def dirty(self, address: int, pages: int) -> bytes:
        bits = bytearray((pages + 7) // 8)
        for begin, end in self.cut(address, address + pages * self.page):
            for page in range((begin - address) // self.page, (end - address) // self.page):
                bits[page // 8] |= 1 << page % 8
        return bytes(bits)

    def map(self, address: int, size: int, flags: int, offset: int, file: int) -> None:
        if file >= 0:
            os.close(file)
        if any(start < address + size and address < start + room for start, (room, _) in self.rooms.items()):
            raise Refusal(errno.EEXIST)
        self.rooms[address] = (size, flags)

    def mapped(self, address: int, size: int) -> bool:
        return address in self.rooms and self.rooms[address][0] == size

    def unmap(self, address: int, size: int) -> None:
        del self.rooms[address]
        self.cut(address, address + size)

    def unmap_all(self) -> None:
        for address, (size, _) in list(self.rooms.items()):
            self.unmap(address, size)

    # ---- migration

    def session(self, new: int) -> None:
        """Begin with nothing sent."""
        self.changed = set(range(SECTORS)) if new & 2 else set()
        self.catalogue = bool(new & 2)
        self.packed, self.runs = b"", range(0)
        self.tray = bytearray(ROOM)
        self.laid: dict[int, bytes] = {}
        self.entry = b""
        self.told = 0

    def migration_read(self, offset: int, count: int) -> bytes:
        if offset >= PLACE:
            source = self.packed.ljust(ROOM, b"\0") if self.state & 2 else self.tray
            return bytes(source[offset - PLACE : offset - PLACE + count])
        value = 0
        if (offset, count) == (0, 4):
            value = self.state
        elif (offset, count) == (8, 8):
            self.collected()
            if self.state & 2:
                value = len(self.changed) * (SECTOR + 3)
                value += HEADING.size + CATALOGUE.size if self.catalogue and self.state == 2 else 0
        elif (offset, count) == (16, 8):
            self.pack()
            value = PLACE
        elif (offset, count) == (24, 8):
            value = len(self.packed) if self.state & 2 else self.told
        elif (offset, count) != (4, 4):
            raise Refusal
        return value.to_bytes(count, "little")

    def collected(self) -> None:
        if self.packed and self.broken == "cleared-when-taken":
            self.changed -= set(self.runs)
        self.packed, self.runs = b"", range(0)

    def pack(self) -> None:
        """Offer the next run, or the catalogue, unless one is offered."""
        if self.packed or not self.state & 2:
            return
        if self.trouble == 1 and (self.changed or (self.catalogue and self.state == 2)):
            raise Refusal(errno.EIO)
        if self.changed:
            first = last = min(self.changed)
            while last + 1 in self.changed and last + 1 < first + RUN:
                last += 1
            self.runs = range(first, last + 1)
            if self.broken != "cleared-when-taken":
                self.changed -= set(self.runs)
            body = bytes(self.medium[first * SECTOR : (last + 1) * SECTOR])
            self.packed = HEADING.pack(b"RUN.", first, len(self.runs), sum(body)) + body
        elif self.catalogue and self.state == 2:
            self.catalogue = False
            leisure = self.leisure if self.broken != "leisure-forgotten" else -1
            head = (self.ticks & 0xFFFFFFFF, self.sector, self.phase, self.bytes, self.address)
            body = CATALOGUE.pack(*head, self.mirror, leisure)
            self.packed = HEADING.pack(b"CATA", 0, 0, sum(body)) + body

    def migration_write(self, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if offset >= PLACE:
            if self.state != 4:
                raise Refusal(errno.EPERM)
            self.tray[offset - PLACE : offset - PLACE + len(data)] = data
        elif (offset, len(data)) == (0, 4):
            self.change(value & 7)
        elif (offset, len(data)) == (24, 8) and self.state == 4:
            self.lay(value)
        elif (offset, len(data)) != (4, 4):
            raise Refusal

    def lay(self, size: int) -> None:
        """Take a buffer."""
        if not HEADING.size < size <= ROOM:
            raise Refusal
        what, first, count, total = HEADING.unpack_from(self.tray)
        body = bytes(self.tray[HEADING.size : size])
        if sum(body) != total:
            raise Refusal(errno.EBADMSG)
        if self.trouble == 4:
            raise Refusal(errno.EIO)
        if what == b"CATA" and len(body) == CATALOGUE.size:
            self.entry = body
        elif what == b"RUN." and first + count <= SECTORS and 0 < count <= RUN and len(body) == count * SECTOR:
            for number in range(count):
                self.laid[first + number] = body[number * SECTOR : (number + 1) * SECTOR]
        else:
            raise Refusal(errno.EBADMSG)
        self.told = size

    def change(self, new: int) -> None:
        old = self.state
        if old == 6 or new in (5, 6, 7):
            raise Refusal
        if self.trouble in (2, 3):
            fatal, self.trouble = self.trouble == 2, 0
            if fatal:
                self.stand()
                self.state = 6
            raise Refusal(errno.EIO if fatal else errno.EBUSY)
        if new == old:
            return
        if (old, new) not in DRAWN | UNDRAWN:
            raise Refusal
        if old == 4 and (self.laid or self.entry):
            if len(self.laid) < SECTORS or not self.entry:
                raise Refusal(errno.ENODATA)
            self.moved_in()
        if old & 1 and not new & 1:
            self.stand()
        if (old, new) == (3, 2):
            self.changed |= set(self.runs)
            self.packed, self.runs = b"", range(0)
        else:
            self.session(new)
        self.state = new
        if new & 1 and not old & 1:
            self.since = time.monotonic()
            self.next = self.since + ROUND

    def stand(self) -> None:
        self.ticks = self.now()

    def moved_in(self) -> None:
        self.medium = bytearray(b"".join(self.laid[number] for number in range(SECTORS)))
        fields = CATALOGUE.unpack(self.entry)
        self.ticks, self.sector, self.phase, self.bytes, self.address, self.mirror, self.leisure = fields


if __name__ == "__main__":
    serve(Courier, ("cleared-when-taken", "leisure-forgotten"))
