# SPDX-License-Identifier: GPL-2.0-only
"""A timer card with a train of wheels, which requires every order to be numbered, dated and summed up.

    region 2, registers; each is accessed as a whole
    0x00  2  ro  0xc10c
    0x04  4      LOW: lower half of an address in the client's memory
    0x08  4      HIGH: upper half of it
    0x0c  4      LENGTH: bytes there
    0x10  4      CHECK: LOW exclusive-or HIGH
    0x14  4      DEADLINE: a time in seconds since 1970, 1 to 60 s ahead when an order is given
    0x18  2  ro  SEQUENCE: number of the last order that was accepted
    0x1c  4  wo  ORDER: the next number in the upper half, the order in the lower one
    0x20  4  ro  RESULT: the number of the last order in the upper half, and 1 done, 2 refused, 3 failed, 4 under way
    0x24  4  ro  TICKS: the escapement, about 100000 a second
    0x28  8      ALARM: the value for the wheels
    0x34  4  ro  WHEELS: checksum of their teeth
    region 4, migration; its data section is trapped

    orders: 1 strike (write LENGTH bytes), 2 chime (strike every 5 ms), 3 silence, 4 pin the pages, 5 unpin them,
    6 set the wheels to ALARM, 7 strike in 15 ms

Memory is written by DMA_WRITE messages alone. For each page, the card counts the strikes since it was last reported.
The state is text, a line for the registers and one for the teeth of each wheel, and a line is applied once it is
complete. Pre-copy offers all lines once, and stop-and-copy those that changed since: a wheel counts as sent once its
line is written, and as unsent again if the client never reads on.
"""

from __future__ import annotations

import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from board.wire import PAGE, Device, Mapping, Refused, Region, arguments, capability_type, main

_STOPPED, _RUNNING, _SAVING, _PRECOPY, _RESUMING, _ERROR = 0, 1, 2, 3, 4, 6
_LOW, _HIGH, _LENGTH, _CHECK, _DEADLINE, _SEQUENCE, _ORDER, _RESULT, _TICKS, _ALARM, _WHEELS = (
    0x04, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x28, 0x34,
)  # fmt: skip
_PLAIN = {_LOW: "low", _HIGH: "high", _LENGTH: "length", _CHECK: "check", _DEADLINE: "deadline"}
_TRAIN, _TEETH, _ROWS = 96, 128, 18  # wheels, bytes of one, wheels in a buffer
_AREA, _SECTION = 0x40, 0x4000
_DONE, _REFUSED, _FAILED, _BUSY = 1, 2, 3, 4


