# SPDX-License-Identifier: GPL-2.0-only
"""The proxy between two sockets of the test: any data is passed on unchanged."""

from __future__ import annotations

import array
import contextlib
import errno
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import socket as Socketsocket
from typing import Any

import pytest
from descriptors import same_descriptors

from vfio_compliance.transport.vfio_user.observer import MOST_UNANSWERED, Moment
from vfio_compliance.transport.vfio_user.proxy import Proxy

DEADLINE = 30.0

VERSION, DMA_MAP, REGION_INFO, SET_IRQS, READ, WRITE, DMA_READ, RESET = 1, 2, 5, 8, 9, 10, 11, 13
DMA_UNMAP, DIRTY_PAGES = 3, 14
COMMAND, REPLY, NO_REPLY, ERROR = 0, 1, 16, 32


def message(
    number: int, command: int, payload: bytes = b"", flags: int = COMMAND, error: int = 0, size: int | None = None
) -> bytes:
    """A message; ``size`` is the one in its header, by default the true one."""
    return struct.pack("<HHIII", number, command, 16 + len(payload) if size is None else size, flags, error) + payload


def at(offset: int, region: int, count: int, data: bytes = b"") -> bytes:
    """The payload of a region access."""
    return struct.pack("<QII", offset, region, count) + data


class Notes:
    """A sink that records its calls, without the times."""

    def __init__(self) -> None:
        self.records: list[tuple[Any, ...]] = []

    def opened(self) -> None:
        self.records.append(("open",))

    def closed(self) -> None:
        self.records.append(("close",))

    def access(
        self, verb: str, moment: Moment, place: tuple[int, int, int], value: int, code: int, data: bytes, digest: str
    ) -> None:
        assert moment.took_ns >= 0
        self.records.append((verb, place, value, code, digest or data))

    def reset(self, moment: Moment, code: int) -> None:
        self.records.append(("reset", code))

    def memory(self, moment: Moment, command: int, asked: bytes, code: int) -> None:
        self.records.append((command, asked, code))

    def region(self, moment: Moment, info: bytes, mappable: bool) -> None:
        self.records.append(("region", info, mappable))


class Between:
    """A proxy in a thread, and the server that it connects to."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "a")
        self.notes = Notes()
        self.messages: list[str] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.settimeout(DEADLINE)
        self._server.bind(str(folder / "b"))
        self._server.listen()
        self.proxy = Proxy(self.path, str(folder / "b"), self.messages.append)
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self.proxy.serve, args=(self.notes, self._stopping), daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def pair(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        """A client, and what the server accepted for it."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(self.path)
            server, _ = self._server.accept()
            with server:
                server.settimeout(DEADLINE)
                yield client, server

    def deaf(self) -> None:
        """The server stops listening."""
        self._server.close()

    def finish(self) -> list[tuple[str | tuple[int, int, int] | int | bytes, ...]]:
        """Stops the proxy; all records."""
        if self._thread.is_alive():
            os.write(self._stop, b"!")
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive()
            self.proxy.close()
            self._server.close()
            os.close(self._stop)
            os.close(self._stopping)
        return self.notes.records


@pytest.fixture
def between(tmp_path: Path) -> Iterator[Between]:
    """A running proxy; no descriptor of it is left at the end."""
    with same_descriptors():
        running = Between(tmp_path)
        yield running
        running.finish()
        assert not os.path.exists(running.path)


def exactly(stream: Socketsocket, count: int) -> bytes:
    """The given number of bytes."""
    data = bytearray()
    while len(data) < count:
        piece = stream.recv(min(count - len(data), 1 << 20))
        assert piece, f"ended after {len(data)} of {count} bytes"
        data += piece
    return bytes(data)


def ended(stream: Socketsocket) -> bool:
    """Whether the other side closed the connection without sending more."""
    try:
        return stream.recv(1) == b""
    except ConnectionResetError:
        return True


def descriptors_with(stream: Socketsocket, count: int) -> tuple[bytes, list[int]]:
    """At most the given number of bytes by one call, and the descriptors received with them."""
    data, ancillary, _, _ = stream.recvmsg(count, socket.CMSG_SPACE(253 * 4))
    found = array.array("i")
    for _, _, content in ancillary:
        found.frombytes(content)
    return data, list(found)


def send_with(stream: Socketsocket, data: bytes, descriptors: Sequence[int]) -> None:
    """Bytes with descriptors."""
    stream.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def exchange(client: Socketsocket, server: Socketsocket, request: bytes, answer: bytes) -> None:
    """Sends a request one way and its answer the other; both arrive unchanged."""
    client.sendall(request)
    assert exactly(server, len(request)) == request
    server.sendall(answer)
    assert exactly(client, len(answer)) == answer


