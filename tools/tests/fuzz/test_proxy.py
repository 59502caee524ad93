# SPDX-License-Identifier: GPL-2.0-only
"""The recording proxy between a client and a server that send anything."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from campaign import RIGHT, Campaign
from hostile_client import HEADER, Descriptors, requests
from mutation import mutate, number

from vfio_compliance.clients.record import Recording
from vfio_compliance.clients.trace import Reader, Writer
from vfio_compliance.transport.vfio_user.proxy import Proxy

_DEADLINE = 30.0
_READ = struct.pack("<QII", 0, 9, 4)


class _Message(NamedTuple):
    data: bytes
    descriptors: tuple[int, ...]


def test_proxy(campaign: Callable[[str, str], Campaign], tmp_path: Path) -> None:
    """Data arrives as it was sent, or not at all; the next client is served, and the trace can be read."""
    counted = campaign("proxy", "hostile_messages")
    descriptors = Descriptors()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "server"))
    listener.listen()
    listener.settimeout(_DEADLINE)
    reports: list[str] = []
    proxy = Proxy(str(tmp_path / "proxy"), str(tmp_path / "server"), reports.append)
    recording = Recording(Writer(tmp_path / "trace", "random messages", maps_seen=False))
    reading, writing = os.pipe()
    thread = threading.Thread(target=proxy.serve, args=(recording, reading), daemon=True)
    thread.start()

    def both() -> tuple[socket.socket, socket.socket]:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "proxy"))
        return client, listener.accept()[0]

    def trial(rng: Random) -> None:
        client, server = both()
        with client, server:
            asked = _messages(rng, counted, descriptors, None)
            _converse(client, server, asked, _messages(rng, counted, descriptors, asked))
        client, server = both()
        with client, server:
            _check_good(client, server)
        counted.add_outcome("ended by the proxy" if reports else "ended by its sides")
        reports.clear()

    try:
        counted.run(2000, trial)
    finally:
        os.write(writing, b"!")
        thread.join(_DEADLINE)
        proxy.close()
        recording.finish()
        for each in (reading, writing):
            os.close(each)
        listener.close()
        descriptors.close()
    assert not thread.is_alive()
    *_, end = Reader(tmp_path / "trace")
    assert end.verb == "end"


def _messages(rng: Random, counted: Campaign, descriptors: Descriptors, asked: list[_Message] | None) -> list[_Message]:
    """Messages of a client or, for requests in ``asked``, the replies of a server; some of them wrong."""
    messages = []
    answers: list[_Message | None] = [None] * rng.randrange(1, 8)
    for message in asked or answers:
        if message is None:
            command, body, passed = next(requests(rng, descriptors))
            given = tuple(passed)
            data = HEADER.pack(rng.randrange(8), command, 16 + len(body), 0, 0) + body[: 1 << 14]
        else:
            given = ()
            flags = rng.choice((1, 1, 1, 0x21, 0, 0x10))
            body = message.data[16 : rng.choice((32, 48, 100, 1 << 14))]
            data = message.data[:4].ljust(4, b"\0") + struct.pack("<III", 16 + len(body), flags, number(rng, 2)) + body
        kind = RIGHT
        if rng.random() < 0.5:
            kind, data = mutate(rng, data)
        if rng.random() < 0.1:
            given = tuple(descriptors.one(rng) for _ in range(rng.choice((1, 2, 9, 200))))
            kind = "descriptors"
        counted.add_input(kind, data)
        messages.append(_Message(data or b"\0", given))
    return messages


def _converse(client: socket.socket, server: socket.socket, asked: list[_Message], answered: list[_Message]) -> None:
    """Both send all they have and hang up; each receives a prefix of what the other sent."""
    sides = {client: (server, answered), server: (client, asked)}
    expected = {side: b"".join(message.data for message in sent) for side, (_, sent) in sides.items()}
    waiting = {client: list(asked), server: list(answered)}
    received = dict.fromkeys(sides, b"")
    with selectors.DefaultSelector() as selector:
        for side in sides:
            side.setblocking(False)
            selector.register(side, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while selector.get_map():
            ready = selector.select(_DEADLINE)
            assert ready, "the proxy neither receives nor sends anything"
            for key, events in ready:
                assert isinstance(key.fileobj, socket.socket)
                side = key.fileobj
                if events & selectors.EVENT_WRITE and not _send(side, waiting[side]):
                    selector.modify(side, selectors.EVENT_READ)
                elif events & selectors.EVENT_READ:
                    piece = _receive(side)
                    if not piece:
                        selector.unregister(side)
                    received[side] += piece or b""
    for side, whole in expected.items():
        assert whole.startswith(received[side]), "the data that arrived is not the data sent"


def _send(side: socket.socket, waiting: list[_Message]) -> bool:
    """Send as much as there is room for, and hang up after the last; returns whether there is more."""
    try:
        while waiting:
            data, given = waiting[0]
            sent = socket.send_fds(side, [data], given)
            if sent == len(data):
                waiting.pop(0)
            else:
                waiting[0] = _Message(data[sent:], ())
        side.shutdown(socket.SHUT_WR)
    except BlockingIOError:
        return True
    except OSError:
        waiting.clear()
    return False


def _receive(side: socket.socket) -> bytes:
    """The data that has arrived; nothing at the end."""
    try:
        piece, given, _, _ = socket.recv_fds(side, 1 << 16, 253)
    except ConnectionError:
        return b""
    for each in given:
        os.close(each)
    return piece


def _check_good(client: socket.socket, server: socket.socket) -> None:
    """A read and its reply pass through."""
    for source, target, flags, body in ((client, server, 0, _READ), (server, client, 1, _READ + b"abcd")):
        message = HEADER.pack(1, 9, 16 + len(body), flags, 0) + body
        for side in (source, target):
            side.settimeout(_DEADLINE)
        source.sendall(message)
        arrived = b""
        while len(arrived) < len(message):
            piece = target.recv(100)
            assert piece, "the proxy dropped a good connection"
            arrived += piece
        assert arrived == message
    client.close()
    with suppress(ConnectionError):
        assert server.recv(1) == b""
