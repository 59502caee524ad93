# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF012 (what a class declares is never changed)
"""The server's side of vfio-user: one connection after another, one command after another.

Written from the protocol's specification alone: it imports nothing of this project, so that a mistake in the suite's
own reading of the protocol is not repeated here. A device is a subclass with a method for each command.
"""

from __future__ import annotations

import array
import errno
import json
import select
import socket
import struct
from collections import deque

VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
DEVICE_GET_INFO = 4
DEVICE_GET_REGION_INFO = 5
REGION_READ = 9
REGION_WRITE = 10
DMA_READ = 11
DMA_WRITE = 12
DEVICE_RESET = 13
DIRTY_PAGES = 14

REPLY, NO_REPLY, ERROR = 1, 0x10, 0x20

HEADER = struct.Struct("<HHIII")  # id, command, size, flags, error
ACCESS = struct.Struct("<QII")  # offset, region, count
DMA = struct.Struct("<QQ")  # address, count

#: A larger message ends the connection: no client has a reason to send one.
LARGEST = 4 << 20


class Refusal(Exception):
    """The command is answered with an error."""

    def __init__(self, number: int = errno.EINVAL, body: bytes = b"") -> None:
        super().__init__(number)
        self.number = number
        self.body = body


class Gone(Exception):
    """The client closed the connection, or the server wants to."""


class Wire:
    """A listening socket and at most one client. Subclasses have ``on_…`` methods, which return a reply's body.

    A method raises Refusal for an error, and may leave descriptors for the reply in ``self.attach``.
    """

    #: The capabilities in the reply to VERSION; styles change them.
    capabilities: dict[str, object] | None = {
        "max_msg_fds": 1,
        "max_data_xfer_size": 1 << 20,
        "migration": {"pgsize": 4096},
    }

    #: The methods, by command.
    METHODS = {
        VERSION: "on_version",
        DMA_MAP: "on_dma_map",
        DMA_UNMAP: "on_dma_unmap",
        DEVICE_GET_INFO: "on_device_info",
        DEVICE_GET_REGION_INFO: "on_region_info",
        REGION_READ: "on_region_read",
        REGION_WRITE: "on_region_write",
        DEVICE_RESET: "on_reset",
        DIRTY_PAGES: "on_dirty_pages",
    }

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.client: socket.socket
        self.backlog: deque[tuple[int, int, int, bytes, list[int]]] = deque()
        self.attach: list[int] = []
        self.number = 0

    # -- connections ----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve clients, one after another."""
        while True:
            self.client, _ = self.listener.accept()
            self.backlog.clear()
            self.opened()
            try:
                while True:
                    self.handle(*self.next())
            except (Gone, ConnectionError):
                pass
            self.client.close()
            self.closed()

    def opened(self) -> None:
        """A client connected."""

    def closed(self) -> None:
        """The client's connection ended."""

    def idle(self) -> float | None:
        """Do what the device does by itself; return the seconds until the next call, or None to wait for a command."""
        return None

    # -- messages -------------------------------------------------------------------------------------------------

    def next(self) -> tuple[int, int, int, bytes, list[int]]:
        """The next command: id, command, flags, body, descriptors."""
        while True:
            wait = self.idle()
            if self.backlog:
                return self.backlog.popleft()
            if wait is None or select.select([self.client], [], [], wait)[0]:
                return self.receive()

    def receive(self) -> tuple[int, int, int, bytes, list[int]]:
        """Receive a message."""
        descriptors = array.array("i")
        head, ancillary, _, _ = self.client.recvmsg(HEADER.size, socket.CMSG_SPACE(8 * descriptors.itemsize))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        if not head:
            raise Gone
        head += self.exactly(HEADER.size - len(head))
        number, command, size, flags, _ = HEADER.unpack(head)
        if not HEADER.size <= size <= LARGEST:
            raise Gone
        return number, command, flags, self.exactly(size - HEADER.size), list(descriptors)

    def exactly(self, count: int) -> bytes:
        """Receive the given number of bytes."""
        data = bytearray()
        while len(data) < count:
            piece = self.client.recv(count - len(data))
            if not piece:
                raise Gone
            data += piece
        return bytes(data)

    def handle(self, number: int, command: int, flags: int, body: bytes, descriptors: list[int]) -> None:
        """Carry out a command, and answer it."""
        if flags & 0xF:
            return  # an unexpected reply
        self.attach = []
        self.descriptors = descriptors
        try:
            method = getattr(self, self.METHODS.get(command, ""), None)
            if method is None:
                raise Refusal(errno.EOPNOTSUPP)
            reply = method(body)
        except struct.error:  # a body that is too short
            self.refuse(number, command, flags, Refusal(errno.EINVAL))
        except Refusal as refusal:
            self.refuse(number, command, flags, refusal)
        else:
            if not flags & NO_REPLY:
                self.send(number, command, REPLY, 0, self.body(command, body, reply))

    def body(self, command: int, request: bytes, reply: bytes) -> bytes:
        """The body of a successful reply; styles change it."""
        return reply

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        """Send an error reply: the header alone."""
        if not flags & NO_REPLY:
            self.send(number, command, REPLY | ERROR, refusal.number, refusal.body)

    def send(self, number: int, command: int, flags: int, error: int, body: bytes) -> None:
        """Send a whole message, with the descriptors in ``attach``."""
        message = HEADER.pack(number, command, HEADER.size + len(body), flags, error) + body
        sent = socket.send_fds(self.client, [message], self.attach) if self.attach else self.client.send(message)
        if sent < len(message):
            self.client.sendall(message[sent:])

    # -- the server's own commands --------------------------------------------------------------------------------

    def ask(self, command: int, body: bytes) -> bytes | None:
        """Send a command to the client; return the body of its answer, None for an error. The client's wait."""
        self.attach = []
        self.number = self.number + 1 & 0xFFFF
        self.send(self.number, command, 0, 0, body)
        while True:
            number, command_of, flags, answer, descriptors = self.receive()
            if flags & 0xF != REPLY:
                self.backlog.append((number, command_of, flags, answer, descriptors))
            elif (number, command_of) == (self.number, command):
                return None if flags & ERROR else answer

    def dma_write(self, address: int, data: bytes) -> bool:
        """Write the client's memory by messages; return whether all of it was accepted."""
        step = 1 << 16
        pieces = [(address + start, data[start : start + step]) for start in range(0, len(data), step)]
        return all(self.ask(DMA_WRITE, DMA.pack(at, len(piece)) + piece) is not None for at, piece in pieces)

    # -- VERSION --------------------------------------------------------------------------------------------------

    def on_version(self, body: bytes) -> bytes:
        """Agree on the major version, and name the capabilities."""
        major, minor = struct.unpack_from("<HH", body)
        if major != 0:
            raise Refusal(errno.EINVAL)
        if self.capabilities is None:
            return struct.pack("<HH", major, min(minor, 0))
        return (
            struct.pack("<HH", major, min(minor, 0)) + json.dumps({"capabilities": self.capabilities}).encode() + b"\0"
        )
