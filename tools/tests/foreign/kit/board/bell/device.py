# SPDX-License-Identifier: GPL-2.0-only
"""A network card that is idle until it can ring: without an eventfd on vector 0, it counts nothing and sends nothing.

    region 0, registers; each is accessed as a whole
    0x00  8  ro  frames seen on the wire, about 20000 a second while the card runs and vector 0 has an eventfd
    0x08  4      control: bit 0 tick, bit 1 stream
    0x0c  4      microseconds between two ticks, 1000 to 1000000
    0x10  8      address in the client's memory
    0x18  4      bytes there
    0x1c  4  wo  doorbell: 1 receives one frame of that length into that memory, then raises vector 0
    0x20  4  ro  the result: 1 received, 2 lost
    0x24  4  wo  1 pins that memory, 2 unpins it
    0x28  8      station address
    0x30  8      multicast filter
    region 1, the flow table: 16 KiB of memory
    region 2, migration; its data section is trapped

Vector 1 ticks by a timer, vector 0 signals that a frame was received. Eventfds survive a reset. Memory is accessed by
mmap of the client's descriptor; written pages are a set of their numbers. The state is a block of the registers, then
the flow table, cut into packets of 8 KiB with a number and a checksum. It is offered once in pre-copy, and completely
again after it; packet 0 makes the receiver start again, and the last packet applies all.
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
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from board.wire import PAGE, READ, WRITE, Device, Mapping, Refused, Region, arguments, capability_type, main

_STOP, _RUN, _SAVE, _COPY, _LOAD, _BROKEN = 0, 1, 2, 3, 4, 6
_FRAMES, _CONTROL, _PERIOD, _ADDRESS, _LENGTH, _DOORBELL, _RESULT, _PIN, _STATION, _FILTER = (
    0x00, 0x08, 0x0C, 0x10, 0x18, 0x1C, 0x20, 0x24, 0x28, 0x30,
)  # fmt: skip
_WIDTHS = {_FRAMES: 8, _CONTROL: 4, _PERIOD: 4, _ADDRESS: 8, _LENGTH: 4, _DOORBELL: 4, _RESULT: 4, _PIN: 4, _STATION: 8,
           _FILTER: 8}  # fmt: skip
_TABLE, _PACKET, _SECTION = 16384, 8192, 32
_HEAD = struct.Struct("<4sHHII")  # magic, number, count, bytes, checksum
_BLOCK = struct.Struct("<QIIQIIQQ")
_STREAM_EVERY = 0.005


class Bell(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.regions = [
            Region(0x40),
            Region(_TABLE),
            Region(_SECTION + _HEAD.size + _PACKET, READ | WRITE, [capability_type(3, 1)]),
        ]
        self.interrupts = ((1, 2),)
        self.bells = [-1, -1]
        self.views: dict[Mapping, mmap.mmap] = {}
        self.marked: set[int] = set()
        self.pinned: Counter[int] = Counter()  # for each page, how often
        self.cold()

    def cold(self) -> None:
        self.state = _RUN
        self.control, self.period = 0, 10000
        self.address = self.length = self.result = self.station = self.filter = 0
        self.table = bytearray(_TABLE)
        self.frames, self.counted = 0, time.monotonic()
        self.next_tick = self.next_stream = 0.0
        self.turn = 0
        self.early = b""
        self.packets: list[bytes] = []
        self.shown = False
        self.window = bytearray(_HEAD.size + _PACKET)
        self.parts: list[bytes] = []
        self.size = 0

    # -- life ---------------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        self.cold()

    def closed(self) -> None:
        self.cold()
        self.tracking = False
        self.marked.clear()
        self.pinned.clear()
        for index in range(2):
            self.attach(index, -1)

    def reset(self) -> None:
        self.marked |= set(self.pinned) if self.tracking else set()
        self.pinned.clear()
        self.cold()

    # -- interrupts ---------------------------------------------------------------------------------------------------

    def set_irqs(self, index: int, start: int, count: int, action: int, values: list[int] | None) -> None:
        if action & 0x38 != 32:
            raise Refused
        if action & 4:
            for vector, descriptor in enumerate(values or [], start):
                self.attach(vector, descriptor)
        elif count:
            for vector in range(start, start + count):
                if values is None or values[vector - start]:
                    self.ring(vector)
        else:
            self.attach(0, -1)
            self.attach(1, -1)

    def attach(self, vector: int, descriptor: int) -> None:
        self.count()
        if self.bells[vector] >= 0:
            os.close(self.bells[vector])
        self.bells[vector] = descriptor
        self.arm()

    def ring(self, vector: int) -> None:
        if self.bells[vector] >= 0:
            with contextlib.suppress(OSError):  # full, or not an eventfd
                os.write(self.bells[vector], struct.pack("<Q", 1))

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def awake(self) -> bool:
        return bool(self.state & _RUN) and self.bells[0] >= 0

    def count(self) -> None:
        now = time.monotonic()
        if self.awake:
            self.frames = self.frames + int((now - self.counted) * 20000) & 0xFFFFFFFFFFFFFFFF
        self.counted = now

    def arm(self) -> None:
        """Start the timers that should run, and stop the others."""
        now = time.monotonic()
        ticks, streams = self.awake and self.control & 1, self.awake and self.control & 2
        if self.broken == "timer-fires-once-more" and self.next_tick and not self.state & _RUN:
            ticks = 1
        self.next_tick = (self.next_tick or now + self.period / 1e6) if ticks else 0.0
        self.next_stream = (self.next_stream or now + _STREAM_EVERY) if streams else 0.0

    def due(self) -> float | None:
        return min((each for each in (self.next_tick, self.next_stream) if each), default=None)

    def tick(self) -> None:
        now = time.monotonic()
        if self.next_tick and now >= self.next_tick:
            self.ring(1)
            self.next_tick = now + self.period / 1e6 if self.awake else 0.0
        if self.next_stream and now >= self.next_stream:
            self.next_stream = now + _STREAM_EVERY
            self.turn += 1
            piece = min(64, self.length)
            room = self.length - piece + 1
            self.receive(self.address + self.turn * 1000 % room, struct.pack("<Q", self.turn) * 8, piece)

    # -- memory -------------------------------------------------------------------------------------------------------

    def mapped(self, mapping: Mapping) -> None:
        if mapping.descriptor < 0:
            return
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if mapping.writable else 0)
        try:
            view = mmap.mmap(mapping.descriptor, mapping.size, mmap.MAP_SHARED, protection, offset=mapping.offset)
        except (OSError, ValueError, OverflowError):
            raise Refused(errno.ENOMEM) from None
        os.close(mapping.descriptor)
        self.views[mapping] = view

    def unmapped(self, mapping: Mapping) -> None:
        if mapping in self.views:
            self.views.pop(mapping).close()
        first, last = mapping.start // PAGE, mapping.end // PAGE
        self.marked = {page for page in self.marked if not first <= page < last}
        for page in [each for each in self.pinned if first <= each < last]:
            del self.pinned[page]

    def receive(self, address: int, pattern: bytes, size: int) -> bool:
        """A frame arrives in the client's memory."""
        mapping = self.link.mapping(address, size)
        if mapping is None or not mapping.writable:
            return False
        frame = (pattern * (size // len(pattern) + 1))[:size]
        if mapping in self.views:
            at = address - mapping.start
            self.views[mapping][at : at + size] = frame
        elif not all(self.link.dma_write(address + at, frame[at : at + 65536]) for at in range(0, size, 65536)):
            return False
        if self.tracking:
            if self.broken == "dirty-counts-length":
                first = address // PAGE
                self.marked.update(range(first, first + -(-size // PAGE)))
            else:
                self.marked.update(_pages((address, size)))
        return True

    def track(self, on: bool) -> None:
        if on != self.tracking:
            self.marked.clear()
        self.tracking = on

    def dirty(self, start: int, pages: int) -> int:
        first, end = start // PAGE, start // PAGE + pages
        for mapping in self.link.mappings.values():
            for edge in (start, end * PAGE):
                if mapping.start < edge < mapping.end:
                    raise Refused
        found = {page for page in self.marked if first <= page < end}
        self.marked -= found
        found.update(page for page in self.pinned if first <= page < end)
        bits = bytearray((pages + 7) // 8)
        for page in found:
            bits[page - first >> 3] |= 1 << (page - first & 7)
        return int.from_bytes(bits, "little")

    # -- registers ----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 2:
            return self.migration_read(offset, size)
        if region == 1:
            return bytes(self.table[offset : offset + size])
        if _WIDTHS.get(offset) != size:
            raise Refused
        self.count()
        value = {
            _FRAMES: self.frames, _CONTROL: self.control, _PERIOD: self.period, _ADDRESS: self.address,
            _LENGTH: self.length, _RESULT: self.result, _STATION: self.station, _FILTER: self.filter,
        }.get(offset, 0)  # fmt: skip
        return value.to_bytes(size, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 2:
            self.migration_write(offset, data)
        elif region == 1:
            self.table[offset : offset + len(data)] = data
        elif _WIDTHS.get(offset) != len(data):
            raise Refused
        else:
            self.register(offset, int.from_bytes(data, "little"))

    def register(self, offset: int, value: int) -> None:
        if offset == _CONTROL:
            self.control = value & 3
            self.arm()
        elif offset == _PERIOD:
            self.period = min(max(value, 1000), 1000000)
        elif offset == _ADDRESS:
            self.address = value
        elif offset == _LENGTH:
            self.length = min(value, 1 << 20)
        elif offset == _STATION:
            self.station = value
        elif offset == _FILTER:
            self.filter = value
        elif offset == _DOORBELL and value == 1:
            self.result = 2
            self.count()
            if (
                self.awake
                and self.length
                and self.receive(self.address, struct.pack("<Q", self.frames | 1), self.length)
            ):
                self.result = 1
                self.ring(0)
        elif offset == _PIN and value == 1:
            if self.link.covered(self.address, self.length):
                self.pinned.update(_pages((self.address, self.length)))
        elif offset == _PIN and value == 2:
            let_go = set(_pages((self.address, self.length))) & set(self.pinned) if self.length else set()
            self.pinned -= Counter(let_go)
            self.marked |= let_go if self.tracking else set()

    # -- migration ----------------------------------------------------------------------------------------------------

    def pack(self) -> list[bytes]:
        self.count()
        block = _BLOCK.pack(self.frames, self.control, self.period, self.address, self.length, self.result,
                            self.station, self.filter)  # fmt: skip
        if self.broken == "registers-of-pre-copy":
            block = self.early or block
        whole = block + bytes(self.table)
        pieces = [whole[at : at + _PACKET] for at in range(0, len(whole), _PACKET)]
        return [
            _HEAD.pack(b"BELL", number, len(pieces), len(piece), zlib.crc32(piece)) + piece
            for number, piece in enumerate(pieces)
        ]

    def enter(self, new: int) -> None:
        """Make a transition, which is allowed between any two valid states."""
        if self.state == _BROKEN or new not in (_STOP, _RUN, _SAVE, _COPY, _LOAD):
            raise Refused
        if new == self.state:
            return
        if self.state == _LOAD and self.parts:
            self.state = _BROKEN  # the other packets never came
            raise Refused(errno.EIO)
        self.count()
        old, self.state = self.state, new
        self.arm()
        if not new & _SAVE:
            self.packets, self.early = [], b""
        elif new == _COPY or old != _SAVE:
            self.packets = self.pack()
            if new == _COPY:
                self.early = self.packets[0][_HEAD.size :][: _BLOCK.size]
        self.shown, self.size = False, 0

    def migration_read(self, offset: int, size: int) -> bytes:
        if offset >= _SECTION:
            source = self.packets[0] if self.shown else bytes(self.window) if self.state == _LOAD else b""
            at = offset - _SECTION
            return source[at : at + size].ljust(size, b"\0")
        if (offset, size) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused
        value = 0
        if offset == 0:
            value = self.state
        elif offset == 8 and self.state & _SAVE and self.state != _BROKEN:
            if self.shown:
                del self.packets[0]
                self.shown = False
            value = sum(map(len, self.packets))
        elif offset == 16:
            self.shown = self.shown or bool(self.packets)
            value = _SECTION
        elif offset == 24:
            value = len(self.packets[0]) if self.shown else self.size
        return value.to_bytes(size, "little")

    def migration_write(self, offset: int, data: bytes) -> None:
        size = len(data)
        if offset >= _SECTION:
            if self.state != _LOAD:
                raise Refused
            self.window[offset - _SECTION : offset - _SECTION + size] = data
        elif (offset, size) == (0, 4):
            self.enter(int.from_bytes(data, "little") & 7)
        elif (offset, size) == (4, 4):
            pass
        elif (offset, size) == (24, 8) and self.state == _LOAD:
            self.take(int.from_bytes(data, "little"))
        else:
            raise Refused

    def take(self, size: int) -> None:
        """Take a packet."""
        if not _HEAD.size < size <= len(self.window):
            raise Refused
        magic, number, count, length, check = _HEAD.unpack_from(self.window)
        piece = bytes(self.window[_HEAD.size : size])
        if magic != b"BELL" or length != len(piece) or check != zlib.crc32(piece) or count != 3:
            raise Refused
        if number == 0:
            self.parts = []
        if number != len(self.parts):
            raise Refused
        self.parts.append(piece)
        self.size = size
        if len(self.parts) == count:
            whole = b"".join(self.parts)
            self.parts = []
            if len(whole) != _BLOCK.size + _TABLE:
                raise Refused
            (self.frames, self.control, self.period, self.address, self.length, self.result, self.station,
             self.filter) = _BLOCK.unpack_from(whole)  # fmt: skip
            self.table[:] = whole[_BLOCK.size :]


def _pages(place: tuple[int, int]) -> range:
    return range(place[0] // PAGE, (place[0] + place[1] - 1) // PAGE + 1)


if __name__ == "__main__":
    path, named = arguments("timer-fires-once-more", "dirty-counts-length", "registers-of-pre-copy")
    main(Bell(named), path)
