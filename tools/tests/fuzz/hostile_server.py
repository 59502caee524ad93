# SPDX-License-Identifier: GPL-2.0-only
"""The reference device behind a server that spoils its replies on their way to the client.

All of it runs in the client's thread: the replies are there before its call to send returns, so that a case can be
repeated exactly.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from random import Random

from campaign import RIGHT, Campaign
from mutation import EDGES, mutate, number

from refdriver.driver import Driver, build
from refdriver.options import Options, values_of
from refdriver.socket.connection import Message
from refdriver.socket.session import Session
from vfio_compliance.transport import VfioUser, VfioUserSettings

HEADER = struct.Struct("<HHIII")

#: Seconds of a call while replies are spoilt, and may be missing; and of a call that must succeed.
_SHORT, AMPLE = 0.01, 30.0
_ANCILLARY = socket.CMSG_SPACE(16 * 4)
_REPLY, _NO_REPLY, _ERROR = 1, 16, 32


class Wire(socket.socket):
    """The client's end. A message and its reply have arrived before the call to send returns."""

    def __init__(self, end: socket.socket, server: HostileServer, piece: int) -> None:
        super().__init__(fileno=end.detach())
        self._server = server
        self._piece = piece

    def sendmsg(self, *arguments):  # type: ignore[no-untyped-def]
        """Send; then the server answers."""
        sent = super().sendmsg(*arguments)
        self._server.attend()
        return sent

    def recvmsg(self, size, room=0, flags=0):  # type: ignore[no-untyped-def]
        """Receive at most a piece; what did not fit into the socket before follows."""
        self._server.flush()
        return super().recvmsg(min(size, self._piece), room, flags & ~socket.MSG_WAITALL)

    def close(self) -> None:
        """Close both ends, and the device."""
        super().close()
        self._server.close()


class Client(VfioUser):
    """A client whose server is hostile while ``spoil`` is set."""

    def __init__(self, campaign: Campaign) -> None:
        super().__init__(VfioUserSettings("none", None, AMPLE, AMPLE))
        self._campaign = campaign
        self._spoil: Random | None = None
        self._drivers = [build(Options(data_section=kind)) for kind in values_of("data_section")]

    def spoil(self, rng: Random | None) -> None:
        """Spoil replies from the next open() on; with None, no longer."""
        self._spoil = rng
        self.settings = VfioUserSettings("none", None, AMPLE if rng is None else _SHORT, AMPLE)

    def _connect(self) -> socket.socket:
        rng = self._spoil
        return HostileServer(rng, self._campaign, rng.choice(self._drivers) if rng else self._drivers[0]).client


class _Exchange:
    """The reference server's connection without a socket: one message in, one out."""

    peer_max_data = 1 << 20

    def __init__(self) -> None:
        self._message = Message(0, 0, 0, 0, b"", ())
        self.answer: tuple[bytes, tuple[int, ...]] = b"", ()

    def put(self, message: bytes, descriptors: tuple[int, ...]) -> Message:
        """Set the message that receive() returns."""
        ident, command, _, flags, error = HEADER.unpack_from(message)
        self._message = Message(ident, command, flags, error, message[16:], descriptors)
        return self._message

    def receive(self) -> Message:
        return self._message

    def reply(self, message: Message, body: bytes, fd: int | None = None, data: bytes | memoryview = b"") -> None:
        head = HEADER.pack(message.ident, message.command, 16 + len(body) + len(data), _REPLY, 0)
        self.answer = head + body + data, () if fd is None else (fd,)

    def refuse(self, message: Message, errno: int) -> None:
        self.answer = HEADER.pack(message.ident, message.command, 16, _REPLY | _ERROR, errno), ()


class _Session(Session):
    """The reference server's session, step by step."""

    def __init__(self, driver: Driver) -> None:
        self._exchange = _Exchange()
        super().__init__(driver, self._exchange)  # type: ignore[arg-type]
        self._greeted = False

    def answer(self, message: bytes, descriptors: tuple[int, ...]) -> tuple[bytes, tuple[int, ...]]:
        """The server's reply to a message, and its descriptors, which the server still owns."""
        received = self._exchange.put(message, descriptors)
        if self._greeted:
            self._carry_out(received)
        else:
            self._greet()
        self._greeted = True
        return self._exchange.answer


