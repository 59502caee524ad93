# SPDX-License-Identifier: GPL-2.0-only
"""The reference device behind a server like those of other authors: styled.py SOCKET STYLE...

=================  ==================================================================================================
messages           it accepts no descriptors, so it writes memory only by messages
both               every second page is written by a message
forgets-messages   pages written by messages are not in its bitmap
forgets-mapped     pages written through mappings are not in its bitmap
body               an error reply has a body as large as that of a good reply
echo               a reply without a payload repeats its request
no-errno           an error reply has no errno, except in replies to writes
busy               information is refused after any other request
no-migration       its VERSION does not mention migration
small              it transfers at most 4096 bytes in a message
plain              it does not offer container_info
=================  ==================================================================================================
"""

from __future__ import annotations

import json
import sys
from typing import ClassVar

from on_reference import command_line, serve

from refdriver.container import memory
from refdriver.socket import connection, server, session, wire

ROOM = 4096


class Connection(connection.Connection):
    """A connection in some of these styles."""

    styles: ClassVar[set[str]] = set()
    busy = False

    def receive(self) -> connection.Message:
        message = super().receive()
        self.busy |= message.command not in (wire.VERSION, wire.DEVICE_GET_INFO, wire.DEVICE_GET_REGION_INFO)
        return message

    def refuse(self, message: connection.Message, errno: int) -> None:
        if "no-errno" in self.styles and message.command != wire.REGION_WRITE:
            errno = 0
        body = bytes(max(24, len(message.body))) if "body" in self.styles else b""
        head = wire.HEADER.pack(message.ident, message.command, 16 + len(body), wire.TYPE_REPLY | wire.ERROR, errno)
        self._send(head + body)

    def reply(
        self, message: connection.Message, body: bytes, fd: int | None = None, data: bytes | memoryview = b""
    ) -> None:
        informs = message.command in (wire.DEVICE_GET_INFO, wire.DEVICE_GET_REGION_INFO)
        if informs and self.busy and "busy" in self.styles:
            self.refuse(message, 16)
        elif "echo" in self.styles and not body and not data:
            super().reply(message, message.body or b"echo", fd)
        else:
            super().reply(message, body, fd, data)


def greeting(minor: int, most: int = wire.MAX_DATA) -> bytes:
    """The reply to VERSION."""
    styles = Connection.styles
    capabilities: dict[str, object] = {
        "max_msg_fds": 0 if "messages" in styles else 1,
        "max_data_xfer_size": ROOM if "small" in styles else most,
        "container_info": "plain" not in styles,
    }
    if "no-migration" not in styles:
        capabilities["migration"] = {"pgsize": 4096}
    return wire.VERSION_HEAD.pack(0, minor) + json.dumps({"capabilities": capabilities}).encode() + b"\0"


def by_message(mapping: memory.Mapping, at: int) -> bool:
    """Whether a write to a mapping is sent as a message."""
    odd = (mapping.address + at) // 4096 % 2
    return mapping._content is None or ("both" in Connection.styles and bool(odd))


def write(self: memory.Mapping, at: int, data: bytes, peer: connection.Connection) -> None:
    """Replaces Mapping.write: writes page by page."""
    while data:
        piece = data[: 4096 - (self.address + at) % 4096]
        if by_message(self, at):
            memory._ask_to_write(self.address + at, piece, peer)
        else:
            assert self._content is not None
            self._content[at : at + len(piece)] = piece
        at, data = at + len(piece), data[len(piece) :]


def recorded(self: memory.GuestMemory, address: int, length: int) -> None:
    """Replaces the tracker's wrote(): records what is not forgotten."""
    end = address + length
    while address < end:
        piece = min(end, (address // 4096 + 1) * 4096) - address
        mapping = self._at(address)
        assert mapping is not None
        style = "forgets-messages" if by_message(mapping, address - mapping.address) else "forgets-mapped"
        if style not in Connection.styles:
            self.dirty.wrote_before(address, piece)  # type: ignore[attr-defined]
        address += piece


def attach(self: memory.GuestMemory, peer: connection.Connection) -> None:
    """Replaces GuestMemory.attach()."""
    self._peer = peer
    if not hasattr(self.dirty, "wrote_before"):
        self.dirty.wrote_before = self.dirty.wrote  # type: ignore[attr-defined]
        self.dirty.wrote = lambda *arguments: recorded(self, *arguments)  # type: ignore[method-assign]


def main() -> int:
    path, styles, options = command_line()
    Connection.styles = set(styles)
    replaced: dict[tuple[object, str], object] = {
        (server, "Connection"): Connection,
        (session, "greeting"): greeting,
        (memory.Mapping, "write"): write,
        (memory.GuestMemory, "attach"): attach,
    }
    return serve(path, options, replaced)


if __name__ == "__main__":
    sys.exit(main())
