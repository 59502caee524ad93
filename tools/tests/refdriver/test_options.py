# SPDX-License-Identifier: GPL-2.0-only
"""Builds of the device other than the default one, and the faults that can be put into a transfer."""

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
    """Of the device memory and of the migration region."""
    infos = [struct.unpack_from("<IIIIQQ", client.good(5, struct.pack("<4I2Q", 4096, 0, i, 0, 0, 0))) for i in (2, 9)]
    return infos[0][4], infos[1][4]


def fill(client: Client, memory: int) -> None:
    """Content for the whole state."""
    client.put(0, SCRATCH0, 8, 11)
    content = bytes(i * 7 & 0xFF for i in range(memory))
    for start in range(0, memory, 1 << 20):
        assert client.try_write(2, start, content[start : start + (1 << 20)])[0] == 0


def look(client: Client, memory: int) -> tuple[bytes, int]:
    """The device memory and a register."""
    pieces = [client.try_read(2, i, min(1 << 20, memory - i))[1] for i in range(0, memory, 1 << 20)]
    return b"".join(pieces), client.get(0, SCRATCH0, 8)


def save(client: Client) -> tuple[list[bytes], list[int]]:
    """The buffers of the present state, and where each lay."""
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
    """From the registers alone to many times the region; pre-copy is left half read."""
    options = (f"--memory={memory}", f"--section={section}", f"--buffer={buffer}")
    with Server(tmp_path, *options) as server, server.client() as client:
        assert sizes(client) == (memory, PAGE + section)
        fill(client, memory)
        expected = look(client, memory)
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
        assert look(client, memory) == expected


def test_without_memory_there_is_no_such_region(tmp_path: Path) -> None:
    """It has no size, and no access is taken."""
    with Server(tmp_path, "--memory=0") as server, server.client() as client:
        assert client.try_read(2, 0, 1)[0] == EINVAL
        assert client.try_write(2, 0, b"1")[0] == EINVAL


@pytest.mark.parametrize("kind", ["mapped", "trapped", "partitioned"])
@pytest.mark.parametrize("buffer", [4096, 5000, 8192, 12288, 16384])
def test_moves_its_buffers(tmp_path: Path, kind: str, buffer: int) -> None:
    """data_offset differs from buffer to buffer where there is room, and only then; saving and resuming."""
    unit = 8 if kind == "trapped" else PAGE
    options = ("--offset=moving", f"--buffer={buffer}", f"--data-section={kind}")
    with Server(tmp_path, *options) as server, server.client() as client:
        fill(client, 65536)
        expected = look(client, 65536)
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
        assert look(client, 65536) == expected
        assert taken == places
        assert all(place % unit == 0 and place + buffer <= PAGE + 16384 for place in places)
        moves = [one != other for one, other in pairwise(places)]
        assert all(moves) if buffer < 16384 else not any(moves)


def test_may_offer_nothing_in_pre_copy(tmp_path: Path) -> None:
    """And everything after it."""
    with Server(tmp_path, "--pre-copy=none") as server, server.client() as client:
        fill(client, 65536)
        expected = look(client, 65536)
        client.go(PRE_COPY)
        assert client.get(MIGRATION, PENDING, 8) == 0
        client.go(STOP_AND_COPY)
        buffers = client.save()
        client.reset()
        client.restore(buffers)
        assert look(client, 65536) == expected


def test_takes_its_time(tmp_path: Path) -> None:
    """For making a buffer available, and for consuming one; for nothing else."""
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


def test_takes_its_time_for_a_reset(tmp_path: Path) -> None:
    """--slow-reset: for a reset, and for no transition."""
    with Server(tmp_path, "--slow-reset=300000") as server, server.client() as client:
        start = monotonic()
        client.go(STOP, RUNNING, STOP_AND_COPY)
        assert took(start) < 300000
        start = monotonic()
        client.reset()
        assert took(start) >= 300000
        assert client.state() == RUNNING


def test_takes_its_time_for_a_transition(tmp_path: Path) -> None:
    """--slow-transition: for each change to another state that is accepted; the present state, a refusal and a reset
    take none."""
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


def test_keeps_its_counter_to_itself(tmp_path: Path) -> None:
    """--quiet=yes: a save gives the same bytes after the device ran on, and resuming leaves COUNTER alone."""
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


def test_fails_at_the_buffer_it_was_told_to(client: Client) -> None:
    """SAVE_FAULT counts down; EIO once, pending_bytes as before, the same state, and then the buffer."""
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


def test_fails_at_the_size_it_was_told_to(client: Client) -> None:
    """LOAD_FAULT counts down; EIO once, and the same buffer may be given again."""
    fill(client, 65536)
    expected = look(client, 65536)
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
    assert look(client, 65536) == expected


def test_forgets_faults_on_reset(client: Client) -> None:
    """Both registers read zero."""
    for register in (SAVE_FAULT, LOAD_FAULT):
        client.put(0, register, 4, 0xFFFFFFFF)
        assert client.get(0, register, 4) == 0xFFFFFFFF
    client.reset()
    assert [client.get(0, register, 4) for register in (SAVE_FAULT, LOAD_FAULT)] == [0, 0]


def test_needs_little_memory_for_a_large_state(tmp_path: Path) -> None:
    """Saving 256 MiB, nothing of which was ever written, takes the data section and no more."""
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
