# SPDX-License-Identifier: GPL-2.0-only
"""A vfio-user server that describes an absurd device, and may refuse, hang or close the connection."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from peer import Peer, Request

GET_INFO, REGION_INFO, READ = 4, 5, 9
PCI, RESET = 2, 1
CAN_ALL, CAPS = 7, 8
MIGRATION = 1

#: Ids of capabilities, and the end of a chain.
SPARSE, TYPE, END = 1, 2, 0


def capability(kind: int, following: int, *numbers: int) -> bytes:
    """A capability whose content is numbers of 64 bits."""
    return struct.pack("<HHI", kind, 1, following) + struct.pack(f"<{len(numbers)}Q", *numbers)


def type_of(region: int, subtype: int) -> int:
    """The type and the subtype of a region as one number."""
    return region | subtype << 32


@dataclass
class AbsurdDevice:
    """A device of two regions, of which the second is for migration. ``ends`` says at which request the server fails.

    ``asked`` has the commands so far.
    """

    regions: int = 2
    flags: int = RESET
    size: int = 0x3000
    capabilities: bytes = capability(TYPE, END, type_of(3, 1))
    first: int = 32
    state: bytes = struct.pack("<I", 1)
    ends: Mapping[int, str] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.receive()
            self.asked.append(request.command)
            match self.ends.get(len(self.asked)):
                case "leave":
                    return
                case "be silent":
                    peer.wait_for_end()
                    return
                case "refuse":
                    peer.send(request.id, request.command, flags=33, error=5)
                    continue
            self._answer(peer, request)

    def _answer(self, peer: Peer, request: Request) -> None:
        if request.command == GET_INFO:
            peer.reply(request, struct.pack("<IIII", 16, self.flags, self.regions, 0))
        elif request.command == REGION_INFO:
            room, _, index = struct.unpack_from("<III", request.payload)
            chain = self.capabilities if index == MIGRATION else b""
            flags = CAN_ALL | (CAPS if chain else 0)
            size = self.size if index == MIGRATION else 0x1000
            whole = 32 + len(chain)
            answer = struct.pack("<IIIIQQ", whole, flags, index, self.first if chain else 0, size, index << 40) + chain
            peer.reply(request, answer if room >= whole else answer[:32])
        elif request.command == READ:
            peer.reply(request, request.payload + self.state)
        else:
            peer.send(request.id, request.command, flags=33, error=95)
