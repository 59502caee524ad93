# SPDX-License-Identifier: GPL-2.0-only
"""A server's end of a vfio-user connection: messages as they are, without the client of the suite."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

#: The flags of a message.
COMMAND, REPLY, NO_REPLY, ERROR = 0, 1, 16, 32


class Request(NamedTuple):
    """One message from the client."""

    id: int
    command: int
    flags: int
    error: int
    payload: bytes
    descriptors: tuple[int, ...]


class Peer:
    """The server's end of a connection."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream

    def receive(self) -> Request:
        """The next message, whose descriptors are closed at once; EOFError if the client is gone."""
        descriptors: list[int] = []
        header = self._exactly(16, descriptors)
        number, command, size, flags, error = struct.unpack("<HHIII", header)
        payload = self._exactly(size - 16, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return Request(number, command, flags, error, payload, tuple(descriptors))

    def send(
        self,
        number: int,
        command: int,
        payload: bytes = b"",
        flags: int = REPLY,
        error: int = 0,
        size: int | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Send one message; ``size`` is the size in its header, by default the true one."""
        header = struct.pack("<HHIII", number, command, 16 + len(payload) if size is None else size, flags, error)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.stream.sendmsg([header + payload], ancillary)

    def reply(self, request: Request, payload: bytes = b"", **rest: int) -> None:
        """Send the reply to a request, with this payload."""
        self.send(request.id, request.command, payload, **rest)  # type: ignore[arg-type]

    def wait_for_end(self) -> None:
        """Wait until the client hangs up."""
        while self.stream.recv(65536):
            pass

    def _exactly(self, count: int, descriptors: list[int]) -> bytes:
        data = b""
        while len(data) < count:
            piece, ancillary, _, _ = self.stream.recvmsg(count - len(data), 2048)
            for _, _, content in ancillary:
                numbers = array.array("i")
                numbers.frombytes(content)
                descriptors.extend(numbers)
            if not piece:
                raise EOFError
            data += piece
        return data
