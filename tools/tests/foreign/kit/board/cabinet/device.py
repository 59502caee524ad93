# SPDX-License-Identifier: GPL-2.0-only
"""A closed cabinet of drawers with hardly any registers: it is driven through files, as by attributes in sysfs.

    region 0      16 bytes that name the device, read only
    region 1      migration; its data section is two slots of 8 KiB that can be mapped

    SOCKET.sys/   a folder that exists while the server runs. A command ends with a number of the user's choice, TAG.
    write         "ADDRESS LENGTH TAG": write that memory of the client, once
    pin           "pin ADDRESS LENGTH TAG" or "unpin ADDRESS LENGTH TAG"
    stream        "ADDRESS LENGTH TAG": write somewhere there every 4 ms; "off TAG": no longer
    scratch       "VALUE TAG": fill the drawers with VALUE; read, "VALUE CHECKSUM" of their content
    clock         read: turns of the drum; written every 3 ms while the device runs
    fault         "error TAG": the next write of device_state fails for good; "save TAG": a fault while
                  saving; "refusal TAG": the next write of device_state is refused
    status        read: the result of the last command, "WORD TAG" or "failed TAG"

A file is read when its writer closes it (inotify). Memory is written by pwrite() into the client's descriptor; each
mapping has one byte for each page. The state is one stream of records, each with a tag and a length, the last one with
a checksum of all others; it may be cut into slots anywhere, and is parsed when resuming is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
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

_STOP, _RUN, _SAVE, _COPY, _LOAD, _ERROR = 0, 1, 2, 3, 4, 6
#: The transitions from each state.
_WAYS = {
    _RUN: {_RUN, _STOP, _SAVE, _COPY, _LOAD},
    _COPY: {_SAVE, _RUN, _COPY},
    _SAVE: {_STOP, _RUN, _SAVE},
    _STOP: {_RUN, _SAVE, _STOP},
    _LOAD: {_RUN, _LOAD},
}
_SLOT, _DRAWERS, _DRAWER = 8192, 22, 2048
_COMMANDS = ("write", "pin", "stream", "scratch", "fault")
_ALL, _FRESH = (*_COMMANDS, "clock", "status"), ".new"
_IN_CLOSE_WRITE, _IN_NONBLOCK = 0x8, os.O_NONBLOCK


class Cabinet(Device):
    def __init__(self, path: str, broken: str) -> None:
        self.broken = broken
        section = os.memfd_create("cabinet", os.MFD_CLOEXEC)
        os.ftruncate(section, PAGE + 2 * _SLOT)
        self.section = section
        sparse = capability_sparse((PAGE, 2 * _SLOT))
        self.regions = [
            Region(16, READ),
            Region(PAGE + 2 * _SLOT, READ | WRITE | MMAP, [capability_type(3, 1), sparse], section),
        ]
        self.folder = Path(path + ".sys")
        self.folder.mkdir(mode=0o700)
        for name in _ALL:
            (self.folder / name).touch(0o600)
        self.inotify = _watch(self.folder)
        self.books: dict[Mapping, bytearray] = {}
        self.pins: dict[Mapping, bytearray] = {}  # for each page, how often
        self.present = False
        self.clean()

    def remove(self) -> None:
        """Remove the folder."""
        for name in (*_ALL, _FRESH):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def clean(self) -> None:
        self.state = _RUN
        self.turns, self.since = 0, time.monotonic()
        self.value = 0
        self.drawers = [bytes(_DRAWER)] * _DRAWERS
        self.target: tuple[int, int] | None = None
        self.step = 0
        self.next_clock = self.next_write = time.monotonic()
        self.faults: set[str] = set()
        self.stream = b""  # what is still to be saved
        self.shown = 0  # bytes of it in the slot
        self.slot = 0
        self.taken = bytearray()
        self.told_size = 0
        self.say("status", "ready")
        self.show()

    def opened(self) -> None:
        self.present = True
        self.clean()

    def closed(self) -> None:
        self.present = self.tracking = False
        self.clean()

    def reset(self) -> None:
        self.note_pinned()
        self.pins = {mapping: bytearray(len(pins)) for mapping, pins in self.pins.items()}
        if self.broken == "reset-forgets-pages":
            for mapping in self.books:
                self.books[mapping] = bytearray(mapping.size // PAGE)
        self.clean()

    # -- the files ----------------------------------------------------------------------------------------------------

    def say(self, name: str, text: str) -> None:
        """Write a line to a file; its readers see either the old line or the new one."""
        fresh = self.folder / _FRESH
        fresh.write_text(text + "\n")
        fresh.replace(self.folder / name)

    def show(self) -> None:
        """The content of the drawers."""
        self.say("scratch", f"{self.value} {zlib.crc32(b''.join(self.drawers)):#010x}")
        self.say("clock", str(self.turn()))

    def watched(self) -> list[int]:
        return [self.inotify]

    def notice(self) -> None:
        try:
            events = os.read(self.inotify, 65536)
        except BlockingIOError:
            return
        names = []
        while events:
            length = struct.unpack_from("<iIII", events)[3]
            names.append(events[16 : 16 + length].rstrip(b"\0").decode())
            events = events[16 + length :]
        for name in dict.fromkeys(names):
            if name in _COMMANDS:
                self.command(name)

    def command(self, name: str) -> None:
        text = ""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = (self.folder / name).read_text()
        *words, tag = text.split() or [""]
        if not tag:
            return
        try:
            done = self.present and self.obey(name, words)
        except (ValueError, IndexError):
            done = False
        self.say("status", f"{name if done else 'failed'} {tag}")

    def obey(self, name: str, words: list[str]) -> bool:
        if name == "write":
            address, size = int(words[0], 0), int(words[1], 0)
            pattern = struct.pack("<Q", self.turn() + 1)
            return bool(self.state & _RUN) and self.put(address, (pattern * (size // 8 + 1))[:size])
        if name == "pin":
            place = int(words[1], 0), int(words[2], 0)
            return self.pin(*place, 1 if words[0] == "pin" else -1)
        if name == "stream":
            self.target = None if words[0] == "off" else (int(words[0], 0), int(words[1], 0))
            self.next_write = time.monotonic()
        elif name == "scratch":
            self.value = int(words[0], 0) & 0xFFFFFFFFFFFFFFFF
            self.drawers = [
                struct.pack("<Q", self.value * (2 * number + 1) + number & 0xFFFFFFFFFFFFFFFF) * (_DRAWER // 8)
                for number in range(_DRAWERS)
            ]
            self.show()
        elif name == "fault":
            self.faults.add(words[0])
        return True

    # -- time ---------------------------------------------------------------------------------------------------------

    def turn(self) -> int:
        now = time.monotonic()
        if self.state & _RUN:
            self.turns += int((now - self.since) * 100000)
        self.since = now
        return self.turns

    def due(self) -> float | None:
        if not (self.present and self.state & _RUN):
            return None
        return min(self.next_clock, self.next_write) if self.target else self.next_clock

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self.next_clock:
            self.next_clock = now + 0.003
            self.say("clock", str(self.turn()))
        if self.target and now >= self.next_write:
            self.next_write = now + 0.004
            self.step += 1
            address, size = self.target
            at = self.step * 808 % max(size - 7, 1)
            self.put(address + at, struct.pack("<Q", self.step)[: size - at])

    # -- memory -------------------------------------------------------------------------------------------------------

    def mapped(self, mapping: Mapping) -> None:
        if mapping.descriptor < 0 or os.fstat(mapping.descriptor).st_size < mapping.offset + mapping.size:
            raise Refused(errno.EOPNOTSUPP)  # the cabinet does not access memory by messages
        self.books[mapping] = bytearray(mapping.size // PAGE)
        self.pins[mapping] = bytearray(mapping.size // PAGE)

    def unmapped(self, mapping: Mapping) -> None:
        os.close(mapping.descriptor)
        del self.books[mapping], self.pins[mapping]

    def put(self, address: int, data: bytes) -> bool:
        mapping = self.link.mapping(address, len(data))
        if mapping is None or not mapping.writable or not data:
            return False
        try:
            os.pwrite(mapping.descriptor, data, mapping.offset + address - mapping.start)
        except OSError:
            return False
        self.note(address, len(data))
        return True

    def note(self, address: int, size: int) -> None:
        """Record pages that were written, or may have been."""
        mapping = self.link.mapping(address, size)
        if mapping and self.tracking:
            for page in range((address - mapping.start) // PAGE, (address + size - 1 - mapping.start) // PAGE + 1):
                self.books[mapping][page] = 1

    def pin(self, address: int, size: int, step: int) -> bool:
        """Pin pages once more, or once less, in all mappings that they are in."""
        if not self.link.covered(address, size):
            return False
        if step < 0:
            self.note_pinned()
        for mapping, pins in self.pins.items():
            first, last = max(address, mapping.start), min(address + size - 1, mapping.end - 1)
            for page in range((first - mapping.start) // PAGE, (last - mapping.start) // PAGE + 1):
                pins[page] = min(max(pins[page] + step, 0), 255)
        return True

    def note_pinned(self) -> None:
        for mapping, pins in self.pins.items():
            for page, count in enumerate(pins) if self.tracking and any(pins) else ():
                self.books[mapping][page] |= count > 0

    def track(self, on: bool) -> None:
        if on and not self.tracking:
            for mapping in self.books:
                self.books[mapping] = bytearray(mapping.size // PAGE)
        self.tracking = on

    def dirty(self, start: int, pages: int) -> int:
        self.note_pinned()
        end, bits = start + pages * PAGE, bytearray((pages + 7) // 8)
        for mapping, book in self.books.items():  # a part of a mapping is enough
            first, last = max(start, mapping.start), min(end, mapping.end)
            if first >= last:
                continue
            shift = (first - start) // PAGE
            low, high = (first - mapping.start) // PAGE, (last - mapping.start) // PAGE
            at = book.find(1, low, high)
            while at >= 0:
                bits[shift + at - low >> 3] |= 1 << (shift + at - low & 7)
                at = book.find(1, at + 1, high)
            book[low:high] = bytes(high - low)
        return int.from_bytes(bits, "little")

    # -- migration ----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 0:
            return b"drawer cabinet\0\0"[offset : offset + size]
        if offset >= PAGE:
            return os.pread(self.section, size, offset)
        if (offset, size) not in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused
        value = 0
        if offset == 0:
            value = self.state
        elif offset == 8 and self.state in (_SAVE, _COPY):
            self.stream = self.stream[self.shown :]
            self.slot ^= bool(self.shown)
            self.shown = 0
            value = len(self.stream)
        elif offset == 16:
            if self.state == _SAVE and self.stream and not self.shown:
                self.fill()
            value = PAGE + self.slot * _SLOT
        elif offset == 24:
            value = self.shown if self.state in (_SAVE, _COPY) else self.told_size
        return value.to_bytes(size, "little")

    def fill(self) -> None:
        """Put the next piece of the state into the slot."""
        if "save" in self.faults and len(self.stream) < 5 * _SLOT:
            raise Refused(errno.EIO)
        self.shown = min(_SLOT, len(self.stream))
        os.pwrite(self.section, self.stream[: self.shown], PAGE + self.slot * _SLOT)

    def write(self, region: int, offset: int, data: bytes) -> None:
        size = len(data)
        if region == 0:
            raise Refused(errno.EPERM)
        if offset >= PAGE:
            if self.state != _LOAD:
                raise Refused
            os.pwrite(self.section, data, offset)
        elif (offset, size) == (0, 4):
            self.change(int.from_bytes(data, "little"))
        elif (offset, size) == (24, 8) and self.state == _LOAD:
            length = int.from_bytes(data, "little")
            if not 0 < length <= _SLOT or len(self.taken) + length > 1 << 20:
                raise Refused
            self.taken += os.pread(self.section, length, PAGE + self.slot * _SLOT)
            self.slot ^= 1
            self.told_size = length
        elif (offset, size) not in ((4, 4), (8, 8), (16, 8), (24, 8)):
            raise Refused

    def change(self, value: int) -> None:
        new = value & 7
        if self.state == _ERROR or new not in _WAYS[self.state]:
            raise Refused
        if "error" in self.faults:
            self.turn()
            self.state = _ERROR
            raise Refused(errno.EIO)
        if "refusal" in self.faults:
            self.faults.discard("refusal")
            raise Refused(errno.EBUSY)
        if new == self.state:
            return
        if self.state == _LOAD:
            self.restore()
        self.turn()
        if new not in (_SAVE, _COPY):
            self.faults.discard("save")
        self.state = new
        self.stream = self.pack() if new == _SAVE else b""
        self.shown = self.slot = 0
        self.taken = bytearray()
        self.told_size = 0
        if not new & _RUN:
            self.say("clock", str(self.turns))

    def pack(self) -> bytes:
        made = b"".join(
            struct.pack("<II", tag, len(body)) + body
            for tag, body in (
                (1, struct.pack("<QQQ", self.turns, self.step, self.value)),
                (2, struct.pack("<QQ", *self.target) if self.target else b""),
                *((16 + number, drawer) for number, drawer in enumerate(self.drawers)),
            )
        )
        if self.broken == "last-slot-dropped":
            return made[: len(made) // _SLOT * _SLOT]
        return made + struct.pack("<III", 255, 4, zlib.crc32(made))

    def restore(self) -> None:
        """Parse the stream; an incomplete one has no effect."""
        if not self.taken:
            return
        fields, at = {}, 0
        while at + 8 <= len(self.taken):
            tag, length = struct.unpack_from("<II", self.taken, at)
            body = bytes(self.taken[at + 8 : at + 8 + length])
            if self.broken == "last-slot-dropped":
                body = body.ljust(length if length <= _DRAWER else 0, b"\0")
            if len(body) != length:
                raise Refused(errno.EBADMSG)
            if tag == 255 and body != struct.pack("<I", zlib.crc32(self.taken[:at])):
                raise Refused(errno.EBADMSG)
            fields[tag] = body
            at += 8 + length
        wanted = {1, 2, *range(16, 16 + _DRAWERS)}
        if self.broken == "last-slot-dropped":
            fields.update({tag: bytes(_DRAWER) for tag in wanted - set(fields) if tag >= 16})
        elif at != len(self.taken) or 255 not in fields:
            raise Refused(errno.EBADMSG)
        if wanted - set(fields) or len(fields[1]) != 24 or len(fields[2]) not in (0, 16):
            raise Refused(errno.EBADMSG)
        self.turns, self.step, self.value = struct.unpack("<QQQ", fields[1])
        place = struct.unpack("<QQ", fields[2]) if fields[2] else None
        self.target = (place[0], place[1]) if place else None
        self.drawers = [fields[16 + number] for number in range(_DRAWERS)]
        self.show()


def _watch(folder: Path) -> int:
    """An inotify descriptor for files that are closed after writing."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(_IN_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_CLOSE_WRITE) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    return descriptor


if __name__ == "__main__":
    path, named = arguments("reset-forgets-pages", "last-slot-dropped")
    cabinet = Cabinet(path, named)
    try:
        main(cabinet, path)
    finally:
        cabinet.remove()
