# SPDX-License-Identifier: GPL-2.0-only
"""Devices built with other options than the default, and faults injected into a transfer."""

from __future__ import annotations

import struct
from errno import EINVAL, EIO
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest
from raw_client import (
    COUNTER,
    LOAD_FAULT,
    MIGRATION,
    OFFSET,
    PENDING,
    PRE_COPY,
    RESUMING,
    RUNNING,
    SAVE_FAULT,
    SCRATCH0,
    SIZE,
    STOP,
    STOP_AND_COPY,
    Client,
    Server,
)

PAGE = 4096


def sizes(client: Client) -> tuple[int, int]:
    """Sizes of the device memory and of the migration region."""
    infos = [struct.unpack_from("<IIIIQQ", client.good(5, struct.pack("<4I2Q", 4096, 0, i, 0, 0, 0))) for i in (2, 9)]
    return infos[0][4], infos[1][4]


def fill(client: Client, memory: int) -> None:
    """Fill the whole state with content."""
    client.put(0, SCRATCH0, 8, 11)
    data = bytes(i * 7 & 0xFF for i in range(memory))
    for start in range(0, memory, 1 << 20):
        assert client.try_write(2, start, data[start : start + (1 << 20)])[0] == 0


def content(client: Client, memory: int) -> tuple[bytes, int]:
    """The device memory and a register."""
    pieces = [client.try_read(2, i, min(1 << 20, memory - i))[1] for i in range(0, memory, 1 << 20)]
    return b"".join(pieces), client.get(0, SCRATCH0, 8)


def save(client: Client) -> tuple[list[bytes], list[int]]:
    """The buffers of the current state, and the offset of each."""
    buffers, places = [], []
    while client.get(MIGRATION, PENDING, 8):
        places.append(client.get(MIGRATION, OFFSET, 8))
        buffers.append(client.save_one())
    return buffers, places


def took(since: float) -> float:
    """Microseconds."""
    return (monotonic() - since) * 1e6


@pytest.mark.parametrize(
    ("memory", "section", "buffer", "count"),
    [
        (0, 16384, 16384, 1),
        (0, 8192, 8, 18),
        (64, 8192, 8, 39),
        (1, 16384, 16384, 1),
        (65536, 65536 * 2, 65536 * 2, 1),
        (65536, 8192, 1000, 66),
        (3 << 20, 2 << 20, (1 << 20) - 3, 4),
    ],
)
def test_saves_states_of_any_size(tmp_path: Path, memory: int, section: int, buffer: int, count: int) -> None:
    """From only the registers to many times the region; pre-copy is left half read."""
    options = (f"--memory={memory}", f"--section={section}", f"--buffer={buffer}")
    with Server(tmp_path, *options) as server, server.client() as client:
        assert sizes(client) == (memory, PAGE + section)
        fill(client, memory)
        expected = content(client, memory)
        client.go(PRE_COPY)
        assert (client.get(MIGRATION, PENDING, 8) > 0) == (memory > 0)
        early = [client.save_one() for _ in range(min(memory, 1))]
        client.go(STOP_AND_COPY)
        pending = client.get(MIGRATION, PENDING, 8)
        buffers, places = save(client)
        assert (len(buffers), sum(map(len, buffers)), set(places)) == (count, pending, {PAGE})
        assert max(map(len, buffers)) <= buffer
        client.reset()
        client.restore(early + buffers)
        assert content(client, memory) == expected


def test_device_without_memory_has_no_such_region(tmp_path: Path) -> None:
    """Every access is refused."""
    with Server(tmp_path, "--memory=0") as server, server.client() as client:
        assert client.try_read(2, 0, 1)[0] == EINVAL
        assert client.try_write(2, 0, b"1")[0] == EINVAL


@pytest.mark.parametrize(("kind", "unit"), [("mapped", PAGE), ("trapped", 8), ("partitioned", PAGE)])
@pytest.mark.parametrize(("buffer", "moves"), [(4096, True), (5000, True), (8192, True), (12288, True), (16384, False)])
def test_moving_offset_changes_with_each_buffer(tmp_path: Path, kind: str, unit: int, buffer: int, moves: bool) -> None:
    """data_offset differs from buffer to buffer if there is room, when saving and when resuming."""
    options = ("--offset=moving", f"--buffer={buffer}", f"--data-section={kind}")
    with Server(tmp_path, *options) as server, server.client() as client:
        fill(client, 65536)
        expected = content(client, 65536)
        client.go(STOP_AND_COPY)
        buffers, places = save(client)
        client.reset()
        client.go(RESUMING)
        taken = []
        for data in buffers:
            taken.append(client.get(MIGRATION, OFFSET, 8))
            assert client.get(MIGRATION, OFFSET, 8) == taken[-1]
            assert client.try_restore_one(data) == 0
        client.go(RUNNING)
        assert content(client, 65536) == expected
        assert taken == places
        assert all(place % unit == 0 and place + buffer <= PAGE + 16384 for place in places)
        assert {one != other for one, other in pairwise(places)} == {moves}


def test_pre_copy_none_offers_nothing(tmp_path: Path) -> None:
    """Everything is saved after it."""
    with Server(tmp_path, "--pre-copy=none") as server, server.client() as client:
        fill(client, 65536)
        expected = content(client, 65536)
        client.go(PRE_COPY)
        assert client.get(MIGRATION, PENDING, 8) == 0
        client.go(STOP_AND_COPY)
        buffers = client.save()
        client.reset()
        client.restore(buffers)
        assert content(client, 65536) == expected


