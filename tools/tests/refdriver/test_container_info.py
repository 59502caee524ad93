# SPDX-License-Identifier: GPL-2.0-only
"""The extension that takes the place of VFIO_IOMMU_GET_INFO."""

from __future__ import annotations

import struct
from errno import EINVAL

import pytest
from raw_client import Client, Server

PAGE_SIZES = 4096 | 2 << 20 | 1 << 30
NEEDED = 88


@pytest.mark.parametrize("argsz", [88, 89, 4096, 0xFFFFFFFF])
@pytest.mark.parametrize("room", [4, 24, 4096])
def test_returns_the_chain_if_there_is_room(client: Client, argsz: int, room: int) -> None:
    """Migration, id 2, then the IOVA range, id 1; argsz is unchanged."""
    errno, reply = client.container_info(argsz, room)
    assert errno == 0
    assert struct.unpack_from("<IIQII", reply) == (argsz, 3, PAGE_SIZES, 24, 0)
    assert struct.unpack_from("<HHIIIQQ", reply, 24) == (2, 1, 56, 0, 0, 4096, 1 << 24)
    assert struct.unpack_from("<HHIIIQQ", reply, 56) == (1, 1, 0, 1, 0, 0, (1 << 64) - 1)
    assert len(reply) == NEEDED


@pytest.mark.parametrize("argsz", [16, 19, 20, 23, 24, 25, 87])
def test_argsz_is_the_size_needed_if_there_is_no_room(client: Client, argsz: int) -> None:
    """No byte after argsz or after the structure, and no chain."""
    errno, reply = client.container_info(argsz)
    assert errno == 0
    assert reply == struct.pack("<IIQII", NEEDED, 3, PAGE_SIZES, 0, 0)[:argsz]


@pytest.mark.parametrize("argsz", [0, 1, 15])
def test_refuses_an_argsz_that_holds_nothing(client: Client, argsz: int) -> None:
    """EINVAL, whatever the size of the message."""
    assert client.container_info(argsz)[0] == EINVAL
    assert client.container_info(argsz, 88)[0] == EINVAL


def test_refuses_messages_that_are_too_short_or_too_long(client: Client) -> None:
    """4 to 4096 bytes are accepted."""
    assert client.call(0x8001, b"\x58\0\0")[0] == EINVAL
    assert client.call(0x8001, struct.pack("<I", 4096) + bytes(4093))[0] == EINVAL


def test_page_size_is_the_one_agreed_on(server: Server) -> None:
    """The bitmap's smallest page size is the smaller of the two proposals."""
    with server.client(text='{"capabilities": {"migration": {"pgsize": 512}}}') as client:
        _, reply = client.container_info(88)
        assert struct.unpack_from("<Q", reply, 40) == (512,)
