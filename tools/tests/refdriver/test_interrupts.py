# SPDX-License-Identifier: GPL-2.0-only
"""The device's interrupts: how they are set up, when they are raised, and what is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from errno import EINVAL
from pathlib import Path

import pytest
from guest_memory import Guest
from raw_client import (
    CONTROL,
    COUNTER,
    DOORBELL,
    PRE_COPY,
    RESUMING,
    RUNNING,
    STOP,
    STOP_AND_COPY,
    Client,
    Server,
    eventually,
)

GET_INFO, GET_IRQ_INFO, SET_IRQS = 4, 7, 8
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32
#: The index of a PCI device's MSI, and its two vectors.
MSI, DONE, STREAMED = 1, 0, 1


class Eventfd:
    """Counts the signals."""

    def __init__(self, start: int = 0, flags: int = os.EFD_NONBLOCK) -> None:
        self.fd = os.eventfd(0, flags)
        if start:
            os.eventfd_write(self.fd, start)

    def take(self) -> int:
        """The number of signals since the last time."""
        try:
            return os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0


@pytest.fixture
def eventfds() -> Iterator[list[Eventfd]]:
    """One for each vector."""
    made = [Eventfd(), Eventfd()]
    yield made
    for each in made:
        os.close(each.fd)


def irqs(
    client: Client,
    flags: int,
    start: int = 0,
    count: int = 1,
    data: bytes = b"",
    fds: tuple[int, ...] = (),
    argsz: int | None = None,
    index: int = MSI,
) -> int:
    """Errno of DEVICE_SET_IRQS."""
    body = struct.pack("<5I", 20 + len(data) if argsz is None else argsz, flags, index, start, count)
    return client.call(SET_IRQS, body + data, fds)[0]


def attach(client: Client, vector: int, eventfd: Eventfd) -> None:
    """Connect a vector to an eventfd."""
    assert irqs(client, EVENTFD | TRIGGER, vector, fds=(eventfd.fd,)) == 0


@pytest.fixture
def attached(client: Client, eventfds: list[Eventfd]) -> Iterator[Client]:
    """A client with both vectors connected; for the next client, neither is."""
    attach(client, DONE, eventfds[DONE])
    attach(client, STREAMED, eventfds[STREAMED])
    yield client
    assert irqs(client, NONE | TRIGGER, count=0) == 0


# Vectors.


def test_has_two_vectors(client: Client) -> None:
    """EVENTFD and MASKABLE, at the index of MSI; EINVAL for a sixth index and without room."""
    assert struct.unpack("<4I", client.good(GET_IRQ_INFO, struct.pack("<4I", 16, 0, MSI, 0))) == (16, 3, MSI, 2)
    assert client.call(GET_IRQ_INFO, struct.pack("<4I", 16, 0, 5, 0))[0] == EINVAL
    assert client.call(GET_IRQ_INFO, struct.pack("<4I", 15, 0, MSI, 0))[0] == EINVAL
    assert client.call(GET_IRQ_INFO, bytes(12))[0] == EINVAL


def test_platform_device_has_them_at_its_only_index(tmp_path: Path) -> None:
    """Index 0."""
    with Server(tmp_path, "--regions=bare") as server, server.client() as client:
        assert struct.unpack("<4I", client.good(GET_INFO, struct.pack("<4I", 16, 0, 0, 0)))[3] == 1
        assert struct.unpack("<4I", client.good(GET_IRQ_INFO, struct.pack("<4I", 16, 0, 0, 0))) == (16, 3, 0, 2)


# When they are raised.


def test_doorbell_signals_completion(attached: Client, eventfds: list[Eventfd]) -> None:
    """Once each, before the write returns, also if the DMA failed; a stopped device ignores it."""
    guest = Guest(attached, True)
    for number in range(3):
        guest.ring(0, 64, number)
    assert [each.take() for each in eventfds] == [3, 0]
    assert guest.ring(-4096, 64, 1) == 2
    assert eventfds[DONE].take() == 1
    attached.go(STOP)
    attached.put(0, DOORBELL, 4, 1)
    assert eventfds[DONE].take() == 0
    guest.close()


@pytest.mark.parametrize("state", [STOP, STOP_AND_COPY, RESUMING])
def test_stream_signals_each_write(attached: Client, eventfds: list[Eventfd], state: int) -> None:
    """Repeatedly while the device runs, never after it was stopped."""
    attached.put(0, CONTROL, 4, 1)
    eventually(eventfds[STREAMED].take)
    eventually(eventfds[STREAMED].take)
    attached.go(PRE_COPY)
    eventfds[STREAMED].take()
    eventually(eventfds[STREAMED].take)
    attached.go(RUNNING, state)
    eventfds[STREAMED].take()
    assert not any(attached.state() - state or eventfds[STREAMED].take() for _ in range(50))
    attached.reset()
    assert eventfds[DONE].take() == 0


def test_request_raises_vectors(attached: Client, eventfds: list[Eventfd]) -> None:
    """All of a range, or those whose byte is set; also while the device is stopped."""
    attached.go(STOP)
    assert irqs(attached, NONE | TRIGGER, DONE, 2) == 0
    assert [each.take() for each in eventfds] == [1, 1]
    assert irqs(attached, BOOL | TRIGGER, DONE, 2, b"\0\xff") == 0
    assert [each.take() for each in eventfds] == [0, 1]
    attached.reset()


def test_masked_vector_signals_when_unmasked(attached: Client, eventfds: list[Eventfd]) -> None:
    """Once, however often it was raised; the other vector signals as usual. A reset forgets it."""
    assert irqs(attached, NONE | MASK, DONE) == 0
    assert [irqs(attached, NONE | TRIGGER, DONE, 2) for _ in range(3)] == [0, 0, 0]
    assert [each.take() for each in eventfds] == [0, 3]
    assert irqs(attached, BOOL | UNMASK, DONE, 2, b"\0\1") == 0
    assert eventfds[DONE].take() == 0
    assert [irqs(attached, NONE | UNMASK, DONE) for _ in range(2)] == [0, 0]
    assert eventfds[DONE].take() == 1
    assert irqs(attached, NONE | MASK, DONE) == 0
    assert irqs(attached, NONE | TRIGGER, DONE) == 0
    attached.reset()
    assert irqs(attached, NONE | UNMASK, DONE) == 0
    assert eventfds[DONE].take() == 0


def test_vectors_stay_connected_after_a_reset(attached: Client, eventfds: list[Eventfd]) -> None:
    """Both signal."""
    attached.reset()
    assert irqs(attached, NONE | TRIGGER, DONE, 2) == 0
    assert [each.take() for each in eventfds] == [1, 1]


# How they are set up.


def test_new_eventfd_replaces_the_old_one(attached: Client, eventfds: list[Eventfd]) -> None:
    """For that vector only."""
    other = Eventfd()
    attach(attached, DONE, other)
    assert irqs(attached, NONE | TRIGGER, DONE, 2) == 0
    assert [each.take() for each in (other, *eventfds)] == [1, 0, 1]
    os.close(other.fd)


@pytest.mark.parametrize(
    ("flags", "start", "count", "left"),
    [
        (EVENTFD | TRIGGER, 0, 1, [0, 1]),
        (EVENTFD | TRIGGER, 0, 2, [0, 0]),
        (NONE | TRIGGER, 0, 0, [0, 0]),
    ],
    ids=["one", "both", "all"],
)
def test_vectors_are_disconnected(
    attached: Client, eventfds: list[Eventfd], flags: int, start: int, count: int, left: list[int]
) -> None:
    """By a message without descriptors, or all at once. Raising them then succeeds, and signals nothing."""
    assert irqs(attached, flags, start, count) == 0
    assert irqs(attached, NONE | TRIGGER, DONE, 2) == 0
    assert [each.take() for each in eventfds] == left


def test_disconnecting_ends_a_mask(attached: Client, eventfds: list[Eventfd]) -> None:
    """The next eventfd is signalled at once, but not for earlier interrupts."""
    assert irqs(attached, NONE | MASK, DONE, 2) == 0
    assert irqs(attached, NONE | TRIGGER, DONE, 2) == 0
    assert irqs(attached, NONE | TRIGGER, count=0) == 0
    attach(attached, DONE, eventfds[DONE])
    assert eventfds[DONE].take() == 0
    assert irqs(attached, NONE | TRIGGER, DONE) == 0
    assert eventfds[DONE].take() == 1


@pytest.mark.parametrize(
    "invalid",
    [
        {"flags": 0},
        {"flags": NONE},
        {"flags": TRIGGER},
        {"flags": NONE | BOOL | TRIGGER, "data": b"\1"},
        {"flags": NONE | TRIGGER | MASK},
        {"flags": NONE | TRIGGER | 64},
        {"flags": NONE | TRIGGER, "start": 1, "count": 2},
        {"flags": NONE | TRIGGER, "start": 2},
        {"flags": NONE | TRIGGER, "start": 2**32 - 1, "count": 2},
        {"flags": NONE | TRIGGER, "count": 2**32 - 1},
        {"flags": NONE | TRIGGER, "start": 1, "count": 0},
        {"flags": NONE | MASK, "count": 0},
        {"flags": BOOL | TRIGGER, "count": 0},
        {"flags": EVENTFD | TRIGGER, "count": 0},
        {"flags": BOOL | TRIGGER, "count": 2, "data": b"\1"},
        {"flags": BOOL | TRIGGER, "count": 2, "data": b"\1\1", "argsz": 21},
        {"flags": EVENTFD | MASK},
        {"flags": EVENTFD | UNMASK},
        {"flags": NONE | TRIGGER, "index": 0},
        {"flags": NONE | TRIGGER, "index": 5},
        {"flags": NONE | TRIGGER, "index": 5, "count": 0},
        {"flags": NONE | TRIGGER, "argsz": 19},
    ],
    ids=str,
)
def test_refuses_invalid_requests(attached: Client, eventfds: list[Eventfd], invalid: dict[str, int]) -> None:
    """EINVAL, and both vectors stay connected."""
    assert irqs(attached, **invalid) == EINVAL  # type: ignore[arg-type]
    assert [each.take() for each in eventfds] == [0, 0]
    assert irqs(attached, NONE | TRIGGER, DONE, 2) == 0
    assert [each.take() for each in eventfds] == [1, 1]


def test_refuses_a_short_request(client: Client) -> None:
    """EINVAL."""
    assert client.call(SET_IRQS, bytes(19))[0] == EINVAL


def test_refuses_invalid_descriptors(attached: Client, eventfds: list[Eventfd]) -> None:
    """EINVAL for a file that is not an eventfd, for the wrong number of them, and where none is expected."""
    with open("/dev/null", "rb") as file:
        assert irqs(attached, EVENTFD | TRIGGER, DONE, fds=(file.fileno(),)) == EINVAL
    fd = eventfds[DONE].fd
    assert irqs(attached, EVENTFD | TRIGGER, DONE, 2, fds=(fd,)) == EINVAL
    assert irqs(attached, NONE | TRIGGER, DONE, fds=(fd,)) == EINVAL
    assert irqs(attached, NONE | TRIGGER, DONE, 2) == 0
    assert [each.take() for each in eventfds] == [1, 1]


def test_full_eventfd_does_not_block_the_device(client: Client) -> None:
    """Signals that do not fit in its counter are lost."""
    full = Eventfd(2**64 - 2, 0)
    attach(client, DONE, full)
    assert [irqs(client, NONE | TRIGGER, DONE) for _ in range(2)] == [0, 0]
    assert os.eventfd_read(full.fd) == 2**64 - 2
    assert irqs(client, NONE | TRIGGER, DONE) == 0
    assert os.eventfd_read(full.fd) == 1
    assert irqs(client, NONE | TRIGGER, count=0) == 0
    os.close(full.fd)


def descriptors(server: Server, client: Client) -> int:
    """Open descriptors of the server. It closes those of a request after the reply; so a request comes first."""
    client.state()
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_leaks_no_descriptor(tmp_path: Path, eventfds: list[Eventfd]) -> None:
    """Of clients that left, of vectors disconnected or connected again, of refused requests."""
    with Server(tmp_path) as server:
        with server.client() as client:
            client.reset()
            before = descriptors(server, client)
            for _ in range(20):
                attach(client, DONE, eventfds[DONE])
                attach(client, DONE, eventfds[DONE])
                assert irqs(client, EVENTFD | TRIGGER, DONE, 2, fds=(eventfds[DONE].fd,)) == EINVAL
            assert descriptors(server, client) == before + 1
            assert irqs(client, NONE | TRIGGER, count=0) == 0
            assert descriptors(server, client) == before
        for _ in range(20):
            with server.client() as client:
                client.reset()
                attach(client, STREAMED, eventfds[STREAMED])
                assert irqs(client, NONE | MASK, DONE, 2) == 0
        with server.client() as client:
            attach(client, DONE, eventfds[DONE])
            assert descriptors(server, client) == before + 1
            assert irqs(client, NONE | TRIGGER, DONE, 2) == 0
        assert [each.take() for each in eventfds] == [1, 0]


# A device that needs interrupts.


def test_needs_interrupt_runs_only_with_vector_0_connected(tmp_path: Path, eventfds: list[Eventfd]) -> None:
    """Not before it is connected, nor after it is disconnected; a stopped device stays stopped."""
    with Server(tmp_path, "--needs-interrupt=yes") as server, server.client() as client:

        def counts() -> bool:
            before = client.get(0, COUNTER, 8)
            return any(client.get(0, COUNTER, 8) != before for _ in range(20))

        attach(client, STREAMED, eventfds[STREAMED])
        client.put(0, CONTROL, 4, 1)
        client.put(0, DOORBELL, 4, 1)
        assert not counts()
        assert eventfds[STREAMED].take() == 0
        attach(client, DONE, eventfds[DONE])
        assert counts()
        client.put(0, DOORBELL, 4, 1)
        assert eventfds[DONE].take() == 1
        eventually(eventfds[STREAMED].take)
        client.reset()
        assert counts()
        client.go(STOP)
        assert irqs(client, NONE | TRIGGER, count=0) == 0
        attach(client, DONE, eventfds[DONE])
        assert not counts()
        client.go(RUNNING)
        assert counts()
        assert irqs(client, EVENTFD | TRIGGER, DONE) == 0
        assert not counts()


def test_needs_interrupt_does_not_run_for_the_next_client(tmp_path: Path, eventfds: list[Eventfd]) -> None:
    """Vector 0 is disconnected when a client leaves."""
    with Server(tmp_path, "--needs-interrupt=yes") as server:
        with server.client() as client:
            attach(client, DONE, eventfds[DONE])
        with server.client() as client:
            before = client.get(0, COUNTER, 8)
            assert [client.get(0, COUNTER, 8) for _ in range(20)] == [before] * 20
            assert client.state() == RUNNING
