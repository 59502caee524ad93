# SPDX-License-Identifier: GPL-2.0-only
"""The socket of a vfio-user server: framing, the version, descriptors, and its own commands, but no device.

One thread, one blocking socket. A card is a subclass of Card; each command of the client becomes a call of one of its
methods, and an OSError that it raises becomes an error reply. A card that does things by itself returns the time until
the next one from `wait`, which limits select.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION, GET_IO_FDS, GET_IRQ, SET_IRQS = range(1, 9)
REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, RESET, DIRTY_PAGES = range(9, 15)

HEADER = struct.Struct("<HHIII")
REPLY, NO_REPLY, ERROR = 1, 1 << 4, 1 << 5
LARGEST = 1 << 20  # bytes of data in one message
MIGRATION = (3, 1)  # type and subtype of the region


class Gone(Exception):
    """The client has closed the socket, or sends something that is not a message."""


@dataclass
class Region:
    """A region as in DEVICE_GET_REGION_INFO; areas are its mappable parts, from fd."""

    size: int
    kind: tuple[int, int] | None = None
    areas: list[tuple[int, int]] = field(default_factory=list)
    fd: int = -1
    flags: int = 3

    def info(self, index: int, room: int) -> tuple[bytes, list[int]]:
        caps: list[bytes] = []
        if self.kind:
            caps.append(struct.pack("<HHIII", 2, 1, 0, *self.kind))
        if self.areas:
            pairs = b"".join(struct.pack("<QQ", *area) for area in self.areas)
            caps.append(struct.pack("<HHIII", 1, 1, 0, len(self.areas), 0) + pairs)
        chain, at = b"", 32
        for n, cap in enumerate(caps):
            at += len(cap)
            chain += cap[:4] + struct.pack("<I", at if n + 1 < len(caps) else 0) + cap[8:]
        flags = self.flags | (4 if self.areas else 0) | (8 if caps else 0)
        whole = room >= 32 + len(chain)
        fixed = struct.pack("<IIIIQQ", 32 + len(chain), flags, index, 32 if caps and whole else 0, self.size, 0)
        if not whole:
            return fixed, []
        return fixed + chain, [self.fd] if self.areas else []


class Link:
    """A connection. Commands that come while a reply is awaited are kept for later."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.waiting: deque[tuple[int, int, int, bytes, list[int]]] = deque()
        self.peer_largest = LARGEST
        self.serial = 0

    def receive(self, count: int, fds: list[int]) -> bytes:
        whole = b""
        while len(whole) < count:
            try:
                data, extra, _, _ = self.sock.recvmsg(count - len(whole), socket.CMSG_SPACE(16 * 4))
            except ConnectionError as error:
                raise Gone from error
            for level, kind, cargo in extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(cargo[: len(cargo) - len(cargo) % numbers.itemsize])
                    fds.extend(numbers)
            if not data:
                raise Gone
            whole += data
        return whole

    def message(self) -> tuple[int, int, int, int, bytes, list[int]]:
        """The next message: number, command, flags, error, body, and descriptors."""
        fds: list[int] = []
        number, command, size, flags, error = HEADER.unpack(self.receive(16, fds))
        if not 16 <= size <= LARGEST + 4096:
            raise Gone
        return number, command, flags, error, self.receive(size - 16, fds) if size > 16 else b"", fds

    def send(self, number: int, command: int, flags: int, error: int, body: bytes, fds: Sequence[int] = ()) -> None:
        data = HEADER.pack(number, command, 16 + len(body), flags, error) + body
        cargo = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            sent = self.sock.sendmsg([data], cargo)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except OSError as trouble:
            raise Gone from trouble

    def ask(self, command: int, body: bytes) -> bytes:
        """Sends a command of the server and waits for its reply."""
        self.serial = (self.serial + 1) & 0xFFFF
        self.send(self.serial, command, 0, 0, body)
        while True:
            number, kind, flags, error, reply, fds = self.message()
            if flags & 15 == REPLY:
                for fd in fds:
                    os.close(fd)
                if (number, kind) == (self.serial, command):
                    if flags & ERROR:
                        raise OSError(error or errno.EIO, "the client refused")
                    return reply
            else:
                self.waiting.append((number, kind, flags, reply, fds))

    def put(self, address: int, data: bytes) -> None:
        """Writes memory of the client by messages."""
        step = min(self.peer_largest, LARGEST)
        for at in range(0, len(data), step):
            part = data[at : at + step]
            self.ask(DMA_WRITE, struct.pack("<QQ", address + at, len(part)) + part)

    def get(self, address: int, count: int) -> bytes:
        """Reads memory of the client by messages."""
        whole = b""
        step = min(self.peer_largest, LARGEST)
        for at in range(0, count, step):
            size = min(step, count - at)
            data = self.ask(DMA_READ, struct.pack("<QQ", address + at, size))[16:]
            if len(data) != size:
                raise OSError(errno.EIO, "short answer")
            whole += data
        return whole


