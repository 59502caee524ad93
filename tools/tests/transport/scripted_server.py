# SPDX-License-Identifier: GPL-2.0-only
"""A vfio-user server that sends exactly what a test's script says, right or wrong, byte by byte."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vfio_compliance.transport import VfioUser

#: Seconds per call, in tests that do not wait for the deadline.
AMPLE = 30.0

COMMAND, REPLY, NO_REPLY, ERROR = 0, 1, 16, 32
GOOD_VERSION = b'{"capabilities":{"max_msg_fds":4,"max_data_xfer_size":65536,"migration":{"pgsize":4096}}}\0'


#: A read of 4 bytes at 0x10 of region 9.
ACCESS = struct.pack("<QII", 0x10, 9, 4)


def version(**capabilities: object) -> bytes:
    """The payload of a VERSION reply with these capabilities."""
    return struct.pack("<HH", 0, 0) + json.dumps({"capabilities": capabilities}).encode() + b"\0"


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


#: What a server does with a client once the versions are exchanged.
Script = Callable[[Peer], None]

#: Starts a server with a script (and a VERSION reply, and the client's deadline); returns an open client of it.
Connect = Callable[..., VfioUser]


class ScriptedServer:
    """Serves clients in turn, in a thread. ``version`` is the whole payload of its VERSION reply."""

    def __init__(self, path: Path, script: Script, version: bytes | None = None) -> None:
        self._script = script
        self._version = struct.pack("<HH", 0, 0) + GOOD_VERSION if version is None else version
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and raise an error of the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(AMPLE)
        self._listener.close()
        assert not self._thread.is_alive(), "the script did not end"
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            with stream:
                try:
                    peer = Peer(stream)
                    request = peer.receive()
                    assert request.command == 1
                    peer.reply(request, self._version)
                    self._script(peer)
                except (EOFError, ConnectionError):
                    pass
                except BaseException as fault:
                    self._fault = fault
