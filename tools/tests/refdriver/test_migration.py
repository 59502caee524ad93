# SPDX-License-Identifier: GPL-2.0-only
"""States, transitions, saving and resuming."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from errno import EINVAL, EIO
from itertools import product
from pathlib import Path

import pytest
from raw_client import (
    COUNTER,
    DMA_ADDRESS,
    DMA_LENGTH,
    ERROR,
    FAULT,
    MIGRATION,
    OFFSET,
    PENDING,
    PRE_COPY,
    RESUMING,
    RUNNING,
    SCRATCH0,
    SIZE,
    STATE,
    STOP,
    STOP_AND_COPY,
    Client,
    Server,
    eventually,
)

STATES = (STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING)
DRAWN = {
    (RUNNING, STOP),
    (RUNNING, STOP_AND_COPY),
    (RUNNING, PRE_COPY),
    (PRE_COPY, STOP_AND_COPY),
    (STOP_AND_COPY, STOP),
    (RUNNING, RESUMING),
    (RESUMING, RUNNING),
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A device that makes no transition beyond the diagram."""
    with Server(tmp_path_factory.mktemp("strict"), "--undrawn=refuse") as running:
        yield running


def fill(client: Client) -> dict[str, bytes]:
    """Fill every migrated part with its own content; returns that content."""
    for place, value in ((SCRATCH0, 1), (SCRATCH0 + 8, 1 << 63), (SCRATCH0 + 16, 3), (DMA_ADDRESS, 4)):
        client.put(0, place, 8, value)
    client.put(0, DMA_LENGTH, 4, 5)
    memory = struct.pack("<16384I", *range(16384))
    assert client.try_write(2, 0, memory) == (0, len(memory))
    return content(client)


def content(client: Client) -> dict[str, bytes]:
    """Everything that migrates, except the counter."""
    return {
        "registers": client.try_read(0, DMA_ADDRESS, 8)[1] + client.try_read(0, DMA_LENGTH, 4)[1],
        "scratch": b"".join(client.try_read(0, SCRATCH0 + 8 * i, 8)[1] for i in range(3)),
        "memory": client.try_read(2, 0, 65536)[1],
    }


def runs(client: Client) -> bool:
    """Whether COUNTER moves between two reads that are well over a microsecond apart."""
    first = client.get(0, COUNTER, 8)
    for _ in range(5):
        client.state()
    return client.get(0, COUNTER, 8) != first


@pytest.mark.parametrize(("old", "new"), [*product(STATES, STATES)])
def test_makes_every_transition(client: Client, old: int, new: int) -> None:
    """In the diagram or not; bit 0 alone decides whether the device runs."""
    client.go(old, new)
    assert runs(client) == bool(new & 1)


@pytest.mark.parametrize(("old", "new"), [*product(STATES, STATES)])
def test_undrawn_refuse_keeps_to_the_diagram(strict: Server, old: int, new: int) -> None:
    """A transition outside the diagram is refused, and the state is kept."""
    with strict.client() as client:
        client.reset()
        client.go(old)
        allowed = old == new or (old, new) in DRAWN
        assert client.try_go(new) == (0 if allowed else EINVAL)
        assert client.state() == (new if allowed else old)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("value", [5, 6, 7])
def test_refuses_invalid_states(client: Client, state: int, value: int) -> None:
    """101b, 110b and 111b cannot be written; the device continues as it was."""
    client.go(state)
    assert client.try_go(value) == EINVAL
    assert client.state() == state
    assert runs(client) == bool(state & 1)


def test_ignores_reserved_bits(client: Client) -> None:
    """Bits 3-31 read as zero; the others take effect."""
    client.put(MIGRATION, STATE, 4, 0xFFFFFFF8 | PRE_COPY)
    assert client.state() == PRE_COPY


