# SPDX-License-Identifier: GPL-2.0-only
"""A vfio-user server that sends exactly what a test's script says, right or wrong, byte by byte."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from peer import Peer

from vfio_compliance.transport import VfioUser

#: Seconds per call, in tests that do not wait for the deadline.
AMPLE = 30.0

GOOD_VERSION = b'{"capabilities":{"max_msg_fds":4,"max_data_xfer_size":65536,"migration":{"pgsize":4096}}}\0'


#: A read of 4 bytes at 0x10 of region 9.
ACCESS = struct.pack("<QII", 0x10, 9, 4)


def version(**capabilities: object) -> bytes:
    """The payload of a VERSION reply with these capabilities."""
    return struct.pack("<HH", 0, 0) + json.dumps({"capabilities": capabilities}).encode() + b"\0"


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