def test_accesses_are_recorded(between: Between) -> None:
    """Reads, writes and resets, carried out or refused, are passed on unchanged and recorded with their answers."""
    long = bytes(range(256)) * 4
    with between.pair() as (client, server):
        exchange(client, server, message(1, VERSION, b"\0\0\0\0"), message(1, VERSION, b"\0\0\0\0", REPLY))
        exchange(client, server, message(2, READ, at(8, 9, 8)), message(2, READ, at(8, 9, 8, b"12345678"), REPLY))
        exchange(client, server, message(3, READ, at(0, 9, 1)), message(3, READ, b"", REPLY | ERROR, 22))
        exchange(client, server, message(4, READ, at(0, 9, 1)), message(4, READ, b"", REPLY | ERROR, 0))
        exchange(client, server, message(5, WRITE, at(0, 9, 4, b"\2\0\0\0")), message(5, WRITE, at(0, 9, 4), REPLY))
        exchange(client, server, message(6, WRITE, at(64, 2, 1024, long)), message(6, WRITE, at(64, 2, 1024), REPLY))
        exchange(client, server, message(7, READ, at(64, 2, 1024)), message(7, READ, at(64, 2, 1024, long), REPLY))
        exchange(client, server, message(8, READ, at(64, 2, 8)), message(8, READ, at(64, 2, 3, b"abc"), REPLY))
        exchange(client, server, message(9, RESET), message(9, RESET, b"", REPLY))
        exchange(client, server, message(10, RESET), message(10, RESET, b"", REPLY | ERROR, 5))
        client.sendall(message(11, WRITE, at(0, 9, 4, b"\0\0\0\0"), NO_REPLY))
        exactly(server, 36)
        client.sendall(message(12, READ, at(0, 9, 4)))
        exactly(server, 32)
        client.close()
        assert ended(server)
    digest = hashlib.sha256(long).hexdigest()
    assert between.finish() == [
        ("open",),
        ("read", (9, 8, 8), 8, 0, b"12345678"),
        ("read", (9, 0, 1), -1, errno.EINVAL, b""),
        ("read", (9, 0, 1), -1, errno.EIO, b""),
        ("write", (9, 0, 4), 4, 0, b"\2\0\0\0"),
        ("write", (2, 64, 1024), 1024, 0, digest),
        ("read", (2, 64, 1024), 1024, 0, digest),
        ("read", (2, 64, 8), 3, 0, b"abc"),
        ("reset", 0),
        ("reset", errno.EIO),
        ("write", (9, 0, 4), 4, 0, b"\0\0\0\0"),
        ("read", (9, 0, 4), -1, errno.EPIPE, b""),
        ("close",),
    ]
    assert between.messages == []


def test_messages_in_any_pieces(between: Between) -> None:
    """Sent byte by byte, or many at once, they arrive as the same bytes."""
    requests = [message(number, READ, at(number, 9, 4)) for number in range(20)]
    with between.pair() as (client, server):
        for byte in b"".join(requests[:4]):
            client.sendall(bytes([byte]))
        client.sendall(b"".join(requests[4:]))
        assert exactly(server, 640) == b"".join(requests)
        for number in range(20):
            server.sendall(message(number, READ, at(number, 9, 4, b"data"), REPLY))
        assert len(exactly(client, 20 * 36)) == 720
    assert between.finish()[1:-1] == [("read", (9, number, 4), 4, 0, b"data") for number in range(20)]


def test_large_messages(between: Between) -> None:
    """Messages far larger than the proxy's buffers are passed on, both ways at the same time."""
    data = os.urandom(1 << 20) * 8
    up, down = message(1, WRITE, at(0, 2, len(data), data)), message(1, DMA_READ, data)
    with between.pair() as (client, server):
        sending = [threading.Thread(target=side.sendall, args=(what,)) for side, what in ((client, up), (server, down))]
        for thread in sending:
            thread.start()
        received: dict[str, bytes] = {}
        reading = threading.Thread(target=lambda: received.update(up=exactly(server, len(up))))
        reading.start()
        assert exactly(client, len(down)) == down
        for thread in (*sending, reading):
            thread.join(DEADLINE)
        assert received["up"] == up
        server.sendall(message(1, WRITE, at(0, 2, len(data)), REPLY))
        exactly(client, 32)
    assert between.finish()[1] == ("write", (2, 0, len(data)), len(data), 0, hashlib.sha256(data).hexdigest())


