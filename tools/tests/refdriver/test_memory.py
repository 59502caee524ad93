# SPDX-License-Identifier: GPL-2.0-only
"""DMA into guest memory, by descriptor and by message."""

from __future__ import annotations

import os
import struct
from errno import EACCES, EEXIST, EINVAL, ENOENT

import pytest
from guest_memory import BASE, PAGE, SIZE, Guest
from raw_client import (
    CONTROL,
    DMA_ADDRESS,
    DMA_LENGTH,
    DOORBELL,
    RUNNING,
    STATUS,
    STOP,
    STOP_AND_COPY,
    Client,
    Server,
    eventually,
)


def test_fills_memory_before_the_doorbell_returns(guest: Guest) -> None:
    """Exactly the requested range."""
    assert guest.ring(PAGE - 1, PAGE + 2, 0x155) == 1
    assert guest.content[PAGE - 2 : 2 * PAGE + 2] == b"\0" + b"\x55" * (PAGE + 2) + b"\0"


def test_ignores_the_doorbell_while_stopped(guest: Guest) -> None:
    """Neither memory nor STATUS changes."""
    guest.client.go(STOP)
    assert guest.ring(0, 8, 1) == 0
    assert guest.content[:8] == bytes(8)


@pytest.mark.parametrize("at", [-1, SIZE, SIZE - 1, -BASE])
def test_reports_dma_outside_the_mapping(guest: Guest, at: int) -> None:
    """STATUS says that it failed, and the device continues."""
    assert guest.ring(at, 8, 1) == 2
    assert guest.ring(0, 8, 1) == 1


def test_streams_a_growing_count_while_it_runs(guest: Guest) -> None:
    """To memory, about once a millisecond; never after a write that stops it."""
    client = guest.client

    def count() -> int:
        client.state()
        return int(struct.unpack("<Q", bytes(guest.content[:8]))[0])

    client.put(0, DMA_ADDRESS, 8, BASE)
    client.put(0, CONTROL, 4, 1)
    eventually(lambda: count() > 5)
    for state in (STOP_AND_COPY, STOP):
        client.go(RUNNING, state)
        last = bytes(guest.content[:8])
        for _ in range(50):
            client.state()
        assert bytes(guest.content[:8]) == last
    client.go(RUNNING)
    seen = count()
    eventually(lambda: count() > seen)
    client.put(0, CONTROL, 4, 0)
    last = bytes(guest.content[:8])
    for _ in range(50):
        client.state()
    assert bytes(guest.content[:8]) == last


def test_streams_by_descriptor_without_the_client(client: Client) -> None:
    """With a descriptor, the stream continues while the client is busy."""
    guest = Guest(client, True)
    client.put(0, DMA_ADDRESS, 8, BASE)
    client.put(0, CONTROL, 4, 1)
    eventually(lambda: struct.unpack("<Q", bytes(guest.content[:8]))[0] > 20)
    guest.close()


def test_commands_sent_during_dma_keep_their_order(client: Client) -> None:
    """Commands sent before the reply to a DMA write are carried out in turn."""
    guest = Guest(client, False)
    client.put(0, DMA_ADDRESS, 8, BASE)
    client.put(0, DMA_LENGTH, 4, 8)
    sent = [client.send(10, struct.pack("<QIII", DOORBELL, 0, 4, value)) for value in (1, 2, 3)]
    for ident in sent:
        assert client.answer(ident, 10)[0] == 0
    assert guest.content[:8] == b"\3" * 8


def test_splits_dma_into_pieces_that_the_client_accepts(server: Server) -> None:
    """At most max_data_xfer_size bytes each."""
    with server.client(text='{"capabilities": {"max_data_xfer_size": 1000}}') as client:
        guest = Guest(client, False)
        assert guest.ring(0, 4096, 7) == 1
        assert guest.content[:4097] == b"\7" * 4096 + b"\0"


def test_reports_dma_that_the_client_refused(client: Client) -> None:
    """An error reply is a failed DMA."""
    guest = Guest(client, False)
    client.dma_errno = EINVAL
    assert guest.ring(0, 8, 1) == 2


@pytest.mark.parametrize("errno", [4096, 1 << 31, (1 << 32) - 1])
def test_drops_a_client_that_refuses_dma_with_an_invalid_errno(server: Server, errno: int) -> None:
    """There is no such errno; the next client is served."""
    with server.client() as client:
        guest = Guest(client, by_descriptor=False)
        client.dma_errno = errno
        with pytest.raises(ConnectionError):
            guest.ring(0, 8, 1)
    assert server.serves()


