# SPDX-License-Identifier: GPL-2.0-only
"""The extension that stands for VFIO_IOMMU_GET_INFO."""

from __future__ import annotations

import struct
from errno import EINVAL

import pytest
from raw_client import Client, Server

PAGE_SIZES = 4096 | 2 << 20 | 1 << 30
NEEDED = 88


@pytest.mark.parametrize("argsz", [88, 89, 4096, 0xFFFFFFFF])
@pytest.mark.parametrize("room", [4, 24, 4096])
def test_gives_the_chain_where_there_is_room(client: Client, argsz: int, room: int) -> None:
    """Migration, id 2, then the IOVA range, id 1; argsz is left as it was."""
    errno, reply = client.container_info(argsz, room)
    assert errno == 0
    assert struct.unpack_from("<IIQII", reply) == (argsz, 3, PAGE_SIZES, 24, 0)
    assert struct.unpack_from("<HHIIIQQ", reply, 24) == (2, 1, 56, 0, 0, 4096, 1 << 24)
    assert struct.unpack_from("<HHIIIQQ", reply, 56) == (1, 1, 0, 1, 0, 0, (1 << 64) - 1)
    assert len(reply) == NEEDED


@pytest.mark.parametrize("argsz", [16, 19, 20, 23, 24, 25, 87])
def test_says_how_much_room_it_needs(client: Client, argsz: int) -> None:
    """No byte past argsz, none past the structure, no chain."""
    errno, reply = client.container_info(argsz)
    assert errno == 0
    assert reply == struct.pack("<IIQII", NEEDED, 3, PAGE_SIZES, 0, 0)[:argsz]


@pytest.mark.parametrize("argsz", [0, 1, 15])
def test_refuses_an_argsz_that_holds_nothing(client: Client, argsz: int) -> None:
    """EINVAL, however much was sent."""
    assert client.container_info(argsz)[0] == EINVAL
    assert client.container_info(argsz, 88)[0] == EINVAL


def test_refuses_a_message_without_argsz_or_with_too_much(client: Client) -> None:
    """From 4 to 4096 bytes."""
    assert client.call(0x8001, b"\x58\0\0")[0] == EINVAL
    assert client.call(0x8001, struct.pack("<I", 4096) + bytes(4093))[0] == EINVAL


def test_names_the_page_size_agreed_on(server: Server) -> None:
    """The bitmap's smallest page size is that of both sides."""
    with server.client(text='{"capabilities": {"migration": {"pgsize": 512}}}') as client:
        _, reply = client.container_info(88)
        assert struct.unpack_from("<Q", reply, 40) == (512,)
