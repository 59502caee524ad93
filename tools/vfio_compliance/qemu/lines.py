# SPDX-License-Identifier: GPL-2.0-only
"""Lines of text over a socket, each sent and awaited with a deadline. Both QMP and qtest use such lines.

There is a package for QMP (qemu.qmp), but not for qtest. It runs an event loop; here one order is given at a time, and
what counts is that each wait and each line has a limit.
"""

from __future__ import annotations

import select
import socket
import time

from ..common.words import counted
from .errors import Closed, Hung, Untried

#: The most bytes that a line may have.
LONGEST = 1 << 20


class Lines:
    """One end of a connection. The socket is owned, and closed by close()."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        """``name`` is the other end's name in messages."""
        self._socket, self.name = connection, name
        self._socket.setblocking(False)
        self._received = bytearray()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, line: str, deadline: float) -> None:
        """Send a line by ``deadline``, a time of time.monotonic(). Raises Closed, Hung."""
        rest = memoryview(line.encode() + b"\n")
        while rest:
            self._await(select.POLLOUT, deadline, "takes nothing")
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                continue
            except OSError:
                raise Closed(f"{self.name} has ended") from None

    def receive(self, deadline: float) -> str:
        """The next line. Raises Closed, Hung, and Untried for one that is too long."""
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > LONGEST:
                raise Untried(f"{self.name} sent a line of more than {counted(LONGEST, 'byte')}")
            self._await(select.POLLIN, deadline, "sends nothing")
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                raise Closed(f"{self.name} has ended")
            self._received += data
        line = self._received[:end].decode(errors="backslashreplace").strip()
        del self._received[: end + 1]
        return line

    def _await(self, what: int, deadline: float, otherwise: str) -> None:
        poll = select.poll()
        poll.register(self._socket, what)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise Hung(f"{self.name} {otherwise}")
