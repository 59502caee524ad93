# SPDX-License-Identifier: GPL-2.0-only
"""A crypto card: 64 KiB of memory for keys, and an engine that fills the host's memory with key stream.

Region 0 is the migration region. Region 1 has registers of 8 bytes, accessed as a whole:

    0x08  numbers drawn, one every 20 us while the card runs; read only
    0x10  address of a job
    0x18  its length
    0x20  1: do it once, 2: again and again, 0: no more
    0x28  jobs done; read only
    0x30  1: the case is opened, and the next change of state fails
    0x38  1: the sealing key is not available, and the next sealing fails
    0x40  lock the pages of the job's length from this address
    0x48  unlock the pages locked from this address

Region 2 is the memory for keys, read and written in 1, 2, 4 or 8 bytes.

The state is one sealed buffer: a nonce, the memory and the registers under a key stream, padding of a random length,
and a tag. It is sealed when data_offset is read; until then, pending_bytes is 1, which means some. In resuming, it is
unsealed when data_size is written, completely or not at all, and applied when resuming is left.

Each page has the serial numbers of its last write and of its last report. Memory is written with pwrite into the
descriptor, or by messages.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocking import wire

KEYS = 65536
SECTION = 0x40
ROOM = KEYS + 8192
MASTER = b"burnt into each card of this make"
REGS = struct.Struct("<QQQQ")
STOP, RUNNING, SAVING, PRECOPY, RESUMING, ERROR = 0, 1, 2, 3, 4, 6
PATHS = {
    (RUNNING, STOP), (RUNNING, SAVING), (RUNNING, PRECOPY), (RUNNING, RESUMING), (PRECOPY, SAVING), (SAVING, STOP),
    (RESUMING, RUNNING), (PRECOPY, RUNNING), (SAVING, RUNNING), (STOP, RUNNING), (STOP, SAVING), (STOP, RESUMING),
}  # fmt: skip


def xor(data: bytes, key: bytes) -> bytes:
    stream = hashlib.shake_256(key).digest(len(data))
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(len(data), "little")


def seal(plain: bytes) -> bytes:
    nonce = secrets.token_bytes(16)
    pad = secrets.randbelow(4096)
    body = nonce + xor(struct.pack("<I", len(plain)) + plain + bytes(pad), MASTER + nonce)
    return body + hmac.digest(MASTER, body, "sha256")


def unseal(blob: bytes) -> bytes:
    if len(blob) < 52 or not hmac.compare_digest(hmac.digest(MASTER, blob[:-32], "sha256"), blob[-32:]):
        raise wire.refuse(errno.EBADMSG)
    plain = xor(blob[16:-32], MASTER + blob[:16])
    length = int.from_bytes(plain[:4], "little")
    if length > len(plain) - 4:
        raise wire.refuse(errno.EBADMSG)
    return plain[4 : 4 + length]


class Monolith(wire.Card):
    platform = True

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.regions = [wire.Region(SECTION + ROOM, kind=wire.MIGRATION), wire.Region(0x50), wire.Region(KEYS)]
        self.mappings: list[tuple[int, int, int, int, int]] = []  # address, size, flags, descriptor, offset in it
        self.forget()
        self.zeroize()

    # ---- the card ----------------------------------------------------------------------------------------------------
    def zeroize(self) -> None:
        self.state = RUNNING
        self.keys = bytearray(KEYS)
        self.snapshot = b""
        self.drawn, self.mark = 0.0, time.monotonic()
        self.address = self.length = self.jobs = 0
        self.repeat, self.when = False, 0.0
        self.case_open = self.key_gone = False
        self.over()

    def over(self) -> None:
        """Forgets the session of migration."""
        self.sealed, self.told, self.done = b"", False, False
        self.input = bytearray(ROOM)
        self.unsealed: bytes | None = None

    def forget(self) -> None:
        for *_, fd, _ in self.mappings:
            if fd >= 0:
                os.close(fd)
        self.mappings = []
        self.tracked = False
        self.serial = 0
        self.wrote: dict[int, int] = {}
        self.reported: dict[int, int] = {}
        self.locks: dict[int, list[range]] = {}

    def opened(self) -> None:
        self.forget()
        self.zeroize()

    def closed(self) -> None:
        self.opened()

    def reset(self) -> None:
        self.zeroize()
        for ranges in self.locks.values():
            for pages in ranges:
                self.note(pages)
        self.locks = {}

    def works(self) -> bool:
        return self.state in (RUNNING, PRECOPY)

    def draw(self) -> None:
        now = time.monotonic()
        if self.works():
            self.drawn += (now - self.mark) * 50000
        self.mark = now

    def note(self, pages: range) -> None:
        if self.tracked:
            self.serial += 1
            self.wrote.update(dict.fromkeys(pages, self.serial))

    def span(self, address: int, length: int) -> range:
        return range(address // self.page, -(-(address + length) // self.page))

    def split(self, address: int, length: int) -> list[tuple[tuple[int, int, int, int, int], int, int]]:
        found, end = [], address + length
        for mapping in sorted(self.mappings):
            start, size, flags = mapping[:3]
            if flags & 2 and start <= address < start + size and address < end:
                stop = min(end, start + size)
                found.append((mapping, address, stop))
                address = stop
        if address != end or not found:
            raise wire.refuse(errno.ENXIO)
        return found

    def job(self) -> None:
        parts = self.split(self.address, self.length)
        self.jobs += 1
        stream = hashlib.shake_128(struct.pack("<QQ", self.jobs, int(self.drawn))).digest(self.length)
        at = 0
        for (start, size, _, fd, offset), low, high in parts:
            data = stream[at : at + high - low]
            self.note(self.span(low, high - low))
            if fd >= 0 and os.fstat(fd).st_size >= offset + size:
                os.pwrite(fd, data, offset + low - start)
            else:
                self.link.put(low, data)
            at += len(data)

    def wait(self) -> float | None:
        return max(0.0, self.when - time.monotonic()) if self.repeat and self.works() else None

    def tick(self) -> None:
        self.when = time.monotonic() + 0.01
        self.draw()
        try:
            self.job()
        except OSError:
            self.repeat = False

    def set_register(self, offset: int, value: int) -> None:
        if offset == 0x10:
            self.address = value
        elif offset == 0x18:
            if value > 1 << 17:
                raise wire.refuse(errno.E2BIG)
            self.length = value
        elif offset == 0x20:
            self.repeat = value == 2
            if value == 1 and self.works() and self.length:
                self.job()
            self.when = 0.0
        elif offset == 0x30:
            self.case_open = bool(value)
        elif offset == 0x38:
            self.key_gone = bool(value)
        elif offset == 0x40:
            self.split(value, self.length)
            self.locks.setdefault(value, []).append(self.span(value, self.length))
        elif offset == 0x48:
            for pages in self.locks.pop(value, []):
                self.note(pages)

    # ---- migration ---------------------------------------------------------------------------------------------------
    def change(self, wanted: int) -> None:
        wanted &= 7
        if self.state == ERROR:
            if self.fault == "provision-again" and wanted == RESUMING:
                self.over()
                self.state = RESUMING
                return
            raise wire.refuse(errno.EACCES)
        self.draw()
        if self.case_open:
            self.state = ERROR
            raise wire.refuse(errno.EACCES)
        if wanted == self.state:
            return
        if (self.state, wanted) not in PATHS:
            raise wire.refuse()
        if self.state == RESUMING and self.unsealed is not None:
            drawn, self.address, self.length, self.jobs = REGS.unpack_from(self.unsealed)
            self.drawn = float(drawn)
            self.keys[:] = self.unsealed[REGS.size :]
        if wanted == PRECOPY:
            self.snapshot = bytes(self.keys)
        elif (self.state, wanted) != (PRECOPY, SAVING):
            self.snapshot = b""
        self.state = wanted
        self.over()

    def offset(self) -> int:
        if self.state == SAVING and not self.done:
            if not self.sealed or self.fault == "reseal":
                if self.key_gone:
                    self.key_gone = False
                    raise wire.refuse(errno.EIO)
                keys = self.snapshot if self.fault == "key-snapshot" and self.snapshot else self.keys
                self.sealed = seal(REGS.pack(int(self.drawn), self.address, self.length, self.jobs) + keys)
            self.told = True
        return SECTION

    def pending(self) -> int:
        if self.told:
            self.sealed, self.told, self.done = b"", False, True
        return 1 if self.state == SAVING and not self.done else 0

    def take(self, size: int) -> None:
        if self.state != RESUMING:
            return
        if size > ROOM:
            raise wire.refuse(errno.E2BIG)
        plain = unseal(bytes(self.input[:size]))
        if len(plain) != REGS.size + KEYS:
            raise wire.refuse(errno.EBADMSG)
        self.unsealed = plain

    # ---- called by the wire ------------------------------------------------------------------------------------------
    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 2:
            if count not in (1, 2, 4, 8) or offset % count:
                raise wire.refuse()
            return bytes(self.keys[offset : offset + count])
        if region == 1:
            if count != 8 or offset % 8:
                raise wire.refuse()
            self.draw()
            values = {0x08: int(self.drawn), 0x10: self.address, 0x18: self.length, 0x28: self.jobs}
            return values.get(offset, 0).to_bytes(8, "little")
        if offset >= SECTION:
            shown = bytes(self.input) if self.state == RESUMING else self.sealed if self.told else b""
            return shown[offset - SECTION : offset - SECTION + count].ljust(count, b"\0")
        if offset in (0, 4) and count == 4:
            return (self.state if offset == 0 else 0).to_bytes(4, "little")
        if offset in (8, 16, 24) and count == 8:
            value = self.pending() if offset == 8 else self.offset() if offset == 16 else len(self.sealed)
            return value.to_bytes(8, "little")
        raise wire.refuse()

    def write(self, region: int, offset: int, data: bytes) -> None:
        count = len(data)
        if region == 2:
            if count not in (1, 2, 4, 8) or offset % count:
                raise wire.refuse()
            self.keys[offset : offset + count] = data
        elif region == 1:
            if count != 8 or offset % 8:
                raise wire.refuse()
            self.set_register(offset, int.from_bytes(data, "little"))
        elif offset >= SECTION:
            if self.state != RESUMING:
                raise wire.refuse(errno.EPERM)
            self.input[offset - SECTION : offset - SECTION + count] = data
        elif (offset, count) == (0, 4):
            self.change(int.from_bytes(data, "little"))
        elif (offset, count) == (24, 8):
            self.take(int.from_bytes(data, "little"))
        elif (offset, count) not in ((4, 4), (8, 8), (16, 8)):
            raise wire.refuse()

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        if address % self.page or size % self.page:
            raise wire.refuse()
        if any(address < start + other and start < address + size for start, other, *_ in self.mappings):
            raise wire.refuse(errno.EEXIST)
        self.mappings.append((address, size, flags, os.dup(fd) if fd >= 0 else -1, offset))

    def unmap(self, address: int, size: int) -> None:
        mapping = next((m for m in self.mappings if m[:2] == (address, size)), None)
        if mapping is None:
            raise wire.refuse(errno.EINVAL)
        self.mappings.remove(mapping)
        if mapping[3] >= 0:
            os.close(mapping[3])
        gone = self.span(address, size)
        self.wrote = {page: at for page, at in self.wrote.items() if page not in gone}
        for start, ranges in list(self.locks.items()):
            rest = []
            for pages in ranges:
                rest.append(range(pages.start, min(pages.stop, gone.start)))
                rest.append(range(max(pages.start, gone.stop), pages.stop))
            self.locks[start] = [pages for pages in rest if pages]

    def unmap_all(self) -> None:
        tracked = self.tracked
        self.forget()
        self.tracked = tracked

    def track(self, on: bool) -> None:
        if on and self.tracked:
            return
        self.tracked = on
        self.wrote.clear()
        self.reported.clear()

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        pages = self.span(address, size)
        if not self.tracked or page != self.page or not size or address % page or size % page:
            raise wire.refuse()
        if address + size > 1 << 64 or not -(-len(pages) // 64) * 8 <= room <= wire.LARGEST:
            raise wire.refuse()
        found = [n for n, at in self.wrote.items() if n in pages and at > self.reported.get(n, 0)]
        self.reported.update(dict.fromkeys(found, self.serial))
        for ranges in self.locks.values():
            for locked in ranges:
                found += range(max(locked.start, pages.start), min(locked.stop, pages.stop))
        bits = bytearray(room)
        for n in found:
            bits[(n - pages.start) // 8] |= 1 << (n - pages.start) % 8
        return bytes(bits)

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        if not any(m[:2] == (address, size) for m in self.mappings):
            raise wire.refuse()
        bits = self.bitmap(address, size, page, room)
        self.unmap(address, size)
        return bits


if __name__ == "__main__":
    wire.serve(Monolith(wire.broken_by()))
