# SPDX-License-Identifier: GPL-2.0-only
"""Every test of the transports checks that it leaks no descriptor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from descriptors import no_descriptor_left
from scripted import AMPLE, Connect, Script, ScriptedServer

from vfio_compliance.transport import VfioUser, VfioUserSettings


@pytest.fixture(autouse=True)
def _no_descriptor_left() -> Iterator[None]:
    with no_descriptor_left():
        yield


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """A function that starts a server with a script and returns an open client of it."""
    servers: list[ScriptedServer] = []
    clients: list[VfioUser] = []

    def start(script: Script, version: bytes | None = None, deadline: float = AMPLE) -> VfioUser:
        path = tmp_path / f"{len(servers)}.sock"
        servers.append(ScriptedServer(path, script, version))
        client = VfioUser(VfioUserSettings(str(path), None, deadline, AMPLE))
        clients.append(client)
        client.open()
        return client

    yield start
    for client in clients:
        client.shutdown()
    for server in servers:
        server.stop()