def test_slow_delays_each_buffer(tmp_path: Path) -> None:
    """Making a buffer available, and consuming one; nothing else."""
    with Server(tmp_path, "--slow=500000", "--memory=0") as server, server.client() as client:
        client.go(STOP_AND_COPY)
        start = monotonic()
        client.get(MIGRATION, OFFSET, 8)
        assert took(start) >= 500000
        start = monotonic()
        buffer = client.save_one()
        client.reset()
        client.go(RESUMING)
        assert took(start) < 500000
        start = monotonic()
        assert client.try_restore_one(buffer) == 0
        assert took(start) >= 500000


def test_slow_reset_delays_resets(tmp_path: Path) -> None:
    """And no transition."""
    with Server(tmp_path, "--slow-reset=300000") as server, server.client() as client:
        start = monotonic()
        client.go(STOP, RUNNING, STOP_AND_COPY)
        assert took(start) < 300000
        start = monotonic()
        client.reset()
        assert took(start) >= 300000
        assert client.state() == RUNNING


def test_slow_transition_delays_transitions(tmp_path: Path) -> None:
    """Each accepted change to another state; not the current state, a refusal or a reset."""
    with Server(tmp_path, "--slow-transition=300000", "--undrawn=refuse") as server, server.client() as client:
        start = monotonic()
        client.go(RUNNING)
        assert client.try_go(0b111) == client.try_go(0b110) == EINVAL
        client.reset()
        assert took(start) < 300000
        for state in (PRE_COPY, STOP_AND_COPY):
            start = monotonic()
            client.go(state)
            assert took(start) >= 300000
            assert client.state() == state


def test_quiet_does_not_migrate_the_counter(tmp_path: Path) -> None:
    """A save returns the same bytes after the device ran again, and resuming does not change COUNTER."""
    with Server(tmp_path, "--quiet=yes") as server, server.client() as client:
        fill(client, 65536)
        client.go(STOP_AND_COPY)
        first = client.save()
        client.go(RUNNING, STOP_AND_COPY)
        assert client.save() == first
        client.go(STOP)
        counter = client.get(0, COUNTER, 8)
        assert counter > 0
        client.go(RESUMING)
        for buffer in first:
            assert client.try_restore_one(buffer) == 0
        client.go(STOP)
        assert client.get(0, COUNTER, 8) == counter


def test_save_fault_fails_at_its_buffer(client: Client) -> None:
    """SAVE_FAULT counts down; EIO once, pending_bytes and state unchanged, and then the buffer."""
    client.go(STOP_AND_COPY)
    client.put(0, SAVE_FAULT, 4, 2)
    pending = client.get(MIGRATION, PENDING, 8)
    first = client.save_one()
    assert client.get(0, SAVE_FAULT, 4) == 1
    assert client.get(MIGRATION, PENDING, 8) == pending - len(first)
    assert client.try_read(MIGRATION, OFFSET, 8)[0] == EIO
    assert client.get(MIGRATION, PENDING, 8) == pending - len(first)
    assert (client.state(), client.get(0, SAVE_FAULT, 4)) == (STOP_AND_COPY, 0)
    rest = client.save()
    client.reset()
    client.restore([first, *rest])


def test_load_fault_fails_at_its_buffer(client: Client) -> None:
    """LOAD_FAULT counts down; EIO once, and the same buffer may be written again."""
    fill(client, 65536)
    expected = content(client, 65536)
    client.go(STOP_AND_COPY)
    buffers = client.save()
    client.reset()
    client.go(RESUMING)
    client.put(0, LOAD_FAULT, 4, 3)
    answers = [client.try_restore_one(buffer) for buffer in buffers[:3]]
    assert answers == [0, 0, EIO]
    assert (client.state(), client.get(0, LOAD_FAULT, 4)) == (RESUMING, 0)
    assert [client.try_restore_one(buffer) for buffer in buffers[2:]] == [0] * 3
    client.go(RUNNING)
    assert content(client, 65536) == expected


def test_reset_clears_faults(client: Client) -> None:
    """Both registers read zero."""
    for register in (SAVE_FAULT, LOAD_FAULT):
        client.put(0, register, 4, 0xFFFFFFFF)
        assert client.get(0, register, 4) == 0xFFFFFFFF
    client.reset()
    assert [client.get(0, register, 4) for register in (SAVE_FAULT, LOAD_FAULT)] == [0, 0]


def test_large_state_needs_little_memory(tmp_path: Path) -> None:
    """Saving 256 MiB that were never written needs only the data section."""
    options = ("--memory=268435456", "--section=1048576", "--buffer=1048576")
    with Server(tmp_path, *options) as server, server.client() as client:

        def resident() -> int:
            pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
            return int(pages) * PAGE

        idle = resident()
        client.go(PRE_COPY)
        assert client.get(MIGRATION, PENDING, 8) > 1 << 28
        client.go(STOP_AND_COPY)
        total, most = 0, 0
        while client.get(MIGRATION, PENDING, 8):
            client.get(MIGRATION, OFFSET, 8)
            total += client.get(MIGRATION, SIZE, 8)
            most = max(most, resident())
        assert total > 1 << 28
        assert most - idle < 4 << 20