def test_requests_of_the_server(between: Between) -> None:
    """They reach a waiting client, and its answers reach the server; they are not accesses."""
    with between.pair() as (client, server):
        client.sendall(message(5, WRITE, at(0, 0, 4, b"\1\0\0\0")))
        exactly(server, 36)
        asked, given = message(5, DMA_READ, struct.pack("<QQ", 4096, 4)), struct.pack("<QQ", 4096, 4) + b"data"
        server.sendall(asked)
        assert exactly(client, len(asked)) == asked
        client.sendall(message(5, DMA_READ, given, REPLY))
        assert exactly(server, 36) == message(5, DMA_READ, given, REPLY)
        server.sendall(message(5, WRITE, at(0, 0, 4), REPLY))
        exactly(client, 32)
    assert between.finish()[1:-1] == [("write", (0, 0, 4), 4, 0, b"\1\0\0\0")]


def test_descriptors_stay_with_their_message(between: Between) -> None:
    """Each arrives with its own message, not with the one before or after, both ways."""
    plain = message(1, VERSION, b"\0\0\0\0")
    with between.pair() as (client, server):
        for source, target in ((client, server), (server, client)):
            files = [os.memfd_create(f"{number}") for number in range(3)]
            source.sendall(plain)
            send_with(source, message(2, DMA_MAP, bytes(32)), files)
            source.sendall(plain)
            assert descriptors_with(target, 20) == (plain, [])
            data, got = descriptors_with(target, 48)
            assert data == message(2, DMA_MAP, bytes(32))
            assert [os.fstat(one).st_ino for one in got] == [os.fstat(one).st_ino for one in files]
            assert descriptors_with(target, 20) == (plain, [])
            for descriptor in (*files, *got):
                os.close(descriptor)


def test_eventfds_are_passed_on(between: Between) -> None:
    """The client sees what the server writes to an eventfd of SET_IRQS; the answer is the server's."""
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    request = message(1, SET_IRQS, struct.pack("<5I", 20, 36, 1, 0, 1))
    with between.pair() as (client, server):
        send_with(client, request, [eventfd])
        data, (got,) = descriptors_with(server, len(request))
        assert data == request
        server.sendall(message(1, SET_IRQS, b"", REPLY | ERROR, 22))
        assert exactly(client, 16) == message(1, SET_IRQS, b"", REPLY | ERROR, 22)
        os.eventfd_write(got, 3)
        os.close(got)
    assert os.eventfd_read(eventfd) == 3
    os.close(eventfd)
    assert between.finish() == [("open",), ("close",)]


def test_regions_are_recorded(between: Between) -> None:
    """With the server's information, and whether it came with a descriptor."""
    info = struct.pack("<IIIIQQ", 32, 3, 9, 0, 4096, 0)
    with between.pair() as (client, server), open("/dev/null", "rb") as file:
        client.sendall(message(1, REGION_INFO, info))
        exactly(server, 48)
        send_with(server, message(1, REGION_INFO, info, REPLY), [file.fileno()])
        _, got = descriptors_with(client, 48)
        os.close(*got)
        exchange(client, server, message(2, REGION_INFO, info), message(2, REGION_INFO, info, REPLY))
        exchange(client, server, message(3, REGION_INFO, info), message(3, REGION_INFO, info[:8], REPLY))
    assert between.finish()[1:-1] == [("region", info, True), ("region", info, False)]


def test_calls_of_memory_are_recorded(between: Between) -> None:
    """Mapping, unmapping and dirty pages are passed on unchanged, and recorded with request and answer."""
    page = struct.pack("<QQ", 4096, 8)
    asked = {
        DMA_MAP: struct.pack("<IIQQQ", 32, 3, 0, 0x10000, 0x4000),
        DMA_UNMAP: struct.pack("<IIQQ", 48, 1, 0x10000, 0x4000) + page,
        DIRTY_PAGES: struct.pack("<IIQQ", 48, 4, 0x10000, 0x4000) + page,
    }
    with between.pair() as (client, server):
        for number, (command, payload) in enumerate(asked.items()):
            exchange(client, server, message(number, command, payload), message(number, command, b"", REPLY))
        refusal = message(9, DIRTY_PAGES, b"", REPLY | ERROR, 22)
        exchange(client, server, message(9, DIRTY_PAGES, struct.pack("<II", 4, 1)), refusal)
    accepted = [(command, payload, 0) for command, payload in asked.items()]
    assert between.finish()[1:-1] == [*accepted, (DIRTY_PAGES, struct.pack("<II", 4, 1), errno.EINVAL)]


def test_one_client_after_the_other(between: Between) -> None:
    """When a client disconnects, the server sees it, and the next one is served."""
    for number in range(3):
        with between.pair() as (client, server):
            client.sendall(message(number, RESET))
            assert exactly(server, 16) == message(number, RESET)
            client.close()
            assert ended(server)
    assert between.finish() == [("open",), ("reset", errno.EPIPE), ("close",)] * 3