class Clockwork(Device):
    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.regions = [
            Region(), Region(), Region(0x40), Region(), Region(_AREA + _SECTION, capabilities=[capability_type(3, 1)]),
        ]  # fmt: skip
        self.stamps: dict[int, int] = {}  # how often a page was struck
        self.held: list[int] = []  # pages, each as often as it is pinned
        self.rest()

    def rest(self) -> None:
        self.state = _RUNNING
        self.plain = dict.fromkeys(_PLAIN.values(), 0)
        self.sequence = self.result = self.alarm = 0
        self.wheels = [bytes(_TEETH)] * _TRAIN
        self.ticks, self.wound = 0.0, time.monotonic()
        self.chimes: tuple[int, int] | None = None
        self.chimed = 0
        self.next_chime = 0.0
        self.late: tuple[int, int, float] | None = None  # a strike that is due: address, bytes, seconds left
        self.late_due = 0.0
        self.unsent: set[int] = set()
        self.registers_unsent = False
        self.rows: list[int] = []
        self.buffer = b""
        self.turn = 0
        self.window = bytearray(_SECTION)
        self.carried = b""
        self.told = 0

    def opened(self) -> None:
        self.rest()

    def closed(self) -> None:
        self.tracking = False
        self.stamps.clear()
        self.held.clear()
        self.rest()

    def reset(self) -> None:
        self.rest()  # pages stay pinned until the driver unpins them

    # -- time ---------------------------------------------------------------------------------------------------------

    def wind(self) -> None:
        now = time.monotonic()
        if self.state & _RUNNING:
            self.ticks += (now - self.wound) * 100000
        self.wound = now

    def due(self) -> float | None:
        if not self.state & _RUNNING:
            return None
        return min(
            (at for at, there in ((self.next_chime, self.chimes), (self.late_due, self.late)) if there), default=None
        )

    def tick(self) -> None:
        now = time.monotonic()
        if self.chimes and now >= self.next_chime:
            self.next_chime = now + 0.005
            self.chimed += 1
            address, length = self.chimes
            at = self.chimed * 520 % max(length - 3, 1)
            self.strike(address + at, struct.pack("<I", self.chimed)[: length - at])
        if self.late and now >= self.late_due:
            address, length, _ = self.late
            self.late = None
            self.finish(_DONE if self.strike(address, b"LATE"[:length]) else _FAILED)

    def finish(self, how: int) -> None:
        self.result = self.sequence << 16 | how
        self.registers_unsent = True

    # -- memory -------------------------------------------------------------------------------------------------------

    def strike(self, address: int, data: bytes) -> bool:
        if not data or not self.link.mapping(address, len(data)):
            return False
        for at in range(0, len(data), 16384):
            if not self.link.dma_write(address + at, data[at : at + 16384]):
                return False
        self.stamp(address, len(data))
        return True

    def stamp(self, address: int, length: int) -> None:
        if self.broken == "pages-by-lower-half":
            address &= 0xFFFFFFFF
        for page in range(address // PAGE, (address + length - 1) // PAGE + 1):
            self.stamps[page] = self.stamps.get(page, 0) + 1

    def unmapped(self, mapping: Mapping) -> None:
        for page in range(mapping.start // PAGE, mapping.end // PAGE) if self.stamps else ():
            self.stamps.pop(page, None)
        self.held = [each for each in self.held if not mapping.start <= each * PAGE < mapping.end]

    def track(self, on: bool) -> None:
        if on and not self.tracking:
            self.stamps.clear()
        self.tracking = on

    def dirty(self, start: int, pages: int) -> int:
        for mapping in self.link.mappings.values():
            if mapping.start < start < mapping.end or mapping.start < start + pages * PAGE < mapping.end:
                raise Refused
        for page in self.held:
            self.stamp(page * PAGE, PAGE)
        first, bits = start // PAGE, 0
        for page in sorted(self.stamps):
            if first <= page < first + pages:
                bits |= 1 << page - first
                del self.stamps[page]
        return bits

    # -- registers ----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 4:
            return self.migration_read(offset, size)
        if offset in (0, _SEQUENCE) and size == 2:
            return (0xC10C if offset == 0 else self.sequence).to_bytes(2, "little")
        if offset == _ALARM and size == 8:
            return self.alarm.to_bytes(8, "little")
        if size != 4:
            raise Refused
        self.wind()
        if offset in _PLAIN:
            value = self.plain[_PLAIN[offset]]
        elif offset in (_RESULT, _TICKS, _WHEELS):
            value = {_RESULT: self.result, _TICKS: int(self.ticks) & 0xFFFFFFFF}.get(offset, 0)
            if offset == _WHEELS:
                value = zlib.crc32(b"".join(self.wheels))
        else:
            raise Refused
        return value.to_bytes(4, "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if region == 4:
            self.migration_write(offset, data)
        elif offset in _PLAIN and len(data) == 4:
            self.plain[_PLAIN[offset]] = value
            self.registers_unsent = True
        elif offset == _ALARM and len(data) == 8:
            self.alarm = value
            self.registers_unsent = True
        elif offset == _ORDER and len(data) == 4:
            self.order(value >> 16, value & 0xFFFF)
        else:
            raise Refused

    def order(self, number: int, what: int) -> None:
        plain = self.plain
        ahead = plain["deadline"] - int(time.time())
        if number != self.sequence + 1 & 0xFFFF or (what in (1, 2, 7) and not self.state & _RUNNING):
            self.result = number << 16 | _REFUSED
            return
        self.sequence = number
        summed = plain["low"] ^ plain["high"] == plain["check"]
        if not 1 <= ahead <= 60 or not summed or not 1 <= what <= 7 or self.late:
            self.finish(_REFUSED)
            return
        address, length = plain["high"] << 32 | plain["low"], min(plain["length"], 1 << 20)
        pages = range(address // PAGE, (address + length + PAGE - 1) // PAGE)
        done = True
        if what == 1:
            done = self.strike(address, (struct.pack("<Q", number << 8 | 1) * (length // 8 + 1))[:length])
        elif what == 2:
            self.chimes, self.next_chime = (address, length), time.monotonic()
        elif what == 3:
            self.chimes = None
        elif what == 4:
            done = self.link.covered(address, length)
            self.held += pages if done else ()
        elif what == 5:
            done = set(pages) <= set(self.held)
            for page in pages if done else ():
                self.held.remove(page)
                self.stamp(page * PAGE, PAGE)
        elif what == 6:
            self.turn_wheels()
        elif what == 7:
            self.late, self.late_due = (address, length, 0.015), time.monotonic() + 0.015
        self.finish(_BUSY if what == 7 else _DONE if done else _FAILED)

    def turn_wheels(self) -> None:
        for number in range(_TRAIN):
            wheel = struct.pack("<Q", self.alarm * (number | 1) + number & 0xFFFFFFFFFFFFFFFF) * (_TEETH // 8)
            if wheel != self.wheels[number]:
                self.wheels[number] = wheel
                self.unsent.add(number)

    # -- the state as text --------------------------------------------------------------------------------------------

    def line(self, text: str) -> bytes:
        return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()

    def registers(self) -> bytes:
        self.wind()
        late = f"{self.late[0]} {self.late[1]} {int(self.late[2] * 1e6)}" if self.late else "- - -"
        if self.broken == "late-strike-not-saved":
            late = "- - -"
        chimes = f"{self.chimes[0]} {self.chimes[1]}" if self.chimes else "- -"
        plain = " ".join(str(self.plain[name]) for name in _PLAIN.values())
        return self.line(
            f"card {plain} {self.sequence} {self.result} {self.alarm} {int(self.ticks)} {self.chimed} {chimes} {late}"
        )

    def make(self) -> bytes:
        """The next buffer: lines of some wheels, or, at the end, of the registers."""
        self.rows = sorted(self.unsent)[:_ROWS]
        if self.rows:
            if self.broken != "sent-when-taken":
                self.unsent.difference_update(self.rows)
            return b"".join(self.line(f"wheel {number} {self.wheels[number].hex()}") for number in self.rows)
        self.registers_unsent = False
        return self.registers()

    def taken(self) -> None:
        """Note that the buffer was read."""
        if self.broken == "sent-when-taken":
            self.unsent.difference_update(self.rows)
        self.buffer, self.rows = b"", []
        self.turn = (self.turn + 1) % 4

    def left(self) -> int:
        return len(self.unsent) * (2 * _TEETH + 19) + 200 * self.registers_unsent

    def apply(self, data: bytes) -> None:
        """Apply the complete lines."""
        *lines, rest = (self.carried + data).split(b"\n")
        if len(rest) > 4096:
            raise Refused
        for each in lines:
            text, _, check = each.rpartition(b" ")
            if check != f"{zlib.crc32(text):08x}".encode():
                raise Refused
            word, *numbers = text.decode().split()
            if word == "wheel" and int(numbers[0]) < _TRAIN and len(numbers[1]) == 2 * _TEETH:
                self.wheels[int(numbers[0])] = bytes.fromhex(numbers[1])
            elif word == "card" and len(numbers) == 15:
                values = [int(number) if number != "-" else -1 for number in numbers]
                self.plain = dict(zip(_PLAIN.values(), values, strict=False))
                self.sequence, self.result, self.alarm, ticks, self.chimed = values[5:10]
                self.ticks = float(ticks)
                self.chimes = (values[10], values[11]) if values[10] >= 0 else None
                self.late = (values[12], values[13], values[14] / 1e6) if values[12] >= 0 else None
            else:
                raise Refused
        self.carried = rest

    # -- migration ----------------------------------------------------------------------------------------------------

    def change(self, value: int) -> None:
        new, old = value & 7, self.state
        if old == _ERROR or new not in (_STOPPED, _RUNNING, _SAVING, _PRECOPY, _RESUMING):
            raise Refused
        if old == _RESUMING and new not in (_RUNNING, _RESUMING):
            raise Refused
        if new == old:
            return
        if self.carried:
            self.state = _ERROR  # an incomplete line
            raise Refused
        if self.buffer:  # it may not have been read
            self.unsent.update(self.rows)
            self.buffer, self.rows, self.registers_unsent = b"", [], True
        self.wind()
        now = time.monotonic()
        if old & _RUNNING and not new & _RUNNING and self.late:
            self.late = (self.late[0], self.late[1], max(self.late_due - now, 0.0))
        self.state = new
        if new & _RUNNING and not old & _RUNNING:
            self.next_chime = now
            self.late_due = now + self.late[2] if self.late else 0.0
        if new in (_SAVING, _PRECOPY):
            if old != _PRECOPY or new != _SAVING:
                self.unsent = set(range(_TRAIN))
            self.registers_unsent = True
        self.told = 0

    def migration_read(self, offset: int, size: int) -> bytes:
        if offset >= _AREA:
            if self.state == _RESUMING:
                return bytes(self.window[offset - _AREA : offset - _AREA + size])
            return self.buffer.rjust(len(self.buffer) + self.place() - _AREA, b"\0")[
                offset - _AREA : offset - _AREA + size
            ].ljust(size, b"\0")
        if (offset, size) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused
        saving = self.state in (_SAVING, _PRECOPY)
        value = 0
        if offset == 0:
            value = self.state
        elif offset == 8 and saving:
            if self.buffer:
                self.taken()
            value = self.left()
        elif offset == 16:
            if saving and not self.buffer and self.left():
                self.buffer = self.make()
            value = self.place()
        elif offset == 24:
            value = len(self.buffer) if saving else self.told
        return value.to_bytes(size, "little")

    def place(self) -> int:
        """The next of four places for buffers."""
        return _AREA + 0x140 * self.turn

    def migration_write(self, offset: int, data: bytes) -> None:
        size, value = len(data), int.from_bytes(data, "little")
        if offset >= _AREA and self.state == _RESUMING:
            self.window[offset - _AREA : offset - _AREA + size] = data
        elif (offset, size) == (0, 4):
            self.change(value)
        elif (offset, size) == (24, 8) and self.state == _RESUMING:
            at = self.place() - _AREA
            if not 0 < value <= _SECTION - at:
                raise Refused
            try:
                self.apply(bytes(self.window[at : at + value]))
            except (ValueError, IndexError):
                raise Refused from None
            self.turn = (self.turn + 1) % 4
            self.told = value
        elif (offset, size) != (4, 4):
            raise Refused


if __name__ == "__main__":
    path, named = arguments("pages-by-lower-half", "late-strike-not-saved", "sent-when-taken")
    main(Clockwork(named), path)
