# SPDX-License-Identifier: GPL-2.0-only
"""One client's socket: whole messages in and out, and the device's own DMA requests in between."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from typing import NamedTuple

from . import wire

#: Receive all requested bytes in one call, as a rule; a descriptor in the stream may make it two.
_RECEIVE = socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL
_ANCILLARY = socket.CMSG_SPACE(wire.MAX_FDS * 4)
#: Commands that a client may send ahead while the device waits for its answer to a DMA request.
_MOST_AHEAD = 64


class Gone(Exception):
    """The client has closed the connection, or it is broken."""


class Breach(Exception):
    """The client sent something after which its messages can no longer be parsed; it is dropped."""


class Message(NamedTuple):
    """One message from the client. ``fds`` are owned by the receiver of the message."""

    ident: int
    command: int
    flags: int
    error: int
    body: bytes
    fds: tuple[int, ...]


class Connection:
    """Frames messages on a connected stream socket.

    Every method may raise Gone or Breach, after which only ``close`` is useful.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(True)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._ahead: deque[Message] = deque()
        self._last_ident = 0
        #: Most bytes of data that the client accepts in one message, as negotiated.
        self.peer_max_data = wire.MAX_DATA

    def close(self) -> None:
        """Close the socket and every descriptor received and not yet handed on."""
        while self._ahead:
            close_all(self._ahead.popleft().fds)
        self._sock.close()

    def ready(self, milliseconds: int) -> bool:
        """Wait up to the given time for a message; true if one (or the end) can be received."""
        return bool(self._ahead or self._poll.poll(milliseconds))

    def receive(self) -> Message:
        """The client's next command, waited for without a deadline."""
        if self._ahead:
            return self._ahead.popleft()
        message = self._next()
        if message.flags & wire.TYPE_MASK != wire.TYPE_COMMAND:
            close_all(message.fds)
            raise Breach("a reply came to which there was no request")
        return message

    def reply(self, message: Message, body: bytes, fd: int | None = None, data: bytes | memoryview = b"") -> None:
        """Answer a command with success: a body, followed by ``data``, which is not copied."""
        size = wire.HEADER.size + len(body) + len(data)
        head = wire.HEADER.pack(message.ident, message.command, size, wire.TYPE_REPLY, 0)
        self._send(head + body, fd, data)

    def refuse(self, message: Message, errno: int) -> None:
        """Answer a command with an error: the header alone."""
        self._send(wire.HEADER.pack(message.ident, message.command, 16, wire.TYPE_REPLY | wire.ERROR, errno))

    def ask(self, command: int, body: bytes) -> Message:
        """Send a request of the device's own and wait for the answer.

        The client may be inside a call and send nothing but the answer, or may have sent commands before it
        saw the request: those are kept, in order, for ``receive``.
        """
        self._last_ident = ident = self._last_ident + 1 & 0xFFFF
        self._send(wire.HEADER.pack(ident, command, 16 + len(body), wire.TYPE_COMMAND, 0) + body)
        while True:
            message = self._next()
            if message.flags & wire.TYPE_MASK == wire.TYPE_COMMAND:
                self._ahead.append(message)
                if len(self._ahead) > _MOST_AHEAD:
                    raise Breach("commands pile up while a DMA request waits for its answer")
                continue
            close_all(message.fds)
            if (message.ident, message.command) != (ident, command):
                raise Breach("a reply came to which there was no request")
            return message

    def _next(self) -> Message:
        head, fds = self._take(wire.HEADER.size)
        try:
            ident, command, size, flags, error = wire.HEADER.unpack(head)
            if not wire.HEADER.size <= size <= wire.MAX_MESSAGE:
                raise Breach(f"a message claims a size of {size} bytes")
            if flags & wire.TYPE_MASK > wire.TYPE_REPLY:
                raise Breach(f"a message is neither command nor reply (flags {flags:#x})")
            body = b""
            if size > wire.HEADER.size:
                # A sender may use two writes for the header and the body with its descriptors.
                body, more = self._take(size - wire.HEADER.size)
                fds += more
        except (Gone, Breach):
            close_all(fds)
            raise
        return Message(ident, command, flags, error, body, fds)

    def _take(self, length: int) -> tuple[bytes, tuple[int, ...]]:
        """Exactly the given number of bytes, and the descriptors that came with them."""
        data, fds = self._take_some(length)
        while len(data) < length:
            try:
                more, more_fds = self._take_some(length - len(data))
            except Gone:
                close_all(fds)
                raise
            data += more
            fds += more_fds
        return data, fds

    def _take_some(self, length: int) -> tuple[bytes, tuple[int, ...]]:
        try:
            data, ancillary, _, _ = self._sock.recvmsg(length, _ANCILLARY, _RECEIVE)
        except OSError as error:
            raise Gone from error
        fds: tuple[int, ...] = ()
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(content) // 4
                fds += struct.unpack(f"={count}i", content[: count * 4])
        if not data:
            close_all(fds)
            raise Gone
        return data, fds

    def _send(self, head: bytes, fd: int | None = None, data: bytes | memoryview = b"") -> None:
        try:
            rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", fd))]
            sent = self._sock.sendmsg([head, data], rights)
            for part in (head, data):
                if sent < len(part):
                    self._sock.sendall(memoryview(part)[sent:])
                sent = max(sent - len(part), 0)
        except OSError as error:
            raise Gone from error


def close_all(fds: tuple[int, ...]) -> None:
    """Close descriptors that came with a message."""
    for fd in fds:
        os.close(fd)
