# SPDX-License-Identifier: GPL-2.0-only
"""The socket side of a vfio-user server: framing, version, replies, descriptors, and DMA commands of the server.

A device derives from Device and is passed to main(). It alone decides what its registers, memory and migration region
hold, where its dirty pages are kept, and how it accesses the client's memory; this module only parses requests, checks
them by the protocol, and answers them. The server has one thread and serves one client after another.

A client's command that comes while the server waits for the answer to a command of its own is kept and handled later.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import NoReturn

PAGE = 4096
LARGEST = 1 << 20  # bytes of data in one message

READ, WRITE, MMAP, CAPS = 1, 2, 4, 8  # flags of a region

_HEADER = struct.Struct("<HHIII")
_REPLY, _NO_REPLY, _ERROR = 1, 1 << 4, 1 << 5

_VERSION, _DMA_MAP, _DMA_UNMAP, _INFO, _REGION_INFO, _IRQ_INFO, _SET_IRQS = 1, 2, 3, 4, 5, 7, 8
_REGION_READ, _REGION_WRITE, _DMA_READ, _DMA_WRITE, _RESET, _DIRTY = 9, 10, 11, 12, 13, 14


class Refused(Exception):
    """A request that is answered with an errno."""

    def __init__(self, number: int = errno.EINVAL) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Gone(Exception):
    """The client closed the connection, or sends something that is not a message."""


def capability_type(kind: int, subtype: int) -> tuple[int, bytes]:
    """A region's type capability."""
    return 2, struct.pack("<II", kind, subtype)


def capability_sparse(*areas: tuple[int, int]) -> tuple[int, bytes]:
    """The capability with the areas of a region, offset and size, that can be mapped."""
    return 1, struct.pack("<II", len(areas), 0) + b"".join(struct.pack("<QQ", *area) for area in areas)


@dataclass
class Region:
    """A region of the device. ``descriptor`` is a file of its size, if any of it can be mapped."""

    size: int = 0
    flags: int = READ | WRITE
    capabilities: list[tuple[int, bytes]] = field(default_factory=list)
    descriptor: int = -1

    def chain(self) -> bytes:
        """Its capabilities, which follow the 32 bytes of its information."""
        made = b""
        for index, (number, body) in enumerate(self.capabilities):
            body += bytes(-len(body) % 8)
            following = 32 + len(made) + 8 + len(body) if index + 1 < len(self.capabilities) else 0
            made += struct.pack("<HHI", number, 1, following) + body
        return made


@dataclass(eq=False)
class Mapping:
    """Memory of the client; ``descriptor`` is -1 if it gave none."""

    start: int
    size: int
    descriptor: int
    offset: int
    writable: bool

    @property
    def end(self) -> int:
        return self.start + self.size