@pytest.mark.parametrize("state", STATES)
def test_only_a_reset_leaves_the_error_state(client: Client, state: int) -> None:
    """After FAULT 1, a write fails with EIO, as do all after it, and device_state reads 110b."""
    client.go(state)
    client.put(0, FAULT, 4, 1)
    assert client.try_go(STOP) == EIO
    assert client.get(0, FAULT, 4) == 0
    for wanted in range(8):
        assert client.try_go(wanted) == EIO
        assert client.state() == ERROR
    assert not runs(client)
    client.reset()
    assert client.state() == RUNNING
    assert runs(client)


@pytest.mark.parametrize("state", STATES)
def test_keeps_the_state_when_a_transition_fails(client: Client, state: int) -> None:
    """FAULT 2: EIO, the old state, and the next write succeeds."""
    client.go(state)
    client.put(0, FAULT, 4, 2)
    assert client.try_go(RUNNING) == EIO
    assert client.state() == state
    client.go(RUNNING)


@pytest.mark.parametrize("state", STATES)
def test_resets_from_any_state(client: Client, state: int) -> None:
    """It is RUNNING again, and can be saved."""
    client.go(state)
    client.reset()
    assert client.state() == RUNNING
    client.go(STOP_AND_COPY)
    assert client.save()


@pytest.mark.parametrize("option", ["mapped", "trapped", "partitioned"])
def test_live_migration_carries_the_whole_state(tmp_path: Path, option: str) -> None:
    """Pre-copy, stop-and-copy, STOP; reset; resuming, running."""
    with Server(tmp_path, f"--data-section={option}") as server, server.client() as client:
        fill(client)
        client.go(PRE_COPY)
        buffers = client.save()
        client.put(0, SCRATCH0, 8, 99)
        client.put(2, 0, 4, 99)
        expected = content(client)
        client.go(STOP_AND_COPY)
        counter = client.get(0, COUNTER, 8)
        buffers += client.save()
        client.go(STOP)
        assert sum(map(len, buffers)) < 1 << 18
        client.reset()
        assert content(client) != expected
        client.go(RESUMING)
        for buffer in buffers:
            assert client.try_restore_one(buffer) == 0
        client.go(RUNNING)
        assert client.get(0, COUNTER, 8) > counter
        assert content(client) == expected


@pytest.mark.parametrize("taken", range(6))
def test_may_leave_pre_copy_at_any_point(client: Client, taken: int) -> None:
    """The whole state is still saved."""
    expected = fill(client)
    client.go(PRE_COPY)
    buffers: list[bytes] = []
    while len(buffers) < taken and client.get(MIGRATION, PENDING, 8):
        buffers.append(client.save_one())
    client.go(STOP_AND_COPY)
    buffers += client.save()
    client.reset()
    client.restore(buffers)
    assert content(client) == expected


def test_pre_copy_offers_memory_once(client: Client) -> None:
    """After it, pending_bytes is 0 until stop-and-copy."""
    client.go(PRE_COPY)
    assert client.save()
    assert client.get(MIGRATION, PENDING, 8) == 0
    client.go(STOP_AND_COPY)
    assert client.get(MIGRATION, PENDING, 8) > 65536


def test_repeated_reads_have_no_effect(client: Client) -> None:
    """pending_bytes before a buffer; data_offset, data_size and the data during it."""
    fill(client)
    client.go(STOP_AND_COPY)
    pending = client.get(MIGRATION, PENDING, 8)
    assert client.get(MIGRATION, PENDING, 8) == pending
    once = client.save_one()
    assert client.save_one() == once
    offset = client.get(MIGRATION, OFFSET, 8)
    assert b"".join(client.try_read(MIGRATION, offset + i, 1)[1] for i in range(64)) == once[:64]
    assert client.get(MIGRATION, PENDING, 8) == pending - len(once)
    assert client.save_one() != once


