# SPDX-License-Identifier: GPL-2.0-only
"""Turns the messages between a client and a server into accesses to regions and memory, each with its answer."""

from __future__ import annotations

import errno
import hashlib
from time import perf_counter_ns
from typing import Final, NamedTuple, Protocol

from ...common.calls import KEPT_BYTES
from .wire import (
    FLAG_ERROR,
    FLAG_NO_REPLY,
    HEADER,
    MAX_ERRNO,
    REGION_ACCESS,
    REGION_INFO_SIZE,
    TYPE_COMMAND,
    TYPE_MASK,
    TYPE_REPLY,
    Command,
    Header,
)

#: The most commands without an answer that are remembered.
MOST_UNANSWERED: Final = 1024

#: Bytes of a message's payload that are kept: the first data of an access, the relevant part of a region's information.
_KEPT_ACCESS: Final = REGION_ACCESS.size + KEPT_BYTES
_KEPT_INFO: Final = 1 << 16

_WATCHED: Final = (
    Command.REGION_READ,
    Command.REGION_WRITE,
    Command.DEVICE_RESET,
    Command.DEVICE_GET_REGION_INFO,
    Command.DMA_MAP,
    Command.DMA_UNMAP,
    Command.DIRTY_PAGES,
)
_OF_MEMORY: Final = (Command.DMA_MAP, Command.DMA_UNMAP, Command.DIRTY_PAGES)


class Moment(NamedTuple):
    """When a call began, in nanoseconds of ``time.perf_counter_ns``, and how long it took."""

    began_ns: int
    took_ns: int


class Sink(Protocol):
    """Receives what a client does. Values and errno are as system calls return them."""

    def opened(self) -> None:
        """A client has connected."""

    def closed(self) -> None:
        """It has left, or was disconnected."""

    def access(
        self,
        verb: str,
        moment: Moment,
        place: tuple[int, int, int],
        value: int,
        code: int,
        data: bytes,
        digest: str,
    ) -> None:
        """A "read" or "write" of a region; ``place`` is region, offset, length.

        ``data`` is all of it if it has at most KEPT_BYTES, else ``digest`` is its SHA-256.
        """

    def reset(self, moment: Moment, code: int) -> None:
        """A reset of the device, ``code`` 0 if it succeeded."""

    def memory(self, moment: Moment, command: int, asked: bytes, code: int) -> None:
        """A DMA_MAP, DMA_UNMAP or DIRTY_PAGES, the beginning of its request; ``code`` 0 if it succeeded."""

    def region(self, moment: Moment, info: bytes, mappable: bool) -> None:
        """The server's struct vfio_region_info and what follows it; ``mappable``: a descriptor came along."""


class Seen:
    """One message on its way: its header, the beginning of its payload, the digest of its data."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.began_ns = perf_counter_ns()
        self.payload = bytearray()
        self.descriptors = 0
        self._room = _KEPT_INFO if header.command == Command.DEVICE_GET_REGION_INFO else _KEPT_ACCESS
        long = header.size > HEADER.size + _KEPT_ACCESS
        moves = header.command in (Command.REGION_READ, Command.REGION_WRITE)
        self._digest = hashlib.sha256() if long and moves else None
        self._skip = REGION_ACCESS.size

    def feed(self, piece: bytes) -> None:
        """The next bytes of the payload."""
        if self._room:
            self.payload += piece[: self._room]
            self._room -= min(len(piece), self._room)
        if self._digest:
            skipped = min(self._skip, len(piece))
            self._skip -= skipped
            self._digest.update(memoryview(piece)[skipped:])

    @property
    def data(self) -> tuple[bytes, str]:
        """The data of a region access, or the digest of it."""
        if self._digest:
            return b"", self._digest.hexdigest()
        return bytes(self.payload[REGION_ACCESS.size :]), ""

    @property
    def length(self) -> int:
        """Bytes of data of a region access."""
        return self.header.size - HEADER.size - REGION_ACCESS.size


class Crowded(Exception):
    """More commands without an answer than are remembered."""


class Observer:
    """Follows one connection. Each message is reported when it is complete."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._asked: dict[int, Seen] = {}

    def from_client(self, seen: Seen) -> None:
        """A message of the client. Raises Crowded."""
        header = seen.header
        if header.flags & TYPE_MASK != TYPE_COMMAND or header.command not in _WATCHED:
            return
        if header.flags & FLAG_NO_REPLY:
            self._report(seen, None, 0)
            return
        if earlier := self._asked.pop(header.id, None):
            self._report(earlier, None, errno.EPIPE)
        self._asked[header.id] = seen
        if len(self._asked) > MOST_UNANSWERED:
            raise Crowded

    def from_server(self, seen: Seen) -> None:
        """A message of the server."""
        header = seen.header
        if header.flags & TYPE_MASK != TYPE_REPLY or header.id not in self._asked:
            return
        asked = self._asked.pop(header.id)
        code = 0
        if header.command != asked.header.command:
            code = errno.EPROTO
        elif header.flags & FLAG_ERROR:
            code = header.error if 0 < header.error <= MAX_ERRNO else errno.EIO
        self._report(asked, seen, code)

    def end(self) -> None:
        """No more answers will come."""
        for asked in self._asked.values():
            self._report(asked, None, errno.EPIPE)
        self._asked.clear()

    def _report(self, asked: Seen, answer: Seen | None, code: int) -> None:
        """A command, carried out or not; without ``answer``, none came, or none was wanted."""
        moment = Moment(asked.began_ns, perf_counter_ns() - asked.began_ns)
        command = asked.header.command
        if command == Command.DEVICE_RESET:
            self._sink.reset(moment, code)
        elif command in _OF_MEMORY:
            self._sink.memory(moment, command, bytes(asked.payload), code)
        elif command == Command.DEVICE_GET_REGION_INFO:
            if answer and not code and len(answer.payload) >= REGION_INFO_SIZE:
                self._sink.region(moment, bytes(answer.payload), answer.descriptors > 0)
        elif len(asked.payload) < REGION_ACCESS.size:
            return  # asks for nothing
        elif command == Command.REGION_READ:
            self._report_read(moment, asked, answer, code)
        else:
            self._report_write(moment, asked, answer, code)

    def _report_read(self, moment: Moment, asked: Seen, answer: Seen | None, code: int) -> None:
        offset, region, count = REGION_ACCESS.unpack_from(asked.payload)
        value, data, digest = 0, b"", ""
        if answer and not code:
            value = answer.length
            data, digest = answer.data
            if not 0 <= value <= count:
                code = errno.EPROTO
        if code:
            value, data, digest = -1, b"", ""
        self._sink.access("read", moment, (region, offset, count), value, code, data, digest)

    def _report_write(self, moment: Moment, asked: Seen, answer: Seen | None, code: int) -> None:
        offset, region, _ = REGION_ACCESS.unpack_from(asked.payload)
        length = value = asked.length
        if answer and not code:
            if len(answer.payload) >= REGION_ACCESS.size:
                value = REGION_ACCESS.unpack_from(answer.payload)[2]
            if len(answer.payload) < REGION_ACCESS.size or value > length:
                code = errno.EPROTO
        data, digest = asked.data
        self._sink.access("write", moment, (region, offset, length), -1 if code else value, code, data, digest)