def test_drops_a_client_that_floods_it_during_dma(server: Server, client: Client) -> None:
    """The number of commands kept is bounded; the next client is served."""
    guest = Guest(client, False)
    client.put(0, DMA_ADDRESS, 8, BASE)
    client.put(0, DMA_LENGTH, 4, 8)
    client.send(10, struct.pack("<QIII", DOORBELL, 0, 4, 1))
    try:
        for _ in range(100):
            client.send(13)
    except (BrokenPipeError, ConnectionResetError):
        pass
    client.close()
    guest.close()
    assert server.serves()


def test_survives_memory_that_shrinks(client: Client) -> None:
    """If a mapped file is truncated, the DMA fails, and the server survives."""
    guest = Guest(client, True)
    assert guest.fd is not None
    os.ftruncate(guest.fd, PAGE)
    assert guest.ring(2 * PAGE, 8, 1) == 2
    assert guest.ring(0, 8, 1) == 1
    os.ftruncate(guest.fd, SIZE)
    guest.close()


def test_does_not_write_read_only_memory(client: Client) -> None:
    """Flag 2 is needed."""
    client.memory[BASE] = bytearray(PAGE)
    assert client.try_map(BASE, PAGE, flags=1) == 0
    client.put(0, DMA_ADDRESS, 8, BASE)
    client.put(0, DMA_LENGTH, 4, 1)
    client.put(0, DOORBELL, 4, 1)
    assert client.get(0, STATUS, 4) == 2


def test_dma_crosses_from_one_mapping_to_the_next(client: Client) -> None:
    """Adjacent mappings are one range to the device."""
    for at in (0, PAGE):
        client.memory[BASE + at] = bytearray(PAGE)
        assert client.try_map(BASE + at, PAGE) == 0
    client.put(0, DMA_ADDRESS, 8, BASE + PAGE - 1)
    client.put(0, DMA_LENGTH, 4, 2)
    client.put(0, DOORBELL, 4, 9)
    assert (client.memory[BASE][-1], client.memory[BASE + PAGE][0]) == (9, 9)


@pytest.mark.parametrize(
    ("address", "size", "flags", "offset"),
    [
        (BASE, 0, 3, 0),
        (BASE + 1, PAGE, 3, 0),
        (BASE, PAGE + 1, 3, 0),
        (BASE, PAGE, 0, 0),
        (BASE, PAGE, 4, 0),
        (BASE, PAGE, 3, 1),
        (BASE, PAGE, 3, PAGE),
        (BASE, PAGE, 3, 1 << 63),
        (BASE, 1 << 40, 3, 0),
        ((1 << 64) - PAGE, 2 * PAGE, 3, 0),
    ],
)
def test_refuses_invalid_mappings(client: Client, address: int, size: int, flags: int, offset: int) -> None:
    """EINVAL for sizes, alignments, flags and files that do not fit."""
    memory = os.memfd_create("guest")
    os.ftruncate(memory, PAGE)
    assert client.try_map(address, size, memory, flags, offset) == EINVAL
    os.close(memory)


def test_refuses_descriptors_that_cannot_be_mapped(client: Client) -> None:
    """A pipe, and a file that is not writable."""
    ends = os.pipe()
    assert client.try_map(BASE, PAGE, ends[0]) == EINVAL
    with open(__file__, "rb") as file:
        assert client.try_map(BASE, PAGE, file.fileno()) == EACCES
    for end in ends:
        os.close(end)


def test_refuses_overlaps_and_partial_unmaps(client: Client) -> None:
    """EEXIST for a mapping that overlaps; only exactly the mapped range can be unmapped."""
    assert client.try_map(BASE, 2 * PAGE) == 0
    for address in (BASE - PAGE, BASE, BASE + PAGE):
        assert client.try_map(address, 2 * PAGE) == EEXIST
    assert client.try_map(BASE + 2 * PAGE, PAGE) == 0
    assert client.unmap(BASE, PAGE)[0] == EINVAL
    assert client.unmap(BASE, 3 * PAGE)[0] == EINVAL
    assert client.unmap(BASE + 3 * PAGE, PAGE)[0] == ENOENT
    assert client.unmap(BASE, 0)[0] == EINVAL
    assert client.unmap(BASE, 2 * PAGE) == (0, struct.pack("<IIQQ", 24, 0, BASE, 2 * PAGE))
    assert client.unmap(BASE, 2 * PAGE)[0] == ENOENT
    assert client.unmap(0, 0, 2) == (0, struct.pack("<IIQQ", 24, 2, 0, PAGE))
    assert client.unmap(0, 0, 4)[0] == EINVAL


def test_mapping_ends_with_the_client(server: Server, client: Client) -> None:
    """The next client finds nothing mapped and nothing tracked."""
    guest = Guest(client, True)
    client.dirty(1)
    guest.close()
    client.close()
    with server.client() as other:
        assert other.bitmap(BASE, SIZE)[0] == EINVAL
        assert other.try_map(BASE, SIZE) == 0