class Card:
    """A device, as seen by the wire."""

    regions: list[Region]
    platform = False
    announced_page = 4096
    page = 4096  # of dirty bitmaps, as agreed with the client
    short_bitmap_refused = True  # if argsz has no room for it; otherwise, the reply is the fixed part alone
    link: Link

    def opened(self) -> None: ...
    def closed(self) -> None: ...
    def wait(self) -> float | None:
        return None

    def tick(self) -> None: ...
    def read(self, region: int, offset: int, count: int) -> bytes:
        raise NotImplementedError

    def write(self, region: int, offset: int, data: bytes) -> None:
        raise NotImplementedError

    def map(self, address: int, size: int, flags: int, fd: int, offset: int) -> None:
        """The descriptor (-1: none) belongs to the wire; a device that needs it longer duplicates it."""
        raise NotImplementedError

    def unmap(self, address: int, size: int) -> None:
        raise NotImplementedError

    def unmap_all(self) -> None:
        raise NotImplementedError

    def track(self, on: bool) -> None:
        raise NotImplementedError

    def bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        raise NotImplementedError

    def unmap_with_bitmap(self, address: int, size: int, page: int, room: int) -> bytes:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def error_body(self, command: int, body: bytes) -> bytes:
        return b""


def refuse(number: int = errno.EINVAL) -> OSError:
    return OSError(number, os.strerror(number))


def words(layout: str, body: bytes) -> tuple[int, ...]:
    if len(body) < struct.calcsize(layout):
        raise refuse()
    return struct.unpack_from(layout, body)