class HostileServer:
    """One connection. Without ``rng``, nothing is spoilt."""

    def __init__(self, rng: Random | None, campaign: Campaign, driver: Driver) -> None:
        self._rng = rng
        self._campaign = campaign
        self._share = rng.choice((0.2, 0.5, 0.9)) if rng else 0.0
        near, self._near = socket.socketpair()
        self._near.setblocking(False)
        piece = rng.choice((1 << 20, 1 << 20, 1 << 20, 1000, 50)) if rng else 1 << 20
        #: The client's end.
        self.client = Wire(near, self, piece)
        self._from_client = b""
        self._given: list[int] = []
        self._to_client: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._hung_up = False
        self._device = driver.device
        self._device.reset()
        self._device.open()
        self._session = _Session(driver)

    def close(self) -> None:
        """Close both ends, and the device."""
        self._near.close()
        for descriptor in self._given:
            os.close(descriptor)
        self._given.clear()
        self._device.close()

    def attend(self) -> None:
        """Read what the client has sent, and answer whole messages."""
        while not self._hung_up:
            try:
                piece, descriptors, _, _ = socket.recv_fds(self._near, 1 << 20, 16)
            except BlockingIOError:
                break
            self._from_client += piece
            self._given += descriptors
            if not piece:
                break
        while len(self._from_client) >= 16:
            _, _, size, flags, _ = HEADER.unpack_from(self._from_client)
            if len(self._from_client) < size:
                break
            message, self._from_client = self._from_client[:size], self._from_client[size:]
            if flags & 0xF == 0:  # others are replies to requests of the server's own
                self._answer(message)
        self.flush()

    def flush(self) -> None:
        """Send the client as much as it has room for."""
        while self._to_client:
            message, descriptors = self._to_client[0]
            try:
                sent = socket.send_fds(self._near, [message], descriptors)
            except BlockingIOError:
                return
            except OSError:  # the client has hung up
                self._to_client.clear()
                return
            if sent < len(message):
                self._to_client[0] = message[sent:], ()
            else:
                self._to_client.popleft()
        if self._hung_up:
            self._near.close()

    def _answer(self, message: bytes) -> None:
        """Have the device answer, and pass the reply on, or something else."""
        given, self._given = tuple(self._given), []
        right, descriptors = self._session.answer(message, given)
        rng = self._rng
        if rng is None or rng.random() > self._share:
            if rng:
                self._campaign.add_input(RIGHT, right[:200])
            self._send(right, *descriptors)
        else:
            self._spoil(rng, right[:16], right[16:], descriptors)

    def _send(self, message: bytes, *descriptors: int) -> None:
        """The caller keeps the descriptors open until they are sent."""
        self._to_client.append((message, descriptors))
        self.flush()

    def _hang_up(self) -> None:
        self._hung_up = True
        self.flush()

    # Spoilt replies.

    def _spoil(self, rng: Random, head: bytes, body: bytes, descriptors: tuple[int, ...]) -> None:
        ident, command, size, flags, error = HEADER.unpack(head)
        choice = rng.random()
        if command in (3, 14) and len(body) >= 40 and rng.random() < 0.3:
            choice = 1.0  # a bitmap: rarely
        right = head + body
        if choice < 0.35 and body:
            kind, body = mutate(rng, body)
            message = HEADER.pack(ident, command, 16 + len(body), flags, error) + body
            self._send_spoilt(f"body {kind}", message, *descriptors)
        elif choice < 0.45:
            fields = [ident, command, size, flags, error]
            at = rng.randrange(5)
            fields[at] = number(rng, (2, 2, 4, 4, 4)[at])
            name = ("id", "command", "size", "flags", "error")[at]
            self._send_spoilt(f"header {name}", HEADER.pack(*fields) + body, *descriptors)
        elif choice < 0.52:
            errno = rng.choice((rng.randrange(200), number(rng, 4)))
            body = bytes(rng.choice((0, 0, len(body), 4096, 1 << 20)))
            self._send_spoilt("error", HEADER.pack(ident, command, 16 + len(body), _REPLY | _ERROR, errno) + body)
        elif choice < 0.57:
            self._send_spoilt("less data", *_shrunk(rng, ident, command, body), *descriptors)
        elif choice < 0.63:
            kind, message = mutate(rng, right)
            self._send_spoilt(f"message {kind}", message or b"\0", *descriptors)
            if rng.random() < 0.9:
                self._hang_up()
        elif choice < 0.68:
            self._send_spoilt("half and an end", right[: rng.randrange(len(right))])
            self._hang_up()
        elif choice < 0.69:
            self._send_spoilt("half", right[: rng.randrange(len(right))])
        elif choice < 0.73:
            self._send_spoilt("twice", right * 2, *descriptors)
        elif choice < 0.78:
            self._descriptors(rng, right)
        elif choice < 0.9:
            for _ in range(rng.choice((1, 1, 2, 5))):
                self._send_spoilt("request", _request(rng))
            self._send(right, *descriptors)
        else:
            self._send_spoilt("structure", *_restructured(rng, ident, command, body), *descriptors)

    def _send_spoilt(self, kind: str, message: bytes, *descriptors: int) -> None:
        self._campaign.add_input(kind, message)
        self._send(message, *descriptors)

    def _descriptors(self, rng: Random, message: bytes) -> None:
        count = rng.choice((1, 1, 2, 8, 9, 200))
        path = rng.choice(("/dev/null", "/dev/zero", "/", "/proc/self/exe", "/proc/self/mem"))
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._send_spoilt(f"{count} descriptors", message, *[descriptor] * count)
        finally:
            os.close(descriptor)


