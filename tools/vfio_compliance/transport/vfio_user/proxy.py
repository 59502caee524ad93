# SPDX-License-Identifier: GPL-2.0-only
"""Relays between a client and a server, and reports what it sees.

What one side sends reaches the other byte for byte, descriptors together with their message. Nothing is read
from one side until the other has taken what was read before: a message may have any size, and the memory used is
that of one piece in each direction. As soon as it is unknown where the next message begins, both sides are
disconnected, after everything that can still be relayed.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from ...common.words import counted
from .connection import CUT, close_all
from .observer import MOST_UNANSWERED, Crowded, Observer, Seen, Sink
from .process import check_path, clear, connect
from .wire import HEADER, Header, command_name

#: The most bytes of a message that are under way in one direction at a time.
_PIECE: Final = 1 << 18

#: Linux passes no more descriptors with one message.
_MOST_DESCRIPTORS: Final = 253

_ANCILLARY: Final = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)

#: Pieces that are still relayed when a connection ends: more than the two sockets hold.
_LAST_PIECES: Final = 1024

#: Seconds for the server to accept.
_CONNECT_DEADLINE: Final = 5.0


class _Ended(Exception):
    """The connection is over; the message says why, unless the client simply left."""


class _Pump:
    """One direction: relays from ``source`` to ``target``, one piece at a time."""

    def __init__(self, name: str, source: socket.socket, target: socket.socket, watch: Callable[[Seen], None]) -> None:
        self._name = name
        self._source = source
        self._target = target
        self._watch = watch
        self._header = b""
        self._seen: Seen | None = None
        #: Bytes of the message's payload that are still to come.
        self._left = 0
        self._piece = memoryview(b"")
        #: The payload in it, until it has been looked at.
        self._unseen = b""
        self._descriptors: list[int] = []
        #: Why nothing can follow what is being relayed.
        self._fault = ""

    @property
    def holds(self) -> bool:
        """Whether something waits for the target; nothing is read until it has been taken."""
        return bool(self._piece)

    def close(self) -> None:
        """Drop what was not relayed."""
        close_all(self._descriptors)
        self._descriptors.clear()

    def fill(self) -> bool:
        """Take what is there, up to the end of a message, and relay as much as the target takes; returns whether
        there was anything.

        Raises _Ended if the source has ended, or if its messages cannot be followed.
        """
        pieces = []
        if self._seen is None:
            piece = self._take(HEADER.size - len(self._header))
            self._header += piece
            pieces.append(piece)
            if len(self._header) == HEADER.size:
                self._begin()
        if self._left:
            piece = self._take(min(self._left, _PIECE), may_end=not pieces)
            self._left -= len(piece)
            pieces.append(piece)
            self._unseen = piece
        self._piece = memoryview(b"".join(pieces))
        if not self._piece:
            return False
        self.drain()
        return True

    def drain(self) -> None:
        """Relay what is held. Raises _Ended if the target is gone."""
        while self._piece:
            ancillary = []
            if self._descriptors:
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", self._descriptors))]
            try:
                sent = self._target.sendmsg([self._piece], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                raise _Ended(f"cannot relay what the {self._name} sent: {error.strerror}") from None
            self.close()
            self._piece = self._piece[sent:]
            self._look()
        if self._fault:
            raise _Ended(self._fault)
        if self._seen is not None and not self._left:
            seen, self._seen, self._header = self._seen, None, b""
            try:
                self._watch(seen)
            except Crowded:
                raise _Ended(f"more than {counted(MOST_UNANSWERED, 'command')} of the client have no answer") from None

    def _look(self) -> None:
        """Look at what was taken, once it has been relayed, since a digest takes longer than relaying."""
        if self._unseen and self._seen is not None:
            self._seen.feed(self._unseen)
        self._unseen = b""

    def _begin(self) -> None:
        header = Header._make(HEADER.unpack(self._header))
        self._seen = Seen(header)
        self._seen.descriptors = len(self._descriptors)
        self._left = header.size - HEADER.size
        if self._left < 0:
            self._left = 0
            what = command_name(header.command)
            size = counted(header.size, "byte")
            self._fault = f"a message of the {self._name} ({what}) says that it has {size}, fewer than 16"

    def _take(self, most: int, may_end: bool = True) -> bytes:
        """Some bytes; none if none has come yet."""
        try:
            piece, ancillary, flags, _ = self._source.recvmsg(most, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return b""
        except OSError:
            piece, ancillary, flags = b"", [], 0
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(content[: len(content) // received.itemsize * received.itemsize])
                self._descriptors.extend(received)
                if self._seen:
                    self._seen.descriptors += len(received)
        if flags & CUT:
            raise _Ended(f"descriptors of the {self._name} were lost: this process may not open that many")
        if not piece and may_end:
            inside = self._header or self._left
            if self._name == "client" and not inside:
                raise _Ended
            raise _Ended(f"the {self._name} left" + (" inside a message" if inside else ""))
        return piece


class Proxy:
    """Listens at one path for clients of the server at another, and serves one at a time.

    ``say`` is called with a line for each connection that did not end with the client's leaving.
    """

    def __init__(self, listen: str, server: str, say: Callable[[str], None]) -> None:
        """Raises SetupError, OSError if it cannot listen."""
        check_path(listen)
        check_path(server)
        clear(listen)
        self._path = listen
        self._server = server
        self._say = say
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(listen)
            self._listener.listen()
        except BaseException:
            self._listener.close()
            raise
        self._listener.setblocking(False)

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def serve(self, sink: Sink, stop: int, once: bool = False) -> None:
        """Serve clients, and report to ``sink`` what they do, until the descriptor ``stop`` is readable.

        With ``once``, only the first. Raises what ``sink`` raises.
        """
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(stop, select.POLLIN)
        while not any(descriptor == stop for descriptor, _ in poll.poll()):
            try:
                client, _ = self._listener.accept()
            except OSError:
                continue  # it left before
            with client:
                self._serve_client(client, sink, stop)
            if once:
                return

    def _serve_client(self, client: socket.socket, sink: Sink, stop: int) -> None:
        try:
            server = connect(self._server, monotonic() + _CONNECT_DEADLINE)
        except OSError as error:
            self._say(f"a client was sent away: cannot connect to {self._server}: {error.strerror}")
            return
        with server:
            client.setblocking(False)
            server.setblocking(False)
            sink.opened()
            observer = Observer(sink)
            up = _Pump("client", client, server, observer.from_client)
            down = _Pump("server", server, client, observer.from_server)
            try:
                self._forward(client, server, up, down, stop)
            except _Ended as ended:
                if str(ended):
                    self._say(f"a connection was ended: {ended}")
            finally:
                up.close()
                down.close()
                observer.end()
                sink.closed()

    def _forward(self, client: socket.socket, server: socket.socket, up: _Pump, down: _Pump, stop: int) -> None:
        """Until one side ends, or ``stop``. Raises _Ended."""
        poll = select.poll()
        poll.register(stop, select.POLLIN)
        sides = {client.fileno(): (up, down), server.fileno(): (down, up)}
        wanted = dict.fromkeys(sides, 0)
        while True:
            for descriptor, (of, to) in sides.items():
                # A side from which nothing is wanted is not polled: poll would report its hang-up again and again.
                want = (0 if of.holds else select.POLLIN) | (select.POLLOUT if to.holds else 0)
                if want != wanted[descriptor]:
                    if want:
                        poll.register(descriptor, want)
                    else:
                        poll.unregister(descriptor)
                    wanted[descriptor] = want
            for descriptor, event in poll.poll():
                if descriptor == stop:
                    return
                of, to = sides[descriptor]
                if to.holds and event & ~select.POLLIN:
                    _advance(to.drain, to, of)
                if not of.holds and event & ~select.POLLOUT:
                    _advance(of.fill, of, to)


def _advance(step: Callable[[], object], pump: _Pump, other: _Pump) -> None:
    """Take a step of ``pump``. If it ends the connection, what came the other way before is relayed first."""
    try:
        step()
    except _Ended:
        with contextlib.suppress(_Ended):
            for _ in range(_LAST_PIECES):
                if other.holds or not other.fill():
                    break
        raise
