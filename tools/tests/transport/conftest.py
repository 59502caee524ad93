# SPDX-License-Identifier: GPL-2.0-only
"""What every test of the transports wants: to see that no descriptor is left behind."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_server import AMPLE, Connect, Script, ScriptedServer

from vfio_compliance.transport import VfioUser, VfioUserSettings


@pytest.fixture(autouse=True)
def _no_descriptor_left() -> Iterator[None]:
    before = _descriptors()
    yield
    left = _descriptors() - before
    if left:
        gc.collect()  # an exception that a test caught may have kept something alive; seldom, and this is slow
        left = _descriptors() - before
    assert not left, f"left open: {left}"


def _descriptors() -> set[str]:
    """What each open descriptor is, with its number."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Gives a function that starts a server with a script and returns an open client of it."""
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
