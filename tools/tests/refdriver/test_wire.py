# SPDX-License-Identifier: GPL-2.0-only
"""The protocol, and clients that break it: they get an error or are dropped, and the next client is served."""

from __future__ import annotations

import os
import socket
import struct
from errno import EINVAL, EOPNOTSUPP
from itertools import product
from pathlib import Path

import pytest
from raw_client import MIGRATION, STATE, Client, Server

VERSION_0 = struct.pack("<HH", 0, 0)


def test_agrees_on_version_and_capabilities(server: Server) -> None:
    """Version 0.0, three capabilities, and an extension."""
    with Client.to(server.path) as client:
        capabilities = client.greet('{"capabilities": {"max_msg_fds": 8, "other": 1}}')
    assert capabilities == {
        "max_msg_fds": 1,
        "max_data_xfer_size": 1 << 20,
        "migration": {"pgsize": 4096},
        "container_info": True,
    }


def test_answers_a_newer_minor_version_with_its_own(server: Server) -> None:
    """Minor 7 is proposed, minor 0 agreed on."""
    with Client.to(server.path) as client:
        assert client.good(1, struct.pack("<HH", 0, 7))[:4] == VERSION_0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        struct.pack("<HH", 1, 0),
        VERSION_0 + b"{}",
        VERSION_0 + b"nonsense\0",
        VERSION_0 + b"\xff\xfe\0",
        VERSION_0 + b"[" * 100_000 + b"\0",
        VERSION_0 + b"[]\0",
        VERSION_0 + b'{"capabilities": 1}\0',
        VERSION_0 + b'{"capabilities": {"max_data_xfer_size": 0}}\0',
        VERSION_0 + b'{"capabilities": {"max_data_xfer_size": true}}\0',
        VERSION_0 + b'{"capabilities": {"migration": 4096}}\0',
        VERSION_0 + b'{"capabilities": {"migration": {"pgsize": 4097}}}\0',
        VERSION_0 + b'{"capabilities": {"migration": {"pgsize": 1}}}\0',
    ],
    ids=[
        "empty",
        "short",
        "other major",
        "no NUL",
        "not JSON",
        "not UTF-8",
        "too deep",
        "list",
        "not an object",
        "no room",
        "Boolean",
        "not an object inside",
        "odd page size",
        "tiny page size",
    ],
)
def test_refuses_invalid_proposals(server: Server, body: bytes) -> None:
    """EINVAL, and the connection ends; the next client is served."""
    with Client.to(server.path) as client:
        assert client.call(1, body)[0] == EINVAL
        assert client.sock.recv(1) == b""
    assert server.serves()


def test_version_must_come_first(server: Server) -> None:
    """Another first command is refused, and the connection ends."""
    with Client.to(server.path) as client:
        assert client.call(13)[0] == EINVAL
        assert client.sock.recv(1) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\1",
        struct.pack("<HHIII", 1, 9, 15, 0, 0),
        struct.pack("<HHIII", 1, 9, 0, 0, 0),
        struct.pack("<HHIII", 1, 9, 0xFFFFFFFF, 0, 0),
        struct.pack("<HHIII", 1, 9, 32, 0, 0) + b"half",
        struct.pack("<HHIII", 1, 9, 16, 1, 0),
        struct.pack("<HHIII", 1, 9, 16, 7, 0),
    ],
    ids=["one byte", "size 15", "size 0", "huge", "truncated", "reply", "odd type"],
)
def test_drops_a_client_that_cannot_be_followed(server: Server, data: bytes) -> None:
    """The connection ends, also when descriptors were in flight; the next client is served."""
    with server.client() as client:
        socket.send_fds(client.sock, [data], [0, 1])
        client.sock.shutdown(socket.SHUT_WR)
        assert client.sock.recv(1) == b""
    assert server.serves()


@pytest.mark.parametrize(
    ("command", "length"),
    [*product([2, 3, 5, 7, 8, 9, 10, 14], [0, 7, 23, 48]), (4, 0), (4, 7), (0x8001, 0)],
)
def test_refuses_invalid_bodies(client: Client, command: int, length: int) -> None:
    """EINVAL for bytes of 0xFF, and the client may continue."""
    assert client.call(command, b"\xff" * length)[0] == EINVAL
    assert client.state() == 1


@pytest.mark.parametrize(("command", "length"), [(4, 23), (4, 48), (0x8001, 7), (0x8001, 23), (0x8001, 48)])
def test_accepts_any_body_of_commands_without_arguments(client: Client, command: int, length: int) -> None:
    """Only their length can be wrong."""
    errno, reply = client.call(command, b"\xff" * length)
    assert errno == 0
    assert reply
    assert client.state() == 1


@pytest.mark.parametrize("command", [0, 6, 11, 12, 15, 99, 0x8000, 0x8002, 0xFFFF])
def test_refuses_unknown_commands(client: Client, command: int) -> None:
    """EOPNOTSUPP, and the client may continue."""
    assert client.call(command)[0] == EOPNOTSUPP
    assert client.call(1, VERSION_0)[0] == EINVAL
    assert client.state() == 1


def test_sends_no_reply_if_none_is_wanted(client: Client) -> None:
    """The command is carried out or refused."""
    client.send(10, struct.pack("<QII", STATE, MIGRATION, 4) + bytes(4), flags=0x10)
    client.send(10, b"", flags=0x10)
    assert client.state() == 0


def test_carries_out_commands_sent_ahead_in_order(client: Client) -> None:
    """Three writes and a read are sent at once; there are four replies."""
    writes = [client.send(10, struct.pack("<QII", 0x28, 0, 8) + struct.pack("<Q", value)) for value in (1, 2, 3)]
    read = client.send(9, struct.pack("<QII", 0x28, 0, 8))
    for ident in writes:
        assert client.answer(ident, 10)[0] == 0
    assert client.answer(read, 9)[1][16:] == struct.pack("<Q", 3)


def test_accepts_a_message_in_pieces(client: Client) -> None:
    """Even byte by byte, with descriptors at any of them."""
    memory = os.memfd_create("guest")
    os.ftruncate(memory, 4096)
    message = struct.pack("<HHIIIIIQQQ", 1, 2, 48, 0, 0, 32, 3, 0, 0x1000, 4096)
    for place, byte in enumerate(message):
        client.sock.sendall(bytes([byte])) if place != 20 else socket.send_fds(client.sock, [bytes([byte])], [memory])
    os.close(memory)
    assert client.answer(1, 2) == (0, b"")


def test_refuses_more_data_than_the_client_accepts(server: Server) -> None:
    """EINVAL for a count above max_data_xfer_size."""
    with Client.to(server.path) as client:
        client.greet('{"capabilities": {"max_data_xfer_size": 64}}')
        assert client.try_read(2, 0, 64)[0] == 0
        assert client.try_read(2, 0, 65)[0] == EINVAL


def test_verbose_says_why_a_client_was_dropped(tmp_path: Path) -> None:
    """In one line on standard error."""
    with Server(tmp_path, "--verbose") as server:
        with server.client() as client:
            client.sock.sendall(struct.pack("<HHIII", 1, 9, 15, 0, 0))
            assert client.sock.recv(1) == b""
        assert server.end() == (0, "refdriver: client dropped: a message claims a size of 15 bytes\n")