class Session:
    """One client, from its VERSION until it goes."""

    def __init__(self, card: Card, link: Link) -> None:
        self.card = card
        self.link = link
        self.agreed = False

    def version(self, body: bytes) -> bytes:
        major, minor = words("<HH", body)
        text = body[4:].split(b"\0", 1)[0]
        wants: object = json.loads(text) if text.strip() else {}
        caps = wants.get("capabilities", {}) if isinstance(wants, dict) else {}
        if not isinstance(caps, dict) or major != 0:
            raise refuse()
        largest = caps.get("max_data_xfer_size", LARGEST)
        self.link.peer_largest = largest if isinstance(largest, int) and 0 < largest <= LARGEST else LARGEST
        self.card.page = self.card.announced_page
        migration = caps.get("migration")
        page = migration.get("pgsize") if isinstance(migration, dict) else None
        if isinstance(page, int) and page >= 512 and page & (page - 1) == 0:
            self.card.page = min(self.card.page, page)
        mine = {"max_msg_fds": 4, "max_data_xfer_size": LARGEST, "migration": {"pgsize": self.card.announced_page}}
        self.agreed = True
        return struct.pack("<HH", major, min(minor, 1)) + json.dumps({"capabilities": mine}).encode() + b"\0"

    def unmap(self, body: bytes) -> bytes:
        argsz, flags, address, size = words("<IIQQ", body)
        if flags & ~3 or flags == 3 or argsz < 24:
            raise refuse()
        if flags == 2:
            if address or size:
                raise refuse()
            self.card.unmap_all()
        elif flags == 1:
            page, room = words("<24xQQ", body)
            if argsz < 40 or argsz - 40 < room:
                raise refuse()
            bits = self.card.unmap_with_bitmap(address, size, page, room)
            return struct.pack("<IIQQQQ", 40 + len(bits), flags, address, size, page, len(bits)) + bits
        else:
            self.card.unmap(address, size)
        return struct.pack("<IIQQ", 24, flags, address, size)

    def dirty_pages(self, body: bytes) -> bytes:
        argsz, flags = words("<II", body)
        if argsz < 8 or flags not in (1, 2, 4):
            raise refuse()
        if flags != 4:
            self.card.track(flags == 1)
            return b""
        address, size, page, room = words("<8xQQQQ", body)
        if argsz < 40 or (argsz - 40 < room and self.card.short_bitmap_refused):
            raise refuse()
        if argsz - 40 < room:
            return struct.pack("<IIQQQQ", 40 + room, flags, address, size, page, room)
        bits = self.card.bitmap(address, size, page, room)
        return struct.pack("<IIQQQQ", 40 + len(bits), flags, address, size, page, len(bits)) + bits

    def answer(self, command: int, body: bytes, fds: list[int]) -> tuple[bytes, list[int]]:
        card = self.card
        if command == VERSION:
            return self.version(body), []
        if not self.agreed:
            raise refuse()
        if command == REGION_READ:
            offset, region, count = words("<QII", body)
            if region >= len(card.regions) or not 0 < count <= LARGEST or offset + count > card.regions[region].size:
                raise refuse()
            return body[:16] + card.read(region, offset, count), []
        if command == REGION_WRITE:
            offset, region, count = words("<QII", body)
            if region >= len(card.regions) or not count or len(body) != 16 + count:
                raise refuse()
            if offset + count > card.regions[region].size:
                raise refuse()
            card.write(region, offset, body[16:])
            return body[:16], []
        if command == DMA_MAP:
            argsz, flags, offset, address, size = words("<IIQQQ", body)
            if argsz < 32 or flags & ~3 or not size or address + size > 1 << 64 or len(fds) > 1:
                raise refuse()
            card.map(address, size, flags, fds[0] if fds else -1, offset)
            return b"", []
        if command == DMA_UNMAP:
            return self.unmap(body), []
        if command == GET_INFO:
            (argsz,) = words("<I", body)
            if argsz < 16:
                raise refuse()
            irqs = 0 if card.platform else 5
            return struct.pack("<IIII", 16, 1 | (4 if card.platform else 2), len(card.regions), irqs), []
        if command == GET_REGION:
            argsz, _, index = words("<III", body)
            if argsz < 32 or index >= len(card.regions):
                raise refuse()
            return card.regions[index].info(index, argsz)
        if command == GET_IRQ:
            argsz, _, index = words("<III", body)
            if argsz < 16 or card.platform or index >= 5:
                raise refuse()
            return struct.pack("<IIII", 16, 0, index, 0), []
        if command == SET_IRQS:
            _, _, index, _, count = words("<IIIII", body)
            if card.platform or index >= 5 or count:
                raise refuse()
            return b"", []
        if command == RESET:
            card.reset()
            return b"", []
        if command == DIRTY_PAGES:
            return self.dirty_pages(body), []
        raise refuse(errno.EOPNOTSUPP)

    def handle(self, number: int, command: int, flags: int, body: bytes, fds: list[int]) -> None:
        error, reply, gifts = 0, b"", list[int]()
        try:
            reply, gifts = self.answer(command, body, fds)
        except OSError as trouble:
            error, reply = trouble.errno or errno.EIO, self.card.error_body(command, body)
        except (ValueError, TypeError, AttributeError, OverflowError, struct.error):
            error, reply = errno.EINVAL, self.card.error_body(command, body)
        finally:
            for fd in fds:
                os.close(fd)
        if not flags & NO_REPLY:
            self.link.send(number, command, REPLY | (ERROR if error else 0), error, reply, gifts)

    def run(self) -> None:
        link, card = self.link, self.card
        while True:
            time = card.wait()
            busy = bool(link.waiting)
            if time is not None and (time <= 0 or not (busy or select.select([link.sock], [], [], time)[0])):
                card.tick()
                continue
            if link.waiting:
                self.handle(*link.waiting.popleft())
                continue
            number, command, flags, _, body, fds = link.message()
            if flags & 15 == 0:
                self.handle(number, command, flags, body, fds)
            else:
                for fd in fds:
                    os.close(fd)


def leave(*_: object) -> None:
    raise SystemExit(0)


def broken_by() -> str:
    """The name given with --break=, or an empty one."""
    return next((a.partition("=")[2] for a in sys.argv[1:] if a.startswith("--break=")), "")


def serve(card: Card) -> None:
    """Serves one client after another at the path given with --socket-path=, until SIGTERM."""
    path = next((a.partition("=")[2] for a in sys.argv[1:] if a.startswith("--socket-path=")), "")
    if not path:
        sys.exit("usage: device.py --socket-path=PATH [--break=NAME]")
    signal.signal(signal.SIGTERM, leave)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        made = os.stat(path)
        listener.listen(4)
        try:
            while True:
                sock, _ = listener.accept()
                with sock, contextlib.suppress(Gone):
                    card.link = Link(sock)
                    card.opened()
                    Session(card, card.link).run()
                card.closed()
        finally:
            with contextlib.suppress(OSError):
                there = os.stat(path)
                if (there.st_dev, there.st_ino) == (made.st_dev, made.st_ino):
                    os.unlink(path)