def test_no_server(between: Between) -> None:
    """The client is disconnected, with a message why; the proxy continues."""
    between.deaf()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(between.path)
        assert ended(client)
    assert between.finish() == []
    (line,) = between.messages
    assert line.startswith("a client was sent away: cannot connect to")


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("size", [0, 15])
def test_framing_lost(between: Between, who: str, size: int) -> None:
    """After an impossible size, the header is passed on, both sides are closed, and one line says why."""
    bad = message(1, READ, size=size)
    with between.pair() as (client, server):
        sides = {"client": (client, server), "server": (server, client)}
        source, target = sides[who]
        source.sendall(bad + b"and what follows it")
        assert exactly(target, 16) == bad
        assert ended(target)
        assert ended(source)
    between.finish()
    assert between.messages == [
        f"a connection was ended: a message of the {who} (REGION_READ) says that it has {size} bytes, fewer than 16"
    ]


@pytest.mark.parametrize(
    ("who", "sent", "line"),
    [
        ("client", message(1, READ)[:7], ["a connection was ended: the client left inside a message"]),
        (
            "client",
            message(1, WRITE, b"abc", size=1 << 31),
            ["a connection was ended: the client left inside a message"],
        ),
        ("server", b"", ["a connection was ended: the server left"]),
        ("server", message(1, READ)[:7], ["a connection was ended: the server left inside a message"]),
        ("client", b"", []),
    ],
)
def test_disconnecting(between: Between, who: str, sent: bytes, line: Sequence[str]) -> None:
    """If a side disconnects, even inside a message, the other one receives the data so far, and the end."""
    with between.pair() as (client, server):
        sides = {"client": (client, server), "server": (server, client)}
        source, target = sides[who]
        source.sendall(sent)
        source.close()
        assert exactly(target, len(sent)) == sent
        assert ended(target)
    between.finish()
    assert between.messages == line


def test_last_answer_of_a_server(between: Between) -> None:
    """An answer sent before the server disconnects reaches a client that was still sending."""
    with between.pair() as (client, server):
        client.sendall(message(1, RESET))
        exactly(server, 16)
        answer = message(1, RESET, b"", REPLY | ERROR, 22)
        server.sendall(answer)
        server.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(message(2, RESET))
        assert exactly(client, 16) == answer
        assert ended(client)
    assert ("reset", 22) in between.finish()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (message(7, READ, at(0, 9, 4, b"data"), REPLY), errno.EPIPE),
        (message(1, WRITE, at(0, 9, 4), REPLY), errno.EPROTO),
        (message(1, READ, at(0, 9, 8, b"too much"), REPLY), errno.EPROTO),
        (message(1, READ, b"short", REPLY), errno.EPROTO),
        (message(1, READ, b"", REPLY | ERROR, 1 << 31), errno.EIO),
    ],
    ids=["another id", "another command", "too much", "too little", "no errno"],
)
def test_invalid_answers_are_passed_on(between: Between, answer: bytes, code: int) -> None:
    """They reach the client unchanged, and are recorded as a missing answer or a breach of the protocol."""
    with between.pair() as (client, server):
        exchange(client, server, message(1, READ, at(0, 9, 4)), answer)
    assert between.finish()[1:-1] == [("read", (9, 0, 4), -1, code, b"")]


@pytest.mark.parametrize("payload", [b"", b"short"])
def test_requests_that_are_too_short(between: Between, payload: bytes) -> None:
    """A region access without an offset is passed on, and not recorded."""
    with between.pair() as (client, server):
        for command in (READ, WRITE):
            exchange(client, server, message(1, command, payload), message(1, command, b"", REPLY))
    assert between.finish() == [("open",), ("close",)]


def test_commands_without_answers(between: Between) -> None:
    """A client with too many unanswered commands is disconnected; the number remembered is bounded."""
    with between.pair() as (client, server):
        client.sendall(b"".join(message(number, RESET) for number in range(MOST_UNANSWERED + 1)))
        assert len(exactly(server, 16 * (MOST_UNANSWERED + 1))) == 16 * (MOST_UNANSWERED + 1)
        assert ended(client)
    records = between.finish()
    assert records.count(("reset", errno.EPIPE)) == MOST_UNANSWERED + 1
    assert "have no answer" in between.messages[0]


def test_a_side_that_does_not_read(between: Between) -> None:
    """It blocks the other side, but not the proxy, which can still be stopped."""
    with between.pair() as (client, _):
        client.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 64 << 20:
                sent += client.send(message(1, WRITE, bytes(65536)))
        assert sent < 64 << 20
        between.finish()


def test_a_path_in_use(between: Between, tmp_path: Path) -> None:
    """If another program listens at a path, or it is a file, it is left alone."""
    from vfio_compliance.transport import SetupError

    with pytest.raises(SetupError, match="another program already listens"):
        Proxy(between.path, str(tmp_path / "b"), print)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SetupError, match="is not a socket"):
        Proxy(str(tmp_path / "file"), str(tmp_path / "b"), print)
    assert (tmp_path / "file").read_text() == "mine"
