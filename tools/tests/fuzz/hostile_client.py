# SPDX-License-Identifier: GPL-2.0-only
"""A client that sends half-right messages to the reference server."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from random import Random
from types import TracebackType
from typing import NamedTuple

from campaign import RIGHT, Campaign
from mutation import EDGES, mutate, number
from raw_client import (
    CONTROL,
    DEVICE_MEMORY,
    DMA_ADDRESS,
    DMA_LENGTH,
    DOORBELL,
    FAULT,
    LOAD_FAULT,
    MIGRATION,
    OFFSET,
    PENDING,
    PIN,
    PIN_ADDRESS,
    PIN_LENGTH,
    REGISTERS,
    SAVE_FAULT,
    SIZE,
    STATE,
)

HEADER = struct.Struct("<HHIII")
COMMANDS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 14, 0x8001)

#: Largest message that the server accepts.
_LARGEST = (1 << 20) + 4096
_PROBE = 0xA5A5
_DEADLINE = 30.0
_ADDRESSES = (0, 4096, 65536, 1 << 20, 1 << 40, (1 << 64) - 4096, (1 << 64) - 65536)
_SIZES = (0, 1, 4096, 8192, 65536, 1 << 20, 1 << 30, 1 << 62)


class Dropped(Exception):
    """The server has closed the connection."""


class Request(NamedTuple):
    """A request before it is spoilt."""

    command: int
    body: bytes
    descriptors: tuple[int, ...] = ()


class Descriptors:
    """One descriptor of each kind that a server may get."""

    def __init__(self) -> None:
        self.memory = os.memfd_create("memory")
        os.truncate(self.memory, 1 << 20)
        self._short = os.memfd_create("short")
        os.truncate(self._short, 4097)
        self._huge = os.memfd_create("huge")
        os.truncate(self._huge, 1 << 50)
        self._readable = os.open("/proc/self/exe", os.O_RDONLY)
        self._others = (
            *(os.open(path, os.O_RDWR) for path in ("/dev/null", "/dev/zero")),
            os.open("/", os.O_RDONLY | os.O_DIRECTORY),
            os.open("/", os.O_PATH),
            *os.pipe(),
        )

    def one(self, rng: Random) -> int:
        """One of them, mostly one that can be mapped."""
        good = (self.memory,) * 6 + (self._short, self._huge, self._readable)
        return rng.choice(good if rng.random() < 0.8 else self._others)

    def close(self) -> None:
        """Close them all."""
        for each in (self.memory, self._short, self._huge, self._readable, *self._others):
            os.close(each)


class HostileClient:
    """One connection; everything is sent by ``say``, and any reply is tolerated."""

    def __init__(self, path: str, rng: Random, campaign: Campaign, descriptors: Descriptors) -> None:
        self._rng = rng
        self._campaign = campaign
        self._descriptors = descriptors
        #: The share of wrong messages: the smaller it is, the further the others get.
        self._share = rng.choice((0.3, 0.6, 0.9))
        self._ident = 0
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(_DEADLINE)
        self._sock.connect(path)

    def __enter__(self) -> HostileClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def leave(self) -> None:
        """Hang up, and wait until the server has cleaned up after this client."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while self._sock.recv(1 << 20):
                pass
        except (ConnectionError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise

    def greet(self, request: Request) -> None:
        """Propose a version, right or wrong. Raises Dropped if there is no agreement."""
        message = HEADER.pack(0, request.command, 16 + len(request.body), 0, 0) + request.body
        self._campaign.add_input("version" if request.body.strip(b"\0") else RIGHT, message)
        self._send(message)
        self._campaign.add_outcome("refused" if self._answer()[3] else "accepted")

    def say(self, request: Request) -> None:
        """Send a request, right or wrong, then a right one, and read the replies. Raises Dropped."""
        kind, message, descriptors = self._spoilt(request)
        self._campaign.add_input(kind, message + b"".join(b" fd" for _ in descriptors))
        whole = _all_whole(message)
        self._send(message, descriptors)
        if not whole:
            self._campaign.add_outcome("left half sent")
            self.leave()
            raise Dropped
        self._send(HEADER.pack(_PROBE, 4, 32, 0, 0) + struct.pack("<IIII", 16, 0, 0, 0))
        while True:
            ident, command, flags, error = self._answer()
            if (ident, command) == (_PROBE, 4):
                assert (flags, error) == (1, 0), "the right message was refused"
                return
            self._campaign.add_outcome("refused" if flags & 0x20 else "accepted")

    # Sending.

    def _spoilt(self, request: Request) -> tuple[str, bytes, tuple[int, ...]]:
        rng = self._rng
        self._ident = self._ident + 1 & 0xFFFF
        command, body, descriptors = request
        head = HEADER.pack(self._ident, command, 16 + len(body), 0, 0)
        if rng.random() > self._share:
            return RIGHT, head + body, descriptors
        choice = rng.random()
        if choice < 0.1:
            given = tuple(self._descriptors.one(rng) for _ in range(rng.choice((1, 1, 2, 3, 9, 200))))
            return "descriptors", head + body, given
        if choice < 0.7:
            kind, body = mutate(rng, body)
            return f"body {kind}", HEADER.pack(self._ident, command, 16 + len(body), 0, 0) + body, descriptors
        if choice < 0.8:
            fields = [self._ident, command, 16 + len(body), 0, 0]
            at = rng.randrange(5)
            fields[at] = number(rng, (2, 2, 4, 4, 4)[at])
            return f"header {('id', 'command', 'size', 'flags', 'error')[at]}", HEADER.pack(*fields) + body, descriptors
        if choice < 0.88:
            return "flags", HEADER.pack(self._ident, command, 16 + len(body), rng.randrange(64), 0) + body, descriptors
        if choice < 0.92:
            cut = rng.randrange(16 + len(body))
            return "half", (head + body)[: cut or 1], descriptors
        if choice < 0.95:
            junk = rng.randbytes(rng.choice((1, 16, 33, 5000)))
            return "junk", junk, descriptors
        if choice < 0.97:
            return "twice", (head + body) * 2, descriptors
        kind, message = mutate(rng, head + body)
        return f"message {kind}", message or b"\0", descriptors

    def _send(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        try:
            if descriptors:
                sent = socket.send_fds(self._sock, [message], descriptors)
                message = message[sent:]
            self._sock.sendall(message)
        except ConnectionError:
            self._campaign.add_outcome("dropped")
            raise Dropped from None

    # Receiving.

    def _answer(self) -> tuple[int, int, int, int]:
        """Id, command, flags and errno of the next reply; requests of the server before it are answered."""
        while True:
            ident, command, size, flags, error = HEADER.unpack(self._exactly(16))
            assert 16 <= size <= 16 + 4096 + (1 << 28) + 4096, f"a message of {size} bytes"
            left = size - 16
            body = self._exactly(min(left, 16))
            for _ in range(0, left - len(body), 1 << 20):
                left -= len(self._exactly(min(left - len(body), 1 << 20)))
            if flags & 0xF == 0:
                assert command == 12, f"the server sends command {command}"
                self._serve(ident, command, body)
                continue
            assert flags in (1, 0x21), f"flags {flags:#x} of a reply"
            assert (error > 0) == (flags == 0x21), f"errno {error} with flags {flags:#x}"
            assert error < 4096
            assert flags == 1 or size == 16, "an error with a body"
            return ident, command, flags, error

    def _serve(self, ident: int, command: int, body: bytes) -> None:
        """Answer a DMA_WRITE, mostly correctly."""
        rng = self._rng
        message = right = HEADER.pack(ident, command, 32, 1, 0) + body
        choice = rng.random()
        if choice < 0.5:
            self._send(message)
            return
        if choice < 0.7:
            kind, message = "DMA refused", HEADER.pack(ident, command, 16, 0x21, number(rng, 4))
        elif choice < 0.9:
            kind, message = mutate(rng, message)
            message = message or b"\0"
        else:  # commands before the reply
            kind = "DMA behind"
            ahead = HEADER.pack(7, rng.choice(COMMANDS), 16, 0x10, 0) * rng.choice((1, 2, 63, 64, 65))
            message = ahead + message
        self._campaign.add_input(f"reply {kind}", message)
        self._send(message)
        if not _all_whole(message):
            self._campaign.add_outcome("left half sent")
            self.leave()
            raise Dropped
        if all(flags & 0xF == 0 for _, flags in _messages(message)):
            self._send(right)  # there was no reply among these
        self._campaign.add_outcome("DMA answered")

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            try:
                more, received, _, _ = socket.recv_fds(self._sock, length - len(data), 8)
            except ConnectionError:
                more, received = b"", []
            for each in received:
                os.close(each)
            if not more:
                self._campaign.add_outcome("dropped")
                raise Dropped
            data += more
        return data


def _messages(stream: bytes) -> Iterator[tuple[int, int]]:
    """Size and flags of each message that the server finds in a stream, up to one that cannot be followed."""
    while len(stream) >= 16:
        _, _, size, flags, _ = HEADER.unpack_from(stream)
        yield size, flags
        if not 16 <= size <= _LARGEST or flags & 0xF > 1:
            return
        stream = stream[size:]


def _all_whole(stream: bytes) -> bool:
    """Whether a server that accepts all messages in a stream does not wait for the rest of the last one."""
    taken = 0
    for size, flags in _messages(stream):
        if not 16 <= size <= _LARGEST or flags & 0xF > 1:
            return True  # it reads no further
        taken += size
    return len(stream) == taken


# Requests that are right, or nearly so.


def requests(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    """Groups of requests that belong together, without end."""
    while True:
        yield from rng.choice(_PHRASES)(rng, descriptors)


def version(rng: Random) -> Request:
    """A proposal that may be valid."""
    capabilities: dict[str, object] = {
        "max_msg_fds": rng.choice((1, 0, 8, -1, 1.5, "1", None)),
        "max_data_xfer_size": rng.choice((1 << 20, 1, 4096, 0, 1 << 70, -5, [], "many")),
        "migration": rng.choice(({}, {"pgsize": 4096}, {"pgsize": rng.choice(EDGES)}, {"pgsize": "x"}, [], 3)),
        "container_info": rng.choice((True, 1, None)),
    }
    chosen = {key: value for key, value in capabilities.items() if rng.random() < 0.4}
    text = json.dumps(rng.choice(({"capabilities": chosen}, {"capabilities": chosen}, chosen, [chosen], 7)))
    text = rng.choice((text, text, text, "[" * 20000, "{", '{"capabilities":{"max_data_xfer_size":' + "9" * 5000))
    return Request(1, struct.pack("<HH", rng.choice((0, 0, 0, 1)), rng.choice((0, 1))) + text.encode() + b"\0")


def _write(region: int, offset: int, width: int, value: int) -> Request:
    data = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    return Request(10, struct.pack("<QII", offset, region, width) + data)


def _read(region: int, offset: int, count: int) -> Request:
    return Request(9, struct.pack("<QII", offset, region, count))


def _information(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    argsz = rng.choice((16, 32, 64, 88, 4096, number(rng, 4)))
    yield Request(4, struct.pack("<IIII", argsz, 0, 0, 0))
    yield Request(5, struct.pack("<IIIIQQ", argsz, 0, rng.choice((9, rng.randrange(12))), 0, 0, 0))
    yield Request(7, struct.pack("<IIII", argsz, 0, rng.randrange(6), 0))
    yield Request(8, struct.pack("<IIIII", argsz, rng.randrange(64), rng.randrange(6), 0, rng.randrange(3)) + bytes(8))
    yield Request(0x8001, struct.pack("<I", argsz).ljust(rng.choice((4, 24, 88, 4096, 5000)), b"\xee"))
    yield Request(rng.randrange(1 << 16), rng.randbytes(rng.randrange(64)))


def _registers(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    for _ in range(3):
        region, offset = rng.choice((0, 2, 7, 9)), rng.choice((rng.randrange(96), number(rng, 8)))
        width = rng.choice((1, 2, 4, 8, 8, rng.randrange(200)))
        yield _read(region, offset, rng.choice((width, number(rng, 4))))
        yield _write(region, offset, width, number(rng, 8))


def _states(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    for _ in range(3):
        yield _write(MIGRATION, STATE, 4, rng.choice((0, 1, 2, 3, 4, 5, 6, 7, number(rng, 4))))
    if rng.random() < 0.3:
        yield Request(13, b"")


def _save(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    yield _write(MIGRATION, STATE, 4, rng.choice((2, 3)))
    if rng.random() < 0.2:
        yield _write(REGISTERS, SAVE_FAULT, 4, rng.randrange(4))
    for _ in range(rng.randrange(8)):
        yield _read(MIGRATION, rng.choice((PENDING, OFFSET, SIZE)), 8)
        yield _read(MIGRATION, 4096 + rng.choice((0, number(rng, 2))), rng.choice((1, 16384, number(rng, 2))))


def _resume(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    yield _write(MIGRATION, STATE, 4, 4)
    if rng.random() < 0.2:
        yield _write(REGISTERS, LOAD_FAULT, 4, rng.randrange(4))
    for _ in range(rng.randrange(4)):
        data = rng.randbytes(rng.choice((1, 5, 64, 16384)))
        yield Request(10, struct.pack("<QII", 4096, MIGRATION, len(data)) + data)
        yield _write(MIGRATION, SIZE, 8, rng.choice((len(data), number(rng, 8))))
    yield _write(MIGRATION, STATE, 4, rng.choice((1, 0)))


def _memory(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    address, size = rng.choice(_ADDRESSES), rng.choice(_SIZES)
    given = (descriptors.one(rng),) if rng.random() < 0.7 else ()
    offset = rng.choice((0, 0, 0, 4096, number(rng, 8)))
    yield Request(2, struct.pack("<IIQQQ", 32, rng.choice((3, 3, 1, 2, 0, 7)), offset, address, size), given)
    if rng.random() < 0.5:
        yield _write(REGISTERS, DMA_ADDRESS, 8, address + rng.choice((0, 0, size - 8, number(rng, 2))))
        yield _write(REGISTERS, DMA_LENGTH, 4, rng.choice((1, 16, 4096, 65536)))
        yield _write(REGISTERS, rng.choice((DOORBELL, DOORBELL, CONTROL)), 4, rng.randrange(256))
    if rng.random() < 0.3:
        yield _write(REGISTERS, PIN_ADDRESS, 8, address)
        yield _write(REGISTERS, PIN_LENGTH, 4, rng.choice((4096, size & 0xFFFFFFFF)))
        yield _write(REGISTERS, PIN, 4, rng.choice((1, 2, 3)))
    yield from _dirty(rng, descriptors)
    if rng.random() < 0.5:
        flags = rng.choice((0, 1, 1, 2, 3))
        bitmap = struct.pack("<QQ", 4096, rng.choice((8, -(-size // 4096 // 64) * 8))) if flags & 1 else b""
        yield Request(3, struct.pack("<IIQQ", rng.choice((24, 40, 48, 1 << 20)), flags, address, size) + bitmap)


def _by_message(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    """Memory that the device reaches by messages."""
    address = rng.choice(_ADDRESSES)
    yield Request(2, struct.pack("<IIQQQ", 32, 3, 0, address, 65536))
    for _ in range(3):
        yield _write(REGISTERS, DMA_ADDRESS, 8, address + rng.choice((0, 0, 65520)))
        yield _write(REGISTERS, DMA_LENGTH, 4, rng.choice((1, 16, 4096, 65536)))
        yield _write(REGISTERS, rng.choice((DOORBELL, DOORBELL, CONTROL)), 4, 1)


def _dirty(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    yield Request(14, struct.pack("<II", rng.choice((8, 40, 0)), rng.choice((1, 1, 1, 2, 3, 8))))
    address, size = rng.choice(_ADDRESSES), rng.choice(_SIZES)
    room = min(rng.choice((8, 64, -(-size // 4096 // 64) * 8)), rng.choice((1 << 16,) * 30 + (1 << 28,)))
    yield Request(14, struct.pack("<IIQQQQ", 40 + room, 4, address, size, rng.choice((4096, 4096, 512, 1 << 21)), room))


def _device(rng: Random, descriptors: Descriptors) -> Iterator[Request]:
    data = rng.randbytes(rng.choice((1, 64, 4096, 65536, 1 << 20)))
    yield Request(10, struct.pack("<QII", rng.choice((0, 1, number(rng, 8))), DEVICE_MEMORY, len(data)) + data)
    yield _read(DEVICE_MEMORY, rng.choice((0, 65535, number(rng, 8))), rng.choice((65536, number(rng, 4))))
    yield _write(REGISTERS, FAULT, 4, rng.randrange(4))


_PHRASES = (_information, _registers, _states, _save, _resume, _memory, _memory, _by_message, _device)
