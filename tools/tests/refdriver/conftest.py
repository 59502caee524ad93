# SPDX-License-Identifier: GPL-2.0-only
"""One server per module of tests; for each test, a client on a device that was reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dirty_bench import Bench
from guest_memory import Guest
from raw_client import Client, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A good device."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """The only client, with a version agreed on, on a device just reset."""
    with server.client() as client:
        client.reset()
        yield client


@pytest.fixture(params=[True, False], ids=["by descriptor", "by message"])
def guest(client: Client, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """Guest memory, reached in each of the two ways."""
    guest = Guest(client, request.param)
    yield guest
    guest.close()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Makes containers with a device, good ones and broken ones."""
    made: list[Bench] = []

    def make(*defects: str, **more: Any) -> Bench:
        made.append(Bench(*defects, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()
