# SPDX-License-Identifier: GPL-2.0-only
"""A container with a device in it, and no server between: for observing defects."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from guest_memory import BASE, PAGE
from raw_client import CONTROL, DMA_ADDRESS, DMA_LENGTH, DOORBELL, PIN, PIN_ADDRESS, PIN_LENGTH, STATUS, eventually

from refdriver.defects import broken
from refdriver.driver import build
from refdriver.options import Options
from refdriver.refusal import Refusal
from refdriver.socket.connection import Connection
from refdriver.socket.requests import Answer


class Bench:
    """A device and its container without a server. Pages are counted from BASE.

    Pages 0 to 99 are mapped, right after them 100 to 129, and after a hole 140 to 149.
    Refusals are given as negative errnos, dirty pages as lists of their places in the range.
    """

    def __init__(self, *defects: str, options: Options | None = None) -> None:
        self.driver = build(options or Options(), broken(defects))
        self.device = self.driver.device
        self.sockets = socket.socketpair()
        self.driver.open(Connection(self.sockets[0]))
        self.memory = os.memfd_create("guest")
        # Large enough for a mapping of more than 4 GiB; only pages that are written take memory.
        os.ftruncate(self.memory, 8 << 30)
        for first, count in ((0, 100), (100, 30), (140, 10)):
            self.map(first, count)

    def close(self) -> None:
        """Release everything."""
        self.device.close()
        os.close(self.memory)
        for each in self.sockets:
            each.close()

    def answer(self, command: int, body: bytes, *fds: int) -> Answer | int:
        """The reply, or the refusal."""
        try:
            return self.driver.handlers[command](body, fds)
        except Refusal as refusal:
            return -refusal.errno

    def ask(self, command: int, body: bytes, *fds: int) -> bytes | int:
        """All bytes of the reply, or the refusal."""
        answer = self.answer(command, body, *fds)
        return answer if isinstance(answer, int) else answer.body + answer.data

    def map(self, first: int, count: int, memory: int | None = None) -> None:
        """Map pages to the same pages of the memory, or to those from page ``memory`` on."""
        offset = (first if memory is None else memory) * PAGE
        body = struct.pack("<IIQQQ", 32, 3, offset, BASE + first * PAGE, count * PAGE)
        assert self.ask(2, body, self.memory) == b""

    def send(self, flags: int, argsz: int = 8) -> int:
        """A request without a range: 0 or the refusal."""
        reply = self.ask(14, struct.pack("<II", argsz, flags))
        return reply if isinstance(reply, int) else len(reply)

    def get(
        self, first: int = 0, count: int = 100, room: int = 16, page: int = PAGE, argsz: int | None = None
    ) -> list[int] | int:
        """The dirty pages of a range."""
        argsz = min(40 + room, 0xFFFFFFFF) if argsz is None else argsz
        body = struct.pack("<IIQQQQ", argsz, 4, BASE + first * PAGE, count * PAGE, page, room)
        return pages(self.ask(14, body))

    def takes(self, room: int, count: int = 100) -> int:
        """Size of the bitmap of the first pages that is returned into ``room`` bytes; 100 pages need 16."""
        body = struct.pack("<IIQQQQ", min(40 + room, 0xFFFFFFFF), 4, BASE, count * PAGE, PAGE, room)
        answer = self.answer(14, body)
        return answer if isinstance(answer, int) else len(answer.data)

    def unmap(
        self, first: int = 0, count: int = 100, room: int = 16, page: int = PAGE, argsz: int | None = None
    ) -> list[int] | int:
        """The dirty pages of a range, which is unmapped."""
        argsz = 40 + room if argsz is None else argsz
        body = struct.pack("<IIQQQQ", argsz, 1, BASE + first * PAGE, count * PAGE, page, room)
        return pages(self.ask(3, body))

    def unmap_all(self) -> int:
        """The number of pages unmapped."""
        reply = self.ask(3, struct.pack("<IIQQ", 24, 2, 0, 0))
        return reply if isinstance(reply, int) else struct.unpack("<IIQQ", reply)[3] // PAGE

    def plain_unmap(self, flags: int = 0, first: int = 0, count: int = 100) -> tuple[int, ...] | int:
        """The number of pages unmapped, and STATUS of a write to page 0."""
        reply = self.ask(3, struct.pack("<IIQQ", 24, flags, BASE + first * PAGE, count * PAGE))
        return reply if isinstance(reply, int) else (struct.unpack("<IIQQ", reply)[3] // PAGE, self.write(0))

    def write(self, *written: int, count: int = 1) -> int:
        """Have the device write to some pages, ``count`` pages at each; returns STATUS."""
        registers = self.device.machine
        for page in written:
            registers.write(DMA_ADDRESS, struct.pack("<Q", BASE + page * PAGE))
            registers.write(DMA_LENGTH, struct.pack("<I", count * PAGE))
            registers.write(DOORBELL, b"\1\0\0\0")
        return int.from_bytes(registers.read(STATUS, 4), "little")

    def beat(self) -> None:
        """Wait for the stream to write to page 3."""
        machine = self.device.machine
        machine.write(DMA_ADDRESS, struct.pack("<Q", BASE + 3 * PAGE))
        machine.write(CONTROL, b"\1\0\0\0")
        before = os.pread(self.memory, 8, 3 * PAGE)

        def wrote() -> bool:
            machine.tick()
            return os.pread(self.memory, 8, 3 * PAGE) != before

        eventually(wrote)

    def pin(self, page: int, what: int = 1, count: int = 1) -> int | None:
        """Pin pages, or unpin them (2); the refusal, if there is one."""
        registers = self.device.machine
        registers.write(PIN_ADDRESS, struct.pack("<Q", BASE + page * PAGE))
        registers.write(PIN_LENGTH, struct.pack("<I", count * PAGE))
        try:
            registers.write(PIN, struct.pack("<I", what))
        except Refusal as refusal:
            return -refusal.errno
        return None

    def info(self, argsz: int) -> tuple[Any, ...] | int:
        """argsz, cap_offset and length of the reply; and each capability: id, version, next, contents."""
        reply = self.ask(0x8001, struct.pack("<I", argsz))
        if isinstance(reply, int):
            return reply
        place = int.from_bytes(reply[16:20], "little")
        links: list[tuple[int, ...]] = []
        while 0 < place <= len(reply) - 32 and len(links) < 4:
            links.append(struct.unpack_from("<HHIIIQQ", reply, place))
            place = links[-1][2]
        return int.from_bytes(reply[:4], "little"), int.from_bytes(reply[16:20], "little"), len(reply), *links


def pages(reply: bytes | int) -> list[int] | int:
    """Positions of the bits set in the bitmap after the first 40 bytes; a refusal is returned as it is."""
    if isinstance(reply, int):
        return reply
    # Byte by byte: a bitmap can cover a million pages.
    return [8 * place + bit for place, byte in enumerate(reply[40:]) if byte for bit in range(8) if byte >> bit & 1]
