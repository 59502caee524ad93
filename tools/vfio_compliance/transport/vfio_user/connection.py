# SPDX-License-Identifier: GPL-2.0-only
"""One connection to a vfio-user server: framing and deadlines; nothing is used unchecked.

A message is taken from the socket only if its header is allowed at this point and its size is possible for the
present request, so that no server can make this process allocate, wait or keep descriptors beyond that. The
first failure of any kind closes the socket, because it is then unknown where the next message begins.

Deviations that a client has to tolerate do not end the connection: a body after an error reply, a payload if none is
defined, a second reply, descriptors that were not asked for, flags without a meaning. They are dropped and noted.
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

from ...common.words import counted
from ..errors import CallTimeout, GivenUp, Overlong, PeerGone, ProtocolViolation
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

#: The most descriptors in one message; the kernel never installs more.
MAX_FDS: Final = 8

#: Bytes of data that the server may move with one DMA_READ or DMA_WRITE.
MAX_DATA: Final = 1 << 20

_ANCILLARY: Final = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
_FLAGS: Final = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
#: Waits for the time set on the socket.
_WAIT: Final = int(socket.MSG_CMSG_CLOEXEC)
#: Bytes of a reply that are received together with its header.
_FEW: Final = 1 << 12
#: Receives all that was asked for in one call, within the time set on the socket.
_WAIT_FOR_ALL: Final = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL)
#: A plain number: arithmetic on the enumeration's members costs more than a system call.
CUT: Final = int(socket.MSG_CTRUNC)
_LARGEST_PIECE: Final = 1 << 20
#: More than this arrives in many parts; the kernel waits for them then.
_MANY_PARTS: Final = 1 << 16
_MOST_EARLY: Final = 64
#: Bytes of dropped data that are in memory at a time.
_DROPPED_AT_ONCE: Final = 1 << 16
#: The most bytes of a payload that is dropped: that of the longest message that carries data.
_MOST_DROPPED: Final = MAX_DATA + (1 << 12)
#: A reply to one of this many previous commands counts as a second reply.
_REMEMBERED: Final = 64


class Reply(NamedTuple):
    """The answer to a command: refused, with its errno (0: none), or payload and descriptors.

    The descriptors are the caller's now.
    """

    refused: bool
    errno: int
    payload: bytes
    descriptors: tuple[int, ...]
    #: What follows the fixed part of a payload, if ``fixed`` was passed to exchange().
    data: bytes


class _Expected(NamedTuple):
    """The command under way, and what its reply must look like."""

    id: int
    command: int
    request: bytes
    #: Most bytes of payload.
    room: int
    #: Most descriptors.
    takes: int
    #: Bytes of payload before the data.
    fixed: int
    #: Whether more than ``room`` bytes may come, to be dropped: the reply carries nothing that was asked for.
    lenient: bool

    def __str__(self) -> str:
        return describe(self.command, self.request)


#: Carries out a server's DMA_READ or DMA_WRITE (command, payload): returns errno and the payload of the reply.
Serve = Callable[[int, bytes], tuple[int, bytes]]


def close_all(descriptors: Iterable[int]) -> None:
    """Close each of these descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def _timeval(milliseconds: int) -> bytes:
    return struct.pack("@ll", milliseconds // 1000, milliseconds % 1000 * 1000)


class Connection:
    """A connected socket and the one command that may be under way on it.

    ``deadline`` is in seconds per message exchange. ``hung_up`` is called when the server has closed the connection,
    with what was under way, and returns how the server ended, for PeerGone. ``remark`` is called with deviations of the
    server that a client tolerates: the kind, and an example of it.
    Safe to use from several threads: their commands follow one another.
    """

    def __init__(
        self,
        stream: socket.socket,
        deadline: float,
        serve: Serve,
        hung_up: Callable[[str], str],
        remark: Callable[[str, str], None],
    ) -> None:
        stream.setblocking(True)  # each call says for itself whether it waits
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(int(deadline * 1000) + 1))
        self.lost: BaseException | None = None
        self._stream = stream
        self._deadline = deadline
        self._serve = serve
        self._hung_up = hung_up
        self._remark = remark
        self._lock = threading.Lock()
        self._next_id = 0
        #: Ids and commands that were answered last.
        self._answered: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        #: Id of a reply to an earlier command that came in place of the awaited one; -1: none did.
        self._stale = -1
        self._expected: _Expected | None = None
        self._early: deque[Message] = deque()
        self._descriptors: list[int] = []
        #: Received early, together with what was asked for.
        self._ahead = b""
        self._end = 0.0
        self._readable = select.poll()
        self._readable.register(stream, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(stream, select.POLLIN | select.POLLOUT)

    def close(self) -> None:
        """Hang up. Messages not yet received are dropped, with their descriptors."""
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
        lenient: bool = False,
    ) -> Reply:
        """Send a command made of ``request`` and ``data``, and wait for its reply.

        ``room`` bounds the reply's payload in bytes, ``takes`` its descriptors. What follows its first ``fixed``
        bytes, if given, is data, kept apart. A ``lenient`` reply may have more than ``room``: that is dropped.
        Requests of the server that come first are served.
        Raises PeerGone, ProtocolViolation, CallTimeout; OSError if a descriptor to be sent is bad.
        """
        with self._lock:
            self._check()
            self._next_id = number = self._next_id + 1 & 0xFFFF
            header = HEADER.pack(number, command, HEADER.size + len(request) + len(data), TYPE_COMMAND, 0)
            fixed = room if fixed is None else fixed
            self._expected = _Expected(number, command, request, room, takes, fixed, lenient)
            self._stale = -1
            self._end = monotonic() + self._deadline
            try:
                self._send(header + request, data, descriptors)
                return self._await_reply()
            except CallTimeout as error:
                self._give_up(error)
                if self._stale < 0:
                    raise
                raise ProtocolViolation(f"reply to {self._what()}", f"id {number}", f"id {self._stale}") from error
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
                    message = self._receive()
                    if message.header.flags & TYPE_MASK == TYPE_COMMAND:
                        self._answer(message)
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
            raise GivenUp(
                f"the connection was given up earlier: {getattr(self.lost, 'message', self.lost)!s}",
                "close the device and open it again",
            )

    def _what(self) -> str:
        return "no command under way" if self._expected is None else str(self._expected)

    def _while(self) -> str:
        return "between two calls" if self._expected is None else f"during {self._expected}"

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
        """Wait until the socket takes more; serve the server's own requests in the meantime."""
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
                if not self._is_answer(header):
                    continue
                refused = bool(header.flags & FLAG_ERROR)
                code = self._refusal(header) if refused else 0
                self._expected = None
                self._answered.append((header.id, header.command))
                return Reply(refused, code, message.payload, message.descriptors, message.data)
            self._answer(message)
            self._left("requests of the server, but no answer")

    def _is_answer(self, header: Header) -> bool:
        """Whether a reply is to the command under way; if not, it is a second one to an earlier command."""
        if self._expected is not None and header.id == self._expected.id:
            return True
        self._stale = header.id
        self._left(f"a reply with id {header.id}, but no answer")
        return False

    def _refusal(self, header: Header) -> int:
        """The errno of an error reply; 0 if it has none."""
        if 0 < header.error <= MAX_ERRNO:
            return header.error
        self._remark("refuses without an errno", f"the error reply to {self._what()} has {header.error} as its errno")
        return 0

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
        room, takes = self._check_reply(header) if is_reply else self._check_command(header)
        expected = self._expected
        fixed = expected.fixed if is_reply and expected else header.size
        payload, data = self._take_payload(header, min(header.size - HEADER.size, room), fixed)
        self._drop(header, len(payload) + len(data))
        if not is_reply:
            self._check_access(header, payload)
        return Message(header, payload, self._take_descriptors(header, takes), data)

    def _take_descriptors(self, header: Header, takes: int) -> tuple[int, ...]:
        """The descriptors that came with a message; those not asked for are closed."""
        came = len(self._descriptors)
        if not came:
            return ()
        if 0 < takes < came:
            raise ProtocolViolation(self._about(header), f"at most {counted(takes, 'descriptor')}", f"{came}")
        if not takes:
            self._remark("sends descriptors that were not asked for", f"{came} with the {self._about(header)}")
            close_all(self._descriptors)
        taken = tuple(self._descriptors) if takes else ()
        self._descriptors.clear()
        return taken

    def _drop(self, header: Header, done: int) -> None:
        """Read the rest of a message, in pieces."""
        left = header.size - HEADER.size - done
        while left:
            left -= len(self._take(min(left, _DROPPED_AT_ONCE), header.size))

    def _about(self, header: Header) -> str:
        kind = "reply to" if header.flags & TYPE_MASK == TYPE_REPLY else "server's"
        return f"{kind} {self._what() if kind == 'reply to' else command_name(header.command)}"

    def _check_reply(self, header: Header) -> tuple[int, int]:
        """How much of a reply's payload, and how many of its descriptors, are used."""
        expected = self._expected
        if expected is None or header.id != expected.id:
            self._check_second(header)
            return 0, 0
        if header.command != expected.command:
            raise ProtocolViolation(
                self._about(header),
                f"command {command_name(expected.command)}",
                f"{command_name(header.command)}",
            )
        self._look_at_flags(header)
        refused = bool(header.flags & FLAG_ERROR)
        room = 0 if refused else expected.room
        most = max(expected.room, _MOST_DROPPED) if refused or expected.lenient else room
        if not HEADER.size <= header.size <= HEADER.size + most:
            bounds = f"16 to {counted(HEADER.size + most, 'byte')}" if most else "16 bytes"
            kind = "an error with " if refused else ""
            violation = Overlong if header.size > HEADER.size and not refused else ProtocolViolation
            raise violation(self._about(header), f"{kind}a size of {bounds}", f"{header.size}")
        if header.size > HEADER.size + room:
            much = f"{counted(header.size - HEADER.size - room, 'byte')} with the {self._about(header)}"
            kind = "sends a body after an error" if refused else "sends more payload than a reply has"
            self._remark(kind, much)
        return room, 0 if refused else expected.takes

    def _check_second(self, header: Header) -> None:
        """A second reply to a command that was answered is dropped; any other reply is a violation."""
        expected = self._expected
        if (header.id, header.command) not in self._answered:
            if expected is not None:
                raise ProtocolViolation(self._about(header), f"id {expected.id}", f"id {header.id}")
            seen = f"a reply to {command_name(header.command)} with id {header.id}"
            raise ProtocolViolation("message from the server", "nothing, or a command", seen)
        about = f"second reply to {command_name(header.command)}, with id {header.id}"
        if not HEADER.size <= header.size <= HEADER.size + _MOST_DROPPED:
            sizes = f"16 to {counted(HEADER.size + _MOST_DROPPED, 'byte')}"
            raise ProtocolViolation(about, f"a size of {sizes}", f"{header.size}")
        self._remark("answers a command twice", f"a {about}")

    def _look_at_flags(self, header: Header) -> None:
        if unknown := header.flags & ~(TYPE_MASK | FLAG_ERROR):
            self._remark("sets flags that a reply does not have", f"0x{unknown:x} in the {self._about(header)}")
        if header.error and not header.flags & FLAG_ERROR:
            self._remark(
                "gives an errno without the error flag", f"{header.error} in the {self._about(header)}, which succeeded"
            )

    def _check_command(self, header: Header) -> tuple[int, int]:
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
        return header.size, 0

    def _check_access(self, header: Header, payload: bytes) -> None:
        _, count = DMA_ACCESS.unpack_from(payload)
        data = len(payload) - DMA_ACCESS.size
        if header.command == Command.DMA_WRITE and count != data:
            raise ProtocolViolation(
                f"server's {describe(header.command, payload)}", f"{counted(count, 'byte')} of data", f"{data}"
            )

    def _take_payload(self, header: Header, length: int, fixed: int) -> tuple[bytes, bytes]:
        """``length`` bytes, cut after ``fixed``; much data is received separately, since a cut would copy it."""
        if length - fixed > _MANY_PARTS:
            return self._take(fixed, header.size), self._take(length - fixed, header.size)
        payload = self._take(length, header.size)
        return payload[:fixed], payload[fixed:]

    def _take(self, count: int, size: int, reach: int = 0, how: int = _FLAGS) -> bytes:
        """Exactly ``count`` bytes of a message of ``size``; descriptors that come along are collected.

        Up to ``reach`` more bytes are received, too, if they are there, and kept for the next call.
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
                raise ProtocolViolation(self._what(), f"at most {counted(MAX_FDS, 'descriptor')}", "more")
            if not piece:
                if pieces or count != size:
                    self._gone(f"inside a message, {missing} of its {counted(size, 'byte')} missing")
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
        epitaph = self._hung_up(self._while())
        raise PeerGone(
            f"{self._what()}: the server closed the connection {when}" + (epitaph and f"; it {epitaph}"),
            "find out why the server hung up; a server that the suite starts is started again on reopening",
        ) from None