def test_saving_continues_after_the_state_is_written_again(client: Client) -> None:
    """A second write of stop-and-copy neither loses nor repeats a buffer."""
    expected = fill(client)
    client.go(STOP_AND_COPY)
    assert client.get(MIGRATION, PENDING, 8)
    buffers = [client.save_one()]
    client.go(STOP_AND_COPY)
    buffers += client.save()
    client.reset()
    client.restore(buffers)
    assert content(client) == expected


@pytest.mark.parametrize("state", STATES)
def test_data_offset_points_at_the_section_in_every_state(client: Client, state: int) -> None:
    """The page after the header."""
    client.go(state)
    assert client.get(MIGRATION, OFFSET, 8) == 4096


@pytest.mark.parametrize("state", [STOP, RUNNING, RESUMING])
def test_nothing_is_pending_in_states_that_save_nothing(client: Client, state: int) -> None:
    """pending_bytes and data_size read 0."""
    client.go(state)
    assert client.get(MIGRATION, PENDING, 8) == 0
    assert client.get(MIGRATION, SIZE, 8) == 0


@pytest.mark.parametrize("state", [STOP, RUNNING, STOP_AND_COPY, PRE_COPY])
def test_accepts_data_only_while_resuming(client: Client, state: int) -> None:
    """A write of data_size is refused in every other state."""
    client.go(state)
    assert client.try_write(MIGRATION, SIZE, struct.pack("<Q", 8))[0] == EINVAL
    assert client.state() == state


def saved(client: Client) -> list[bytes]:
    """The saved state of a filled device, which is then reset."""
    fill(client)
    client.go(STOP_AND_COPY)
    buffers = client.save()
    client.reset()
    return buffers


def test_resumes_without_any_data(client: Client) -> None:
    """The device is as it was."""
    expected = fill(client)
    client.go(RESUMING, RUNNING)
    assert content(client) == expected


def test_does_not_leave_resuming_with_a_partial_state(client: Client) -> None:
    """The transition is refused, registers are unchanged, and the rest may still be written."""
    buffers = saved(client)
    before = content(client)["scratch"]
    client.go(RESUMING)
    for buffer in buffers[:-1]:
        assert client.try_restore_one(buffer) == 0
        assert client.try_go(RUNNING) == EINVAL
        assert client.state() == RESUMING
        assert content(client)["scratch"] == before
    assert client.try_restore_one(buffers[-1]) == 0
    client.go(RUNNING)
    assert content(client)["scratch"] != before


@pytest.mark.parametrize("damage", ["short", "flipped", "swapped", "joined", "nonsense"])
def test_refuses_data_that_it_did_not_save(client: Client, damage: str) -> None:
    """Damaged or misplaced buffers are refused; a reset makes the device usable again."""
    buffers = saved(client)
    bad = {
        "short": buffers[0][:-1],
        "flipped": buffers[0][:100] + bytes([buffers[0][100] ^ 1]) + buffers[0][101:],
        "swapped": buffers[1],
        "joined": buffers[4] + buffers[4],
        "nonsense": b"\xff" * 16,
    }[damage]
    client.go(RESUMING)
    assert client.try_restore_one(bad) == EINVAL
    assert client.try_go(RUNNING) == EINVAL
    client.reset()
    assert client.state() == RUNNING
    client.restore(buffers)


@pytest.mark.parametrize("size", [16385, 20480, 1 << 32, (1 << 64) - 1])
def test_refuses_a_data_size_beyond_the_section(client: Client, size: int) -> None:
    """EINVAL, and the state stays RESUMING."""
    client.go(RESUMING)
    assert client.try_write(MIGRATION, SIZE, struct.pack("<Q", size))[0] == EINVAL
    assert client.state() == RESUMING


def test_resumes_on_another_device(client: Client, strict: Server) -> None:
    """The saved buffers are all that it needs."""
    expected = fill(client)
    client.go(STOP_AND_COPY)
    with strict.client() as target:
        target.reset()
        target.restore(client.save())
        assert content(target) == expected
        eventually(lambda: runs(target))
