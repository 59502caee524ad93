# SPDX-License-Identifier: GPL-2.0-only
"""The reference server, with clients that send anything."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from campaign import ROOM, Campaign
from hostile_client import Descriptors, Dropped, HostileClient, Request, requests, version
from raw_client import DEADLINE, RUNNING, Server

_GREETING = Request(1, bytes(4))
_MOST = 40


#: The default device, and one as different from it as possible.
_DEVICES = {
    "plain-server": (),
    "refusing-server": (
        *("--data-section=partitioned", "--offset=moving", "--buffer=4096", "--memory=0", "--pre-copy=none"),
        *("--undrawn=refuse", "--read-only=refuse", "--dirty-scope=everything"),
    ),
}


@pytest.fixture
def server(tmp_path: Path, device: str) -> Iterator[Server]:
    """A server with little memory and few descriptors."""
    with Server(tmp_path, *_DEVICES[device]) as running:
        pid = running.process.pid
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        # A bitmap has up to 2^28 bytes, and twice that while it is made.
        resource.prlimit(pid, resource.RLIMIT_AS, (size + 2 * ROOM, size + 2 * ROOM))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))
        yield running


@pytest.fixture
def descriptors() -> Iterator[Descriptors]:
    """Descriptors of all kinds."""
    made = Descriptors()
    yield made
    made.close()


@pytest.mark.parametrize("device", _DEVICES)
def test_server(
    campaign: Callable[[str, str], Campaign], device: str, server: Server, descriptors: Descriptors
) -> None:
    """Whatever a client sends, the server prints nothing on standard error, and serves the next client."""
    counted = campaign(device, "hostile_messages")

    def trial(rng: Random) -> None:
        with HostileClient(server.path, rng, counted, descriptors) as hostile, suppress(Dropped):
            hostile.greet(version(rng) if rng.random() < 0.1 else _GREETING)
            for _, request in zip(range(rng.randrange(_MOST)), requests(rng, descriptors), strict=False):
                hostile.say(request)
            hostile.leave()
        _check_good(server)

    counted.run(10_000 // len(_DEVICES), trial, server.process.pid)
    assert server.end() == (0, "")


def _check_good(server: Server) -> None:
    """The server serves a good client, with a device that can be reset and runs."""
    try:
        with server.client() as client:
            client.reset()
            assert client.state() == RUNNING
            client.sock.shutdown(socket.SHUT_WR)
            assert client.sock.recv(1) == b"", "the server has not cleaned up after this client"
    except OSError as error:
        raise AssertionError(f"the server ended: {server.process.communicate(timeout=DEADLINE)[1]}") from error