class Link:
    """A connection to a client, and the memory that it has mapped."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.mappings: dict[int, Mapping] = {}
        self._kept: list[tuple[int, int, int, bytes, list[int]]] = []
        self._number = 0

    def mapping(self, address: int, size: int) -> Mapping | None:
        """The mapping that has all these bytes."""
        for each in self.mappings.values():
            if each.start <= address and address + size <= each.end:
                return each
        return None

    def covered(self, address: int, size: int) -> bool:
        """Whether all these bytes are mapped, in one mapping or in adjacent ones."""
        inside = sum(
            max(0, min(address + size, each.end) - max(address, each.start)) for each in self.mappings.values()
        )
        return 0 < size == inside

    # -- messages -----------------------------------------------------------------------------------------------------

    def _take(self, size: int, descriptors: list[int]) -> bytes:
        taken = b""
        while len(taken) < size:
            try:
                part, came, _, _ = socket.recv_fds(self.connection, size - len(taken), 16)
            except ConnectionError as error:
                raise Gone from error
            descriptors += came
            if not part:
                raise Gone
            taken += part
        return taken

    def _message(self) -> tuple[int, int, int, bytes, list[int]]:
        """Number, command, flags, body and descriptors of the next message."""
        descriptors: list[int] = []
        try:
            number, command, size, flags, _ = _HEADER.unpack(self._take(_HEADER.size, descriptors))
            if not _HEADER.size <= size <= LARGEST + 4096:
                raise Gone
            return number, command, flags, self._take(size - _HEADER.size, descriptors), descriptors
        except Gone:
            for each in descriptors:
                os.close(each)
            raise

    def command(self) -> tuple[int, int, int, bytes, list[int]]:
        """The next command of the client."""
        return self._kept.pop(0) if self._kept else self._message()

    @property
    def waiting(self) -> bool:
        """Whether a command was kept."""
        return bool(self._kept)

    def send(self, number: int, command: int, flags: int, body: bytes, error: int = 0, descriptor: int = -1) -> None:
        """Send a message."""
        message = _HEADER.pack(number, command, _HEADER.size + len(body), flags, error) + body
        try:
            if descriptor >= 0:
                socket.send_fds(self.connection, [message], [descriptor])
            else:
                self.connection.sendall(message)
        except ConnectionError as error_:
            raise Gone from error_

    # -- commands of the server ---------------------------------------------------------------------------------------

    def _ask(self, command: int, body: bytes) -> bytes | None:
        """Send a command and wait for its answer; None if it is refused."""
        self._number = self._number + 1 & 0xFFFF
        self.send(self._number, command, 0, body)
        while True:
            message = number, _, flags, answer, descriptors = self._message()
            if flags & 0xF != _REPLY:
                self._kept.append(message)
                continue
            for each in descriptors:
                os.close(each)
            if number == self._number:
                return None if flags & _ERROR else answer

    def dma_write(self, address: int, data: bytes) -> bool:
        """Have the client write its memory; return whether it did."""
        return self._ask(_DMA_WRITE, struct.pack("<QQ", address, len(data)) + data) is not None

    def dma_read(self, address: int, size: int) -> bytes | None:
        """Have the client read its memory."""
        answer = self._ask(_DMA_READ, struct.pack("<QQ", address, size))
        return None if answer is None or len(answer) != 16 + size else answer[16:]

    def close(self) -> None:
        """Close the connection and every descriptor."""
        for _, _, _, _, descriptors in self._kept:
            for each in descriptors:
                os.close(each)
        self.connection.close()


class Device:
    """The base of a device. Each method may raise Refused."""

    pci = False
    regions: list[Region]
    #: Flags and number of vectors of each interrupt.
    interrupts: tuple[tuple[int, int], ...] = ()
    tracking = False
    link: Link

    def opened(self) -> None:
        """A client has connected; ``link`` is the connection."""

    def closed(self) -> None:
        """It has gone; its memory must no longer be used."""

    def reset(self) -> None:
        """DEVICE_RESET."""

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Bytes inside the region."""
        raise Refused

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Bytes inside the region."""
        raise Refused

    def mapped(self, mapping: Mapping) -> None:
        """Memory was mapped; the device must close the descriptor."""

    def unmapped(self, mapping: Mapping) -> None:
        """Memory was unmapped."""

    def track(self, on: bool) -> None:
        """Tracking begins or ends."""

    def dirty(self, start: int, pages: int) -> int:
        """The bits of these pages, the first one lowest; after that, they are clean."""
        raise Refused

    def set_irqs(self, index: int, start: int, count: int, action: int, values: list[int] | None) -> None:
        """``values``: a descriptor (-1: none) or a 0 or 1 for each vector; None: no data. Only the range is checked."""
        raise Refused

    def due(self) -> float | None:
        """The time of the next call of tick(), in seconds of time.monotonic()."""
        return None

    def tick(self) -> None:
        """Do what is due."""

    def watched(self) -> list[int]:
        """More descriptors to look at."""
        return []

    def notice(self) -> None:
        """One of them has something to read."""


class _Server:
    def __init__(self, device: Device, link: Link) -> None:
        self.device, self.link = device, link

    def serve(self) -> None:
        """Serve until the client goes."""
        while True:
            while not self.link.waiting:
                if wait(self.device, self.link.connection):
                    break
            number, command, flags, body, descriptors = self.link.command()
            if flags & 0xF == _REPLY:
                for each in descriptors:
                    os.close(each)
                continue
            answer, error, descriptor = b"", 0, -1
            try:
                answer, descriptor = self._handle(command, body, descriptors)
            except Refused as refused:
                error = refused.number
            finally:
                for each in descriptors:
                    os.close(each)
            if not flags & _NO_REPLY:
                self.link.send(number, command, _REPLY | (_ERROR if error else 0), answer, error, descriptor)

    def _handle(self, command: int, body: bytes, descriptors: list[int]) -> tuple[bytes, int]:
        if command == _REGION_READ:
            return self._read(body), -1
        if command == _REGION_WRITE:
            return self._write(body), -1
        if command == _REGION_INFO:
            return self._region_info(body)
        if command == _DMA_MAP:
            return self._map(body, descriptors), -1
        if command == _SET_IRQS:
            return self._set_irqs(body, descriptors), -1
        if command == _RESET:
            self.device.reset()
            return b"", -1
        others = {
            _VERSION: self._version,
            _DMA_UNMAP: self._unmap,
            _INFO: self._info,
            _IRQ_INFO: self._irq_info,
            _DIRTY: self._dirty,
        }
        if command not in others:
            raise Refused(errno.ENOTSUP)
        return others[command](body), -1

    # -- what the device is -------------------------------------------------------------------------------------------

    def _version(self, body: bytes) -> bytes:
        (major,) = unpack("<H2x", body)
        if major != 0:
            raise Refused
        told = {"max_msg_fds": 8, "max_data_xfer_size": LARGEST, "migration": {"pgsize": PAGE}}
        return struct.pack("<HH", 0, 0) + json.dumps({"capabilities": told}).encode() + b"\0"

    def _info(self, body: bytes) -> bytes:
        enough(body, 16)
        device = self.device
        return struct.pack("<IIII", 16, 3 if device.pci else 1, len(device.regions), len(device.interrupts))

    def _region_info(self, body: bytes) -> tuple[bytes, int]:
        room = enough(body, 32)
        (index,) = unpack("<8xI", body)
        if index >= len(self.device.regions):
            raise Refused
        region = self.device.regions[index]
        chain = region.chain()
        needed = 32 + len(chain)
        whole = room >= needed
        flags = region.flags | (CAPS if chain else 0)
        at = 32 if chain and whole else 0
        fixed = struct.pack("<IIIIQQ", needed, flags, index, at, region.size, 0)
        return fixed + (chain if whole else b""), region.descriptor if flags & MMAP else -1

    def _irq_info(self, body: bytes) -> bytes:
        enough(body, 16)
        (index,) = unpack("<8xI", body)
        if index >= len(self.device.interrupts):
            raise Refused
        flags, count = self.device.interrupts[index]
        return struct.pack("<IIII", 16, flags, index, count)

    def _set_irqs(self, body: bytes, descriptors: list[int]) -> bytes:
        enough(body, 20)
        flags, index, start, count = unpack("<4xIIII", body)
        data, action = flags & 7, flags & 0x38
        if flags & ~0x3F or data not in (1, 2, 4) or action not in (8, 16, 32) or index >= len(self.device.interrupts):
            raise Refused
        if start + count > self.device.interrupts[index][1] or (not count and (data, action) != (1, 32)):
            raise Refused
        values: list[int] | None = None
        if data == 2:
            values = list(body[20 : 20 + count])
            if len(values) != count:
                raise Refused
        elif data == 4:
            if descriptors and len(descriptors) != count:
                raise Refused
            values = [os.dup(each) for each in descriptors] or [-1] * count
        try:
            self.device.set_irqs(index, start, count, flags & 0x3C, values)
        except Refused:
            for each in values or [] if data == 4 else []:
                if each >= 0:
                    os.close(each)
            raise
        return b""

    # -- regions ------------------------------------------------------------------------------------------------------

    def _place(self, body: bytes) -> tuple[int, int, int]:
        offset, index, count = unpack("<QII", body)
        if index >= len(self.device.regions) or not 0 < count <= LARGEST:
            raise Refused
        if offset + count > self.device.regions[index].size:
            raise Refused
        return offset, index, count

    def _read(self, body: bytes) -> bytes:
        offset, index, count = self._place(body)
        data = self.device.read(index, offset, count)
        return body[:16] + data

    def _write(self, body: bytes) -> bytes:
        offset, index, count = self._place(body)
        if len(body) != 16 + count:
            raise Refused
        self.device.write(index, offset, body[16:])
        return body[:16]

    # -- memory -------------------------------------------------------------------------------------------------------

    def _map(self, body: bytes, descriptors: list[int]) -> bytes:
        enough(body, 32)
        flags, offset, start, size = unpack("<4xIQQQ", body)
        if flags & ~3 or not size or start % PAGE or size % PAGE or start + size > 1 << 64 or len(descriptors) > 1:
            raise Refused
        if any(start < each.end and each.start < start + size for each in self.link.mappings.values()):
            raise Refused(errno.EEXIST)
        descriptor = os.dup(descriptors[0]) if descriptors else -1
        mapping = Mapping(start, size, descriptor, offset, bool(flags & 2))
        try:
            self.device.mapped(mapping)
        except Refused:
            if descriptor >= 0:
                os.close(descriptor)
            raise
        self.link.mappings[start] = mapping
        return b""

    def _unmap(self, body: bytes) -> bytes:
        room = enough(body, 24)
        flags, start, size = unpack("<4xIQQ", body)
        if flags not in (0, 1, 2):
            raise Refused
        if flags == 2:
            if start or size:
                raise Refused
            total = sum(each.size for each in self.link.mappings.values())
            self.drop()
            return struct.pack("<IIQQ", room, flags, start, total)
        mapping = self.link.mappings.get(start)
        bits = b""
        if flags:
            pgsize, space = unpack("<24xQQ", body)
            pages = self._pages(start, size, pgsize, space)
            if room < 40 + space or mapping is None or mapping.size != size or not self.device.tracking:
                raise Refused
            bits = body[24:40] + self.device.dirty(start, pages).to_bytes(space, "little")
        elif mapping is None or mapping.size != size:
            raise Refused(errno.ENOENT)
        del self.link.mappings[start]
        self.device.unmapped(mapping)
        return struct.pack("<IIQQ", room, flags, start, size) + bits

    def drop(self) -> None:
        """Unmap everything."""
        while self.link.mappings:
            self.device.unmapped(self.link.mappings.popitem()[1])

    def _dirty(self, body: bytes) -> bytes:
        room = enough(body, 8)
        (flags,) = unpack("<4xI", body)
        if flags in (1, 2):
            self.device.track(flags == 1)
            return b""
        if flags != 4 or room < 40:
            raise Refused
        start, size, pgsize, space = unpack("<8xQQQQ", body)
        pages = self._pages(start, size, pgsize, space)
        if not self.device.tracking:
            raise Refused
        if room < 40 + space:
            return struct.pack("<I", 40 + space) + body[4:40]
        bits = self.device.dirty(start, pages)
        return struct.pack("<I", 40 + space) + body[4:40] + bits.to_bytes(space, "little")

    def _pages(self, start: int, size: int, pgsize: int, space: int) -> int:
        """The number of pages of a bitmap; refused if its description is wrong."""
        if pgsize != PAGE or not size or size % PAGE or start % PAGE or start + size > 1 << 64:
            raise Refused
        pages = size // PAGE
        if not (pages + 63) // 64 * 8 <= space <= LARGEST:
            raise Refused
        return pages


def unpack(form: str, body: bytes) -> tuple[int, ...]:
    """Numbers at the start of a body; refused if it is too short."""
    if len(body) < struct.calcsize(form):
        raise Refused
    return struct.unpack_from(form, body)


def enough(body: bytes, size: int) -> int:
    """The argsz of a request; refused if it, or the body, is smaller."""
    (room,) = unpack("<I", body)
    if room < size or len(body) < size:
        raise Refused
    return room


def wait(device: Device, source: socket.socket) -> bool:
    """Wait until ``source`` has something; in the meantime, do what is due."""
    due, watched = device.due(), device.watched()
    timeout = None if due is None else max(0.0, due - time.monotonic())
    ready, _, _ = select.select([source.fileno(), *watched], [], [], timeout)
    if any(each in ready for each in watched):
        device.notice()
    elif due is not None and time.monotonic() >= due:
        device.tick()
    return source.fileno() in ready


def _ended(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def arguments(*breaks: str) -> tuple[str, str]:
    """The path of the socket, and the name given with --break, or an empty one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket-path", required=True)
    parser.add_argument("--break", dest="broken", choices=breaks, default="")
    given = parser.parse_args()
    return given.socket_path, given.broken


def main(device: Device, path: str) -> None:
    """Serve one client after another, until SIGTERM."""
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGINT, _ended)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    try:
        listening.listen(4)
        while True:
            while not wait(device, listening):
                pass
            link = Link(listening.accept()[0])
            device.link = link
            server = _Server(device, link)
            device.opened()
            try:
                server.serve()
            except Gone:
                pass
            finally:
                server.drop()
                device.closed()
                link.close()
    finally:
        listening.close()
        with contextlib.suppress(OSError):
            os.unlink(path)
