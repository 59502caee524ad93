# SPDX-License-Identifier: GPL-2.0-only
"""One connection to a vfio-user server: framing, deadlines, and nothing believed that was not checked.

A message is taken from the socket only when its header is one that may come now and its size is within
what the request at hand can bring, so that no server can make this process allocate, wait or keep
descriptors beyond that. The first failure of any kind closes the socket: where the next message begins is
then unknown.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Final, NamedTuple, NoReturn

from ..errors import CallTimeout, PeerGone, ProtocolViolation
from .wire import (
    DMA_ACCESS,
    FLAG_ERROR,
    FLAG_NO_REPLY,
    HEADER,
    MAX_ERRNO,
    TYPE_COMMAND,
    TYPE_MASK,
    TYPE_REPLY,
    Command,
    Header,
    Message,
    command_name,
    describe,
)

#: Descriptors that fit into one message; what exceeds them the kernel never installs.
MAX_FDS: Final = 8

#: Bytes of data that the server may move with one DMA_READ or DMA_WRITE.
MAX_DATA: Final = 1 << 20

_ANCILLARY: Final = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
_FLAGS: Final = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
#: Waits for as long as is set on the socket.
_WAIT: Final = int(socket.MSG_CMSG_CLOEXEC)
#: Bytes of a reply that are received together with its header.
_FEW: Final = 1 << 12
#: All that was asked for in one call, by the deadline that is set on the socket.
_WAIT_FOR_ALL: Final = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL)
#: A plain number: arithmetic on the enumeration's members costs more than a system call.
CUT: Final = int(socket.MSG_CTRUNC)
_LARGEST_PIECE: Final = 1 << 20
#: More than this comes in so many parts that the kernel had better wait for them.
_MANY_PARTS: Final = 1 << 16
_MOST_EARLY: Final = 64


class Reply(NamedTuple):
    """The answer to a command: errno when it was refused, else payload and descriptors (now the caller's)."""

    errno: int
    payload: bytes
    descriptors: tuple[int, ...]
    #: What follows the fixed part of a payload, where exchange() was told how long that is.
    data: bytes


class _Expected(NamedTuple):
    """The command under way: what its reply must look like."""

    id: int
    command: int
    request: bytes
    #: Most bytes of payload.
    room: int
    #: Most descriptors.
    takes: int
    #: Bytes of payload before the data.
    fixed: int

    def __str__(self) -> str:
        return describe(self.command, self.request)


#: Carries out a server's DMA_READ or DMA_WRITE (command, payload): gives errno and the payload of the reply.
Serve = Callable[[int, bytes], tuple[int, bytes]]


def close_all(descriptors: Iterable[int]) -> None:
    """Close each of these descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def _timeval(milliseconds: int) -> bytes:
    return struct.pack("@ll", milliseconds // 1000, milliseconds % 1000 * 1000)


class Connection:
    """A connected socket and the one command that may be under way on it.

    ``deadline`` is in seconds per message exchange. ``epitaph`` says what became of the server, for PeerGone.
    Safe to use from several threads: their commands follow one another.
    """

    def __init__(self, stream: socket.socket, deadline: float, serve: Serve, epitaph: Callable[[], str]) -> None:
        stream.setblocking(True)  # each call says for itself whether it waits
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(int(deadline * 1000) + 1))
        self.lost: BaseException | None = None
        self._stream = stream
        self._deadline = deadline
        self._serve = serve
        self._epitaph = epitaph
        self._lock = threading.Lock()
        self._next_id = 0
        self._expected: _Expected | None = None
        self._early: deque[Message] = deque()
        self._descriptors: list[int] = []
        #: Received together with what was asked for, and not asked for yet.
        self._ahead = b""
        self._end = 0.0
        self._readable = select.poll()
        self._readable.register(stream, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(stream, select.POLLIN | select.POLLOUT)

    def close(self) -> None:
        """Hang up. What the server sent and nobody took is dropped, descriptors included."""
        self._stream.close()
        for message in self._early:
            close_all(message.descriptors)
        self._early.clear()
        close_all(self._descriptors)
        self._descriptors.clear()

    def exchange(
        self,
        command: Command,
        request: bytes = b"",
        data: bytes | memoryview = b"",
        *,
        descriptors: Sequence[int] = (),
        room: int = 0,
        takes: int = 0,
        fixed: int | None = None,
    ) -> Reply:
        """Send a command made of ``request`` and ``data``, and wait for its reply.

        ``room`` bounds the reply's payload in bytes, ``takes`` its descriptors. What follows its first ``fixed``
        bytes, where that is given, is data, kept apart. Requests of the server that come first are served.
        Raises PeerGone, ProtocolViolation, CallTimeout; OSError when a descriptor to be sent is bad.
        """
        with self._lock:
            self._check()
            self._next_id = number = self._next_id + 1 & 0xFFFF
            header = HEADER.pack(number, command, HEADER.size + len(request) + len(data), TYPE_COMMAND, 0)
            self._expected = _Expected(number, command, request, room, takes, room if fixed is None else fixed)
            self._end = monotonic() + self._deadline
            try:
                self._send(header + request, data, descriptors)
                return self._await_reply()
            except BaseException as error:
                self._give_up(error)
                raise

    def attend(self, seconds: float) -> None:
        """Serve the server's requests for this long. Raises as exchange() does."""
        end = monotonic() + seconds
        with self._lock:
            self._check()
            try:
                while True:
                    left = end - monotonic()
                    # Rounded up: poll counts in milliseconds, and 0 would spin.
                    if not self._ahead and not self._readable.poll(max(0, int(left * 1000 + 0.999))):
                        return
                    self._end = monotonic() + self._deadline
                    self._answer(self._receive())
                    if left <= 0:
                        return
            except BaseException as error:
                self._give_up(error)
                raise

    def violated(self, exchange: object, expected: str, seen: str) -> ProtocolViolation:
        """The error to raise for a reply whose content is wrong; ends the connection."""
        error = ProtocolViolation(str(exchange), expected, seen)
        self._give_up(error)
        return error

    def _give_up(self, error: BaseException) -> None:
        self.lost = error
        self.close()

    def _check(self) -> None:
        if self.lost is not None:
            raise PeerGone(
                f"the connection was given up earlier: {getattr(self.lost, 'message', self.lost)!s}",
                "close the device and open it again",
            )

    def _what(self) -> str:
        return "no command under way" if self._expected is None else str(self._expected)

    # Sending

    def _send(self, head: bytes, data: bytes | memoryview, descriptors: Sequence[int]) -> None:
        ancillary = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        parts = [memoryview(head), memoryview(data)] if data else [memoryview(head)]
        while parts:
            try:
                sent = self._stream.sendmsg(parts, ancillary, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait_to_send()
                continue
            except (BrokenPipeError, ConnectionResetError):
                self._gone("while it was being sent")
            ancillary = []
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if parts:
                parts[0] = parts[0][sent:]

    def _wait_to_send(self) -> None:
        """Wait until the socket takes more; a server that must be listened to first is listened to."""
        events = self._writable.poll(self._left("the server does not take it"))
        if not events:
            raise CallTimeout(self._what(), self._deadline, "the server does not take it")
        if not events[0][1] & select.POLLOUT:
            if len(self._early) >= _MOST_EARLY:
                raise ProtocolViolation(self._what(), "the command to be read", "a flood of messages")
            self._early.append(self._receive())

    # Receiving

    def _await_reply(self) -> Reply:
        while True:
            message = self._early.popleft() if self._early else self._receive()
            header = message.header
            if header.flags & TYPE_MASK == TYPE_REPLY:
                self._expected = None
                # Refused without a reason is refused all the same.
                code = (header.error or 5) if header.flags & FLAG_ERROR else 0
                return Reply(code, message.payload, message.descriptors, message.data)
            self._answer(message)
            self._left("requests of the server, but no answer")

    def _answer(self, message: Message) -> None:
        header = message.header
        code, answer = self._serve(header.command, message.payload)
        if header.flags & FLAG_NO_REPLY:
            return
        if code:
            answer = b""
        flags = TYPE_REPLY | (FLAG_ERROR if code else 0)
        self._send(HEADER.pack(header.id, header.command, HEADER.size + len(answer), flags, code), answer, ())

    def _receive(self) -> Message:
        """The next message, its header checked against what may come, its descriptors counted."""
        # Most replies come with their header in one call, which waits for them itself.
        reach = min(self._expected.fixed, _FEW) if self._expected else 0
        header = Header._make(HEADER.unpack(self._take(HEADER.size, HEADER.size, reach, _WAIT)))
        is_reply = header.flags & TYPE_MASK == TYPE_REPLY
        takes = self._check_reply(header) if is_reply else self._check_command(header)
        payload, data = self._take_payload(header, self._expected.fixed if is_reply and self._expected else header.size)
        descriptors = tuple(self._descriptors)
        if len(descriptors) > takes:
            raise ProtocolViolation(self._about(header), f"at most {takes} descriptor(s)", f"{len(descriptors)}")
        if not is_reply:
            self._check_access(header, payload)
        self._descriptors.clear()
        return Message(header, payload, descriptors, data)

    def _about(self, header: Header) -> str:
        kind = "reply to" if header.flags & TYPE_MASK == TYPE_REPLY else "server's"
        return f"{kind} {self._what() if kind == 'reply to' else command_name(header.command)}"

    def _check_reply(self, header: Header) -> int:
        expected = self._expected
        if expected is None:
            raise ProtocolViolation(
                "message from the server",
                "nothing, or a command",
                f"a reply to {command_name(header.command)} with id {header.id}",
            )
        if header.id != expected.id:
            raise ProtocolViolation(self._about(header), f"id {expected.id}", f"id {header.id}")
        if header.command != expected.command:
            raise ProtocolViolation(
                self._about(header),
                f"command {command_name(expected.command)}",
                f"{command_name(header.command)}",
            )
        if header.flags & FLAG_ERROR:
            if header.size != HEADER.size:
                raise ProtocolViolation(self._about(header), "an error of 16 bytes", f"a size of {header.size}")
            if header.error > MAX_ERRNO:
                raise ProtocolViolation(self._about(header), f"an errno up to {MAX_ERRNO}", f"{header.error}")
            return 0
        if not HEADER.size <= header.size <= HEADER.size + expected.room:
            bounds = f"16 to {HEADER.size + expected.room}" if expected.room else "16"
            raise ProtocolViolation(self._about(header), f"a size of {bounds} bytes", f"{header.size}")
        return expected.takes

    def _check_command(self, header: Header) -> int:
        if header.flags & TYPE_MASK != TYPE_COMMAND:
            raise ProtocolViolation(
                f"message from the server during {self._what()}",
                "a command (0) or a reply (1)",
                f"type {header.flags & TYPE_MASK}, flags {header.flags:#x}",
            )
        if header.command not in (Command.DMA_READ, Command.DMA_WRITE):
            raise ProtocolViolation(
                f"command from the server during {self._what()}",
                "DMA_READ or DMA_WRITE",
                command_name(header.command),
            )
        fixed = HEADER.size + DMA_ACCESS.size
        most = fixed + (MAX_DATA if header.command == Command.DMA_WRITE else 0)
        if not fixed <= header.size <= most:
            raise ProtocolViolation(
                f"server's {command_name(header.command)}", f"a size of {fixed} to {most}", f"{header.size}"
            )
        return 0

    def _check_access(self, header: Header, payload: bytes) -> None:
        _, count = DMA_ACCESS.unpack_from(payload)
        data = len(payload) - DMA_ACCESS.size
        if header.command == Command.DMA_WRITE and count != data:
            raise ProtocolViolation(
                f"server's {describe(header.command, payload)}", f"{count} bytes of data", f"{data}"
            )

    def _take_payload(self, header: Header, fixed: int) -> tuple[bytes, bytes]:
        """The payload, cut after ``fixed`` bytes; much data is received apart, since to cut it off is to copy it."""
        length = header.size - HEADER.size
        if length - fixed > _MANY_PARTS:
            return self._take(fixed, header.size), self._take(length - fixed, header.size)
        payload = self._take(length, header.size)
        return payload[:fixed], payload[fixed:]

    def _take(self, count: int, size: int, reach: int = 0, how: int = _FLAGS) -> bytes:
        """Exactly ``count`` bytes of a message of ``size``; descriptors that come along are collected.

        Up to ``reach`` bytes more are received too, if they are there, and kept for the next time.
        """
        ahead = self._ahead
        if len(ahead) >= count:
            self._ahead = ahead[count:]
            return ahead[:count]
        self._ahead = b""
        pieces = [ahead] if ahead else []
        missing = count - len(ahead)
        while missing:
            if missing > _MANY_PARTS:
                how = _WAIT_FOR_ALL
                self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._left("no answer")))
            try:
                piece, ancillary, flags, _ = self._stream.recvmsg(min(missing + reach, _LARGEST_PIECE), _ANCILLARY, how)
            except BlockingIOError:
                self._wait_to_receive()
                how = _FLAGS
                continue
            except ConnectionResetError:
                self._gone("instead of an answer")
            if ancillary:
                self._collect(ancillary)
            if flags & CUT:
                raise ProtocolViolation(self._what(), f"at most {MAX_FDS} descriptors", "more")
            if not piece:
                if pieces or count != size:
                    self._gone(f"inside a message, {missing} of its {size} bytes missing")
                self._gone("instead of an answer")
            how = _FLAGS
            if len(piece) > missing:
                piece, self._ahead = piece[:missing], piece[missing:]
            if len(piece) == count:
                return piece
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _wait_to_receive(self) -> None:
        if not self._readable.poll(self._left("no answer")):
            raise CallTimeout(self._what(), self._deadline) from None

    def _collect(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(content[: len(content) // received.itemsize * received.itemsize])
                self._descriptors.extend(received)

    def _left(self, detail: str) -> int:
        """Milliseconds until the deadline. Raises CallTimeout once it has passed."""
        left = self._end - monotonic()
        if left <= 0:
            raise CallTimeout(self._what(), self._deadline, detail)
        return int(left * 1000) + 1

    def _gone(self, when: str) -> NoReturn:
        epitaph = self._epitaph()
        raise PeerGone(
            f"{self._what()}: the server closed the connection {when}" + (epitaph and f"; it {epitaph}"),
            "find out why the server hung up; a server that the suite starts is started again on reopening",
        ) from None
