# SPDX-License-Identifier: GPL-2.0-only
"""The smallest client of the reference server: a third, plain reading of the wire.

It asserts the framing of every reply, and serves the server's DMA writes from ``memory``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

TOOLS = Path(__file__).resolve().parents[2]
DEADLINE = 30.0

REGISTERS, DEVICE_MEMORY, CONFIGURATION, MIGRATION = 0, 2, 7, 9
STATE, RESERVED, PENDING, OFFSET, SIZE = 0, 4, 8, 16, 24
STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING, ERROR = 0, 1, 2, 3, 4, 6
CONTROL, COUNTER, DMA_ADDRESS, DMA_LENGTH = 0x04, 0x08, 0x10, 0x18
DOORBELL, STATUS, SCRATCH0, FAULT = 0x1C, 0x20, 0x28, 0x40
SAVE_FAULT, LOAD_FAULT = 0x44, 0x48
PIN_ADDRESS, PIN_LENGTH, PIN = 0x50, 0x58, 0x5C


def eventually(condition: Any) -> Any:
    """The first true value of a condition within the deadline."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        select.select([], [], [], 0.0005)
    raise AssertionError("the deadline passed")


class Server:
    """A reference server in its own process."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.path = str(folder / "s")
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "refdriver", f"--socket-path={self.path}", *options],
            cwd=TOOLS,
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(self._listening)
        self.start_time = time.perf_counter() - started

    def _listening(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        if not os.path.exists(self.path):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.path) == 0

    def client(self, **options: Any) -> Client:
        """A client that has agreed on a version."""
        client = Client.to(self.path)
        client.greet(**options)
        return client

    def serves(self) -> bool:
        """Whether a new client finds a running device."""
        with self.client() as client:
            return client.state() == RUNNING

    def end(self) -> tuple[int, str]:
        """Exit status after SIGTERM, and everything on standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, errors

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Client:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE)
        self.ident = 0
        self.memory: dict[int, bytearray] = {}
        self.dma_errno = 0
        self.fds: list[int] = []

    @classmethod
    def to(cls, path: str) -> Client:
        """Connect to a path."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        return cls(sock)

    def close(self) -> None:
        """Close the connection and the descriptors received."""
        self.sock.close()
        for fd in self.fds:
            os.close(fd)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Messages.

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            more, fds, _, _ = socket.recv_fds(self.sock, min(length - len(data), 1 << 20), 8)
            self.fds += fds
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return bytes(data)

    def send(self, command: int, body: bytes = b"", fds: tuple[int, ...] = (), flags: int = 0) -> int:
        """Send a command; returns its id."""
        self.ident = self.ident + 1 & 0xFFFF
        head = struct.pack("<HHIII", self.ident, command, 16 + len(body), flags, 0)
        socket.send_fds(self.sock, [head + body], list(fds)) if fds else self.sock.sendall(head + body)
        return self.ident

    def answer(self, ident: int, command: int) -> tuple[int, bytes]:
        """Errno and body of the reply; serves the server's DMA until it arrives."""
        while True:
            got, number, size, flags, errno = struct.unpack("<HHIII", self._exactly(16))
            body = self._exactly(size - 16)
            if flags & 0xF == 1:
                assert (got, number) == (ident, command)
                assert flags in (1, 0x21)
                if flags & 0x20:
                    assert errno
                    assert not body
                    return errno, b""
                assert not errno
                return 0, body
            assert number == 12, "the server requests only DMA writes"
            address, count = struct.unpack_from("<QQ", body)
            assert len(body) == 16 + count
            if self.dma_errno:
                self.sock.sendall(struct.pack("<HHIII", got, number, 16, 0x21, self.dma_errno))
                continue
            start = max(at for at in self.memory if at <= address)
            self.memory[start][address - start : address - start + count] = body[16:]
            self.sock.sendall(struct.pack("<HHIII", got, number, 32, 1, 0) + body[:16])

    def call(self, command: int, body: bytes = b"", fds: tuple[int, ...] = ()) -> tuple[int, bytes]:
        """Errno and body of the reply to a command."""
        return self.answer(self.send(command, body, fds), command)

    def good(self, command: int, body: bytes = b"", fds: tuple[int, ...] = ()) -> bytes:
        """Body of the reply to a command that must succeed."""
        errno, reply = self.call(command, body, fds)
        assert errno == 0, os.strerror(errno)
        return reply

    def greet(self, text: str | None = None) -> dict[str, Any]:
        """Agree on version 0.0; returns the server's capabilities."""
        body = struct.pack("<HH", 0, 0) + (text.encode() + b"\0" if text is not None else b"")
        reply = self.good(1, body)
        assert struct.unpack_from("<HH", reply) == (0, 0)
        assert reply.endswith(b"\0")
        capabilities: dict[str, Any] = json.loads(reply[4:-1])["capabilities"]
        return capabilities

    # Regions.

    def try_read(self, region: int, offset: int, count: int) -> tuple[int, bytes]:
        """Errno and data."""
        request = struct.pack("<QII", offset, region, count)
        errno, reply = self.call(9, request)
        if errno:
            return errno, b""
        assert reply[:16] == request
        assert len(reply) == 16 + count
        return 0, reply[16:]

    def try_write(self, region: int, offset: int, data: bytes) -> tuple[int, int]:
        """Errno and the count that the server reports."""
        head = struct.pack("<QII", offset, region, len(data))
        errno, reply = self.call(10, head + data)
        if errno:
            return errno, 0
        assert reply[:12] == head[:12]
        return 0, struct.unpack("<QII", reply)[2]

    def get(self, region: int, offset: int, width: int) -> int:
        """A register's value."""
        errno, data = self.try_read(region, offset, width)
        assert errno == 0, os.strerror(errno)
        return int.from_bytes(data, "little")

    def put(self, region: int, offset: int, width: int, value: int) -> None:
        """Write a register."""
        assert self.try_write(region, offset, value.to_bytes(width, "little")) == (0, width)

    def state(self) -> int:
        """device_state."""
        return self.get(MIGRATION, STATE, 4)

    def go(self, *states: int) -> None:
        """Write device_state and read it back, for each state."""
        for state in states:
            self.put(MIGRATION, STATE, 4, state)
            assert self.state() == state

    def try_go(self, state: int) -> int:
        """Errno of a write of device_state."""
        return self.try_write(MIGRATION, STATE, state.to_bytes(4, "little"))[0]

    def reset(self) -> None:
        """Reset, which must succeed."""
        assert self.good(13) == b""

    # Saving and resuming.

    def save_one(self) -> bytes:
        """One buffer, once pending_bytes has announced it."""
        offset = self.get(MIGRATION, OFFSET, 8)
        size = self.get(MIGRATION, SIZE, 8)
        errno, data = self.try_read(MIGRATION, offset, size)
        assert errno == 0
        assert size
        return data

    def save(self) -> list[bytes]:
        """Every buffer of the current saving state."""
        buffers = []
        while self.get(MIGRATION, PENDING, 8):
            buffers.append(self.save_one())
            assert len(buffers) < 10000
        return buffers

    def try_restore_one(self, buffer: bytes) -> int:
        """Errno of handing over one buffer."""
        offset = self.get(MIGRATION, OFFSET, 8)
        assert self.try_write(MIGRATION, offset, buffer) == (0, len(buffer))
        return self.try_write(MIGRATION, SIZE, len(buffer).to_bytes(8, "little"))[0]

    def restore(self, buffers: list[bytes]) -> None:
        """RUNNING -> RESUMING -> RUNNING with saved buffers."""
        self.go(RESUMING)
        for buffer in buffers:
            assert self.try_restore_one(buffer) == 0
        self.go(RUNNING)

    # Guest memory.

    def try_map(self, address: int, size: int, fd: int | None = None, flags: int = 3, offset: int = 0) -> int:
        """Errno of DMA_MAP."""
        body = struct.pack("<IIQQQ", 32, flags, offset, address, size)
        return self.call(2, body, () if fd is None else (fd,))[0]

    def dirty(self, flags: int) -> int:
        """Errno of DIRTY_PAGES without a range."""
        return self.call(14, struct.pack("<II", 8, flags))[0]

    def bitmap(
        self, address: int, size: int, room: int = 8, page: int = 4096, argsz: int | None = None
    ) -> tuple[int, bytes]:
        """Errno and whole reply of fetching a dirty bitmap."""
        argsz = 40 + room if argsz is None else argsz
        return self.call(14, struct.pack("<IIQQQQ", argsz, 4, address, size, page, room))

    def dirty_pages(self, address: int, pages: int) -> set[int]:
        """Dirty pages of a range; fetching must succeed and set no bit past the range."""
        room = -(-pages // 64) * 8
        errno, reply = self.bitmap(address, pages * 4096, room)
        assert errno == 0
        assert reply[:40] == struct.pack("<IIQQQQ", 40 + room, 4, address, pages * 4096, 4096, room)
        assert len(reply) == 40 + room
        value = int.from_bytes(reply[40:], "little")
        assert value >> pages == 0
        return {page for page in range(pages) if value >> page & 1}

    def container_info(self, argsz: int, room: int | None = None) -> tuple[int, bytes]:
        """Errno and reply of CONTAINER_GET_INFO with an argument of ``room`` bytes; argsz by default."""
        argument = struct.pack("<I", argsz).ljust(max(argsz if room is None else room, 4), b"\xee")
        return self.call(0x8001, argument)

    def unmap(self, address: int, size: int, flags: int = 0) -> tuple[int, bytes]:
        """Errno and reply of DMA_UNMAP without a bitmap."""
        return self.call(3, struct.pack("<IIQQ", 24, flags, address, size))