def _request(rng: Random) -> bytes:
    """An unexpected request of the server, right or wrong."""
    command = rng.choice((11, 11, 12, 12, rng.randrange(20), number(rng, 2)))
    address = rng.choice((0xFFC, 0x1000, 0x2FFC, 0x8000, number(rng, 8)))
    count = rng.choice((0, 1, 8, 4096, 8192, 8193, number(rng, 8)))
    data = bytes(min(count, 1 << 16)) if command == 12 else b""
    body = struct.pack("<QQ", address, count) + data
    head = HEADER.pack(number(rng, 2), command, 16 + len(body), rng.choice((0, 0, 0, _NO_REPLY, _REPLY)), 0)
    return mutate(rng, head + body)[1] if rng.random() < 0.05 else head + body


def _shrunk(rng: Random, ident: int, command: int, body: bytes) -> tuple[bytes]:
    """The reply with less or more at its end, and sizes that agree or do not."""
    body = body[: len(body) * rng.randrange(8) // 8] if rng.random() < 0.6 else body + bytes(rng.choice((1, 8, 4096)))
    if command == 9 and rng.random() < 0.7 and len(body) >= 16:
        body = body[:12] + (len(body) - 16).to_bytes(4, "little") + body[16:]
    return (HEADER.pack(ident, command, 16 + len(body), _REPLY, 0) + body,)


def _restructured(rng: Random, ident: int, command: int, body: bytes) -> tuple[bytes]:
    """A reply with an inner structure, which is wrong although its framing is right."""
    if command == 1:
        capability = rng.choice(("max_msg_fds", "max_data_xfer_size", "migration", "container_info", "capabilities"))
        value = rng.choice((b"0", b"-1", b"1", b"7", b"1e9", b"null", b'"x"', b"[]", b'{"pgsize":3}', b"9" * 5000))
        body = bytes(4) + b'{"capabilities":{"' + capability.encode() + b'":' + value + b"}}\0"
    elif command == 5 and len(body) >= 32:
        body = region_info(rng, body)
    elif command == 4:
        body = body[:8] + rng.choice((number(rng, 4), rng.randrange(20))).to_bytes(4, "little") + body[12:]
    elif command == 0x8001:
        body = type1_info(rng)
    elif command in (3, 14) and len(body) >= 40:
        body = body[:40] + rng.randbytes(rng.choice((0, 1, 7, 8, 9, 16, 512, 4096)))
    elif len(body) > 16:
        body = body[:16] + b"".join(rng.choice(EDGES).to_bytes(8, "little") for _ in range(len(body) - 16 >> 3))
    return (HEADER.pack(ident, command, 16 + len(body), _REPLY, 0) + body,)


def region_info(rng: Random, body: bytes) -> bytes:
    """Any region with the right index, and an absurd chain."""
    index = body[8:12]
    links = _chain(rng, 32, rng.randrange(300))
    size, offset = number(rng, 8), rng.choice((0, number(rng, 8)))
    flags = rng.choice((7, 15, 15, 15, number(rng, 4)))
    argsz = rng.choice((32 + len(links), 32 + len(links), number(rng, 4)))
    first = rng.choice((32, 32, rng.randrange(64)))
    return struct.pack("<II", argsz, flags) + index + struct.pack("<IQQ", first, size, offset) + links


def type1_info(rng: Random) -> bytes:
    """Any information about a container."""
    links = _chain(rng, 24, rng.randrange(200))
    argsz, flags = rng.choice((24 + len(links), number(rng, 4))), rng.choice((3, 3, 3, number(rng, 4)))
    return struct.pack("<IIQII", argsz, flags, number(rng, 8), rng.choice((24, 24, rng.randrange(100))), 0) + links


def _chain(rng: Random, start: int, room: int) -> bytes:
    """Capabilities with known ids, good or bad, linked in any way."""
    links = b""
    while len(links) < room:
        ident, version = rng.choice((1, 2, 3, number(rng, 2))), rng.choice((1, 1, 0, number(rng, 2)))
        content = b"".join(
            rng.choice((1, 3, rng.randrange(20), number(rng, 4))).to_bytes(4, "little")
            for _ in range(rng.choice((0, 1, 2, 6, 10)))
        )
        end = start + len(links) + 8 + len(content)
        following = rng.choice((end, end, end, end, 0, start, number(rng, 4), rng.randrange(start, end + 64)))
        links += struct.pack("<HHI", ident, version, following) + content
    return links + bytes(rng.choice((0, 0, 3)))
