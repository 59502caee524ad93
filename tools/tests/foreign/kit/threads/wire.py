# SPDX-License-Identifier: GPL-2.0-only
"""The server's side of vfio-user, with a thread that reads: it cuts the stream into messages and sorts them.

The client's requests go into one queue, its answers to the server's own commands into another. Everything else is done
by the main thread: it handles requests in turn, lets the device do what is due when none comes, and may ask the client
for its memory at any time, even in the middle of a request: answers are passed ahead of the waiting requests.

A device is a subclass of Device. The wire checks the form of requests; the device decides their meaning.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import queue
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

HEAD = struct.Struct("<HHIII")
ANSWER, SILENT, FAILED = 1, 16, 32  # in flags: the type, "no reply wanted", "the errno is valid"
VERSION, MAP, UNMAP, INFO, REGION, IRQ, SET_IRQS, READ, WRITE = 1, 2, 3, 4, 5, 7, 8, 9, 10
FETCH, STORE, RESET, DIRTY = 11, 12, 13, 14
TRANSFER = 1 << 20
LONGEST = TRANSFER + 4096
WRAP = 1 << 64


class Refusal(Exception):
    """The request is answered with an errno."""

    def __init__(self, number: int = errno.EINVAL) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Hangup(Exception):
    """The client is gone."""


@dataclass
class Message:
    number: int
    command: int
    flags: int
    error: int
    body: bytes
    files: list[int] = field(default_factory=list)

    def drop_files(self) -> None:
        for file in self.files:
            os.close(file)
        self.files = []


@dataclass
class Window:
    """A region: kind is the type and subtype of its capability, areas are the mappable parts of file."""

    size: int
    flags: int = 3
    kind: tuple[int, int] | None = None
    areas: tuple[tuple[int, int], ...] = ()
    file: int = -1


class Client:
    """One connection, its reader and its two queues."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.requests: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.piece = TRANSFER
        self.number = 0x4000
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        try:
            while True:
                files: list[int] = []
                number, command, size, flags, error = HEAD.unpack(self._exactly(HEAD.size, files))
                if not HEAD.size <= size <= LONGEST:
                    break
                message = Message(number, command, flags, error, self._exactly(size - HEAD.size, files), files)
                (self.answers if flags & 15 == ANSWER else self.requests).put(message)
        except (OSError, Hangup):
            pass
        self.answers.put(None)
        self.requests.put(None)

    def _exactly(self, size: int, files: list[int]) -> bytes:
        data = b""
        while len(data) < size:
            part, extra, _, _ = self.link.recvmsg(size - len(data), socket.CMSG_SPACE(4 * 16))
            for level, kind, content in extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(content[: len(content) // 4 * 4])
                    files += numbers
            if not part:
                for file in files:
                    os.close(file)
                raise Hangup
            data += part
        return data

    def send(self, data: bytes, file: int = -1) -> None:
        try:
            if file >= 0:
                data = data[socket.send_fds(self.link, [data], [file]) :]
            self.link.sendall(data)
        except OSError as broken:
            raise Hangup from broken

    def ask(self, command: int, bodies: Iterable[bytes], at_once: int = 4) -> list[bytes]:
        """Send commands, some of them in flight at once; return the answers in the order of the commands."""
        answers: list[bytes] = []
        under_way: list[int] = []
        failed = 0

        def take() -> None:
            nonlocal failed
            message = self.answers.get()
            if message is None:
                raise Hangup
            message.drop_files()
            if message.number != under_way.pop(0) or message.command != command:
                raise Hangup
            if message.flags & FAILED:
                failed = message.error or errno.EIO
            answers.append(message.body)

        for body in bodies:
            if len(under_way) == at_once:
                take()
            self.number = 0x4000 | (self.number + 1) & 0x3FFF
            self.send(HEAD.pack(self.number, command, HEAD.size + len(body), 0, 0) + body)
            under_way.append(self.number)
        while under_way:
            take()
        if failed:
            raise Refusal(failed)
        return answers

    def store(self, pieces: Iterable[tuple[int, bytes]], at_once: int = 4) -> None:
        self.ask(STORE, (struct.pack("<QQ", address, len(data)) + data for address, data in pieces), at_once)

    def fetch(self, pieces: Iterable[tuple[int, int]], at_once: int = 4) -> list[bytes]:
        wanted = list(pieces)
        bodies = self.ask(FETCH, (struct.pack("<QQ", *piece) for piece in wanted), at_once)
        if any(len(body) != 16 + size for body, (_, size) in zip(bodies, wanted, strict=True)):
            raise Refusal(errno.EIO)
        return [body[16:] for body in bodies]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.reader.join()
        self.link.close()
        for waiting in (self.requests, self.answers):
            while not waiting.empty():
                message = waiting.get()
                if message:
                    message.drop_files()


class Device:
    """The base of a device. All of it runs in the main thread."""

    flags = 1  # it can be reset
    regions = 9
    interrupts: tuple[tuple[int, int], ...] = ()  # for each index: flags, count
    page = 4096

    def __init__(self) -> None:
        self.client: Client | None = None

    def window(self, index: int) -> Window:
        raise NotImplementedError

    def read(self, region: int, offset: int, count: int) -> bytes:
        raise NotImplementedError

    def write(self, region: int, offset: int, data: bytes) -> None:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def opened(self) -> None:
        """A client has connected."""

    def closed(self) -> None:
        """It has gone: release everything of it."""
        raise NotImplementedError

    def due(self) -> float | None:
        """Do what is due; return the seconds until the next call, or None."""
        return None

    def map(self, address: int, size: int, flags: int, offset: int, file: int) -> None:
        """Memory of the client; the device must close the descriptor (-1: none)."""
        raise NotImplementedError

    def mapped(self, address: int, size: int) -> bool:
        """Whether exactly this range is one mapping."""
        raise NotImplementedError

    def unmap(self, address: int, size: int) -> None:
        raise NotImplementedError

    def unmap_all(self) -> None:
        raise NotImplementedError

    def tracking(self, on: bool) -> None:
        raise NotImplementedError

    def is_tracking(self) -> bool:
        raise NotImplementedError

    def dirty(self, address: int, pages: int) -> bytes:
        """One bit for each page of the range; a reported page is clean after that."""
        raise NotImplementedError

    def set_irqs(self, flags: int, index: int, start: int, count: int, data: bytes, files: list[int]) -> None:
        """The device must close the descriptors that it takes out of the list."""
        raise Refusal


class Desk:
    """Handles a client's requests one after another."""

    def __init__(self, device: Device, client: Client) -> None:
        self.device = device
        self.client = client
        self.file = -1  # goes with the answer
        self.commands: dict[int, Callable[[Message], bytes]] = {
            VERSION: self.version,
            MAP: self.map,
            UNMAP: self.unmap,
            INFO: self.info,
            REGION: self.region,
            IRQ: self.irq,
            SET_IRQS: self.set_irqs,
            READ: self.read,
            WRITE: self.write,
            RESET: self.reset,
            DIRTY: self.dirty,
        }

    def serve(self) -> None:
        while True:
            try:
                message = self.client.requests.get(timeout=self.device.due())
            except queue.Empty:
                continue
            if message is None:
                return
            error, body, self.file = 0, b"", -1
            try:
                command = self.commands.get(message.command)
                if not command or message.flags & 15:
                    raise Refusal(errno.ENOTSUP)
                body = command(message)
            except Refusal as refusal:
                error = refusal.number
            except struct.error:
                error = errno.EINVAL
            except Hangup:
                return
            except Exception:
                traceback.print_exc()
                error = errno.EIO
            message.drop_files()
            if message.flags & SILENT:
                continue
            flags = ANSWER | (FAILED if error else 0)
            body = b"" if error else body
            head = HEAD.pack(message.number, message.command, HEAD.size + len(body), flags, error)
            self.client.send(head + body, -1 if error else self.file)

    def version(self, message: Message) -> bytes:
        major, minor = struct.unpack_from("<HH", message.body)
        if major != 0:
            raise Refusal
        text = message.body[4:].split(b"\0")[0]
        try:
            theirs = json.loads(text or b"{}").get("capabilities", {})
            self.client.piece = max(1, min(TRANSFER, int(theirs.get("max_data_xfer_size", TRANSFER))))
            page = int(theirs.get("migration", {}).get("pgsize", Device.page))
        except (ValueError, AttributeError, TypeError):
            raise Refusal from None
        if page < 1 or page & (page - 1):
            raise Refusal
        self.device.page = min(page, Device.page)
        ours = {"max_msg_fds": 8, "max_data_xfer_size": TRANSFER, "migration": {"pgsize": Device.page}}
        return struct.pack("<HH", 0, min(minor, 1)) + json.dumps({"capabilities": ours}).encode() + b"\0"

    def info(self, message: Message) -> bytes:
        if struct.unpack_from("<I", message.body)[0] < 16:
            raise Refusal
        return struct.pack("<IIII", 16, self.device.flags, self.device.regions, len(self.device.interrupts))

    def region(self, message: Message) -> bytes:
        argsz, _, index, _ = struct.unpack_from("<IIII", message.body)
        if argsz < 32 or index >= self.device.regions:
            raise Refusal
        window = self.device.window(index)
        chain = b""
        if window.areas:
            later = 32 + 16 + 16 * len(window.areas) if window.kind else 0
            chain += struct.pack("<HHIII", 1, 1, later, len(window.areas), 0)
            chain += b"".join(struct.pack("<QQ", *area) for area in window.areas)
        if window.kind:
            chain += struct.pack("<HHIII", 2, 1, 0, *window.kind)
        whole = argsz >= 32 + len(chain)
        flags = window.flags | (4 if window.file >= 0 else 0) | (8 if chain else 0)
        self.file = window.file
        fixed = (32 + len(chain), flags, index, 32 if chain and whole else 0, window.size, 0)
        return struct.pack("<IIIIQQ", *fixed) + (chain if whole else b"")

    def irq(self, message: Message) -> bytes:
        argsz, _, index, _ = struct.unpack_from("<IIII", message.body)
        if argsz < 16 or index >= len(self.device.interrupts):
            raise Refusal
        flags, count = self.device.interrupts[index]
        return struct.pack("<IIII", 16, flags, index, count)

    def set_irqs(self, message: Message) -> bytes:
        argsz, flags, index, start, count = struct.unpack_from("<IIIII", message.body)
        if argsz < 20 or index >= len(self.device.interrupts) or start + count > self.device.interrupts[index][1]:
            raise Refusal
        self.device.set_irqs(flags, index, start, count, message.body[20:], message.files)
        return b""

    def _range(self, message: Message) -> tuple[int, int, int]:
        offset, region, count = struct.unpack_from("<QII", message.body)
        if region >= self.device.regions or not 0 < count <= TRANSFER:
            raise Refusal
        if offset + count > self.device.window(region).size:
            raise Refusal
        return offset, region, count

    def read(self, message: Message) -> bytes:
        offset, region, count = self._range(message)
        return message.body[:16] + self.device.read(region, offset, count)

    def write(self, message: Message) -> bytes:
        offset, region, count = self._range(message)
        if len(message.body) != 16 + count:
            raise Refusal
        self.device.write(region, offset, message.body[16:])
        return message.body[:16]

    def reset(self, _: Message) -> bytes:
        self.device.reset()
        return b""

    def map(self, message: Message) -> bytes:
        argsz, flags, offset, address, size = struct.unpack_from("<IIQQQ", message.body)
        page = self.device.page
        if argsz < 32 or not 0 < flags <= 3 or not size or (address | size) % page or address + size > WRAP:
            raise Refusal
        file = message.files.pop(0) if message.files else -1
        self.device.map(address, size, flags, offset, file)
        return b""

    def unmap(self, message: Message) -> bytes:
        argsz, flags, address, size = struct.unpack_from("<IIQQ", message.body)
        if argsz < 24 or flags > 2:
            raise Refusal
        if flags == 2:
            if address or size:
                raise Refusal
            self.device.unmap_all()
            return message.body[:24]
        bits = b""
        if flags:
            page, memory = struct.unpack_from("<QQ", message.body, 24)
            bits_size = self._bitmap_size(address, size, page, memory)
            if argsz < 40 + bits_size:
                raise Refusal
        if not self.device.mapped(address, size):
            raise Refusal(errno.ENOENT)
        if flags:
            bits = self.device.dirty(address, size // self.device.page).ljust(memory, b"\0")
        self.device.unmap(address, size)
        fixed = 40 if flags else 24
        return struct.pack("<II", fixed + len(bits), flags) + message.body[8:fixed] + bits

    def _bitmap_size(self, address: int, size: int, page: int, memory: int) -> int:
        """The bytes of the bitmap in the reply: those that the client has memory for."""
        if not self.device.is_tracking() or page != self.device.page or not size:
            raise Refusal
        if (address | size) % page or address + size > WRAP:
            raise Refusal
        if memory < (size // page + 63) // 64 * 8 or memory > TRANSFER:
            raise Refusal
        return memory

    def dirty(self, message: Message) -> bytes:
        argsz, flags = struct.unpack_from("<II", message.body)
        if argsz < 8 or flags not in (1, 2, 4):
            raise Refusal
        if flags != 4:
            self.device.tracking(flags == 1)
            return b""
        address, size, page, memory = struct.unpack_from("<QQQQ", message.body, 8)
        if argsz < 40:
            raise Refusal
        whole = 40 + self._bitmap_size(address, size, page, memory)
        fixed = struct.pack("<II", whole, flags) + message.body[8:40]
        if argsz < whole:
            return fixed
        return fixed + self.device.dirty(address, size // page).ljust(memory, b"\0")


def leave(*_: object) -> None:
    raise SystemExit(0)


def serve(make: Callable[[str], Device], breaks: tuple[str, ...]) -> None:
    """Listen at --socket-path, for one client after another, until SIGTERM."""
    path, broken = "", ""
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name == "--socket-path":
            path = value
        elif name == "--break" and value in breaks:
            broken = value
        else:
            raise SystemExit(f"what is {word}?")
    signal.signal(signal.SIGTERM, leave)
    device = make(broken)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(path)
    door.listen(8)
    while True:
        link, _ = door.accept()
        client = Client(link)
        device.client = client
        device.opened()
        try:
            Desk(device, client).serve()
        except Hangup:
            pass
        finally:
            device.client = None
            device.closed()
            client.close()
