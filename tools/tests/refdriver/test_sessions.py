# SPDX-License-Identifier: GPL-2.0-only
"""What outlives a migration that ended early or was disturbed: nothing, but for each defect.

Each observation ends with the memory and the register after a whole migration, or with the failure.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL, EIO
from functools import partial
from typing import Any

import pytest
from dirty_bench import Bench
from guest_memory import BASE
from raw_client import DMA_ADDRESS, DMA_LENGTH, DOORBELL, SCRATCH0, STATUS

from refdriver.migration_v1.states import PRE_COPY, RESUMING, RUNNING, STOP, STOP_AND_COPY
from refdriver.refusal import Refusal

STATE, RESERVED, PENDING, OFFSET, SIZE = (0, 4), (4, 4), (8, 8), (16, 8), (24, 8)

#: Places in memory that are read: in its first buffer, and in its second.
PLACES = (0, 20000)

#: A place in its third buffer.
UNSEEN = 40000

Step = Callable[["Client"], object]


class Client:
    """A client that has the device to itself, and keeps the buffers it has read."""

    def __init__(self, bench: Bench) -> None:
        self.device = bench.device
        (self.region,) = bench.device.special.values()
        self.buffers: list[bytes] = []

    def put(self, value: int) -> None:
        """Write a value to the memory and the registers."""
        for place in (*PLACES, UNSEEN):
            self.device.regions[2].write(place, value.to_bytes(8, "little"))
        self.device.regions[0].write(SCRATCH0, value.to_bytes(8, "little"))

    def seen(self) -> list[int]:
        """The values there, except in the third buffer."""
        places = [*((2, place) for place in PLACES), (0, SCRATCH0)]
        return [int.from_bytes(self.device.regions[region].read(at, 8), "little") for region, at in places]

    def get(self, place: tuple[int, int]) -> int:
        """Read a register."""
        return int.from_bytes(self.region.read(*place), "little")

    def set(self, place: tuple[int, int], value: int) -> None:
        """Write a register."""
        self.region.write(place[0], value.to_bytes(place[1], "little"))

    def go(self, *states: int) -> None:
        """Write states."""
        for state in states:
            self.set(STATE, state)

    def read(self, *, keep: bool = True) -> None:
        """Read a buffer, and keep it as a part of the state."""
        assert self.get(PENDING)
        data = bytes(self.region.read(self.get(OFFSET), self.get(SIZE)))
        self.buffers += [data] * keep

    def read_all(self) -> None:
        """Read the rest, which must end."""
        while self.get(PENDING):
            assert len(self.buffers) < 20
            self.read()

    def give(self, data: bytes, *, take: bool = True) -> None:
        """Write a buffer and, with ``take``, its size."""
        self.region.write(self.get(OFFSET), data)
        if take:
            self.set(SIZE, len(data))

    def restored(self) -> Any:
        """The values after the buffers read were restored."""
        self.device.reset()
        self.resume(self.buffers)
        self.go(RUNNING)
        return self.seen()

    def save(self) -> list[bytes]:
        """Read a whole state."""
        self.buffers = []
        self.go(STOP_AND_COPY)
        self.read_all()
        return self.buffers

    def resume(self, buffers: list[bytes]) -> None:
        """Enter RESUMING, and write these buffers."""
        self.go(RESUMING)
        for data in buffers:
            self.give(data)

    def migrated(self) -> Any:
        """The values after a whole migration."""
        self.save()
        return self.restored()


def left_for(*states: int, then: Step) -> Step:
    """The values after a migration that enters these states, then takes a step, and continues from there."""

    def observe(client: Client) -> Any:
        client.put(5)
        client.go(*states)
        then(client)
        client.go(STOP_AND_COPY)
        client.read_all()
        return client.restored()

    return observe


def before(*steps: Step) -> Step:
    """The values after a whole migration of another value that follows these steps."""

    def observe(client: Client) -> Any:
        client.put(5)
        for step in steps:
            step(client)
        client.put(7)
        return client.migrated()

    return observe


def go(*states: int) -> Step:
    """Write states."""
    return lambda client: client.go(*states)


def read(times: int, *, offset: bool = False) -> Step:
    """Read this number of buffers, then pending_bytes and, with ``offset``, data_offset of the next one."""

    def step(client: Client) -> None:
        for _ in range(times):
            client.read(keep=False)
        client.get(PENDING)
        if offset:
            client.get(OFFSET)

    return step


def reset(client: Client) -> None:
    """Reset the device."""
    client.device.reset()


def cancelled(*steps: Step) -> Step:
    """The values after a migration that follows a pre-copy cancelled at its second buffer, and these steps."""

    def observe(client: Client) -> Any:
        client.put(5)
        client.go(PRE_COPY)
        client.read(keep=False)
        client.go(RUNNING)
        for step in steps:
            step(client)
        return client.migrated()

    return observe


def given_to_the_next_user(count: int) -> Step:
    """The values after a whole state, of which the previous user had written ``count`` buffers."""

    def observe(client: Client) -> Any:
        client.put(5)
        buffers = client.save()
        client.device.reset()
        client.resume(buffers[:count])
        client.region.close()
        client.region.open()
        return client.restored()

    return observe


def resumed_again(client: Client) -> Any:
    """The values after a second state that is restored without a reset before it."""
    states = []
    for value in (5, 7):
        client.put(value)
        states.append(client.save())
        client.go(STOP, RUNNING)
    client.device.reset()
    for buffers in states:
        client.resume(buffers)
        client.go(RUNNING)
    return client.seen()


def sizes(times: int) -> Step:
    """data_size of the first buffer after this number of reads, and of the second after one."""

    def observe(client: Client) -> list[int]:
        client.go(STOP_AND_COPY)
        found = []
        for each in (times, 1):
            client.get(PENDING)
            client.get(OFFSET)
            found += [client.get(SIZE) for _ in range(each)][-1:]
        return found

    return observe


def given_anew(client: Client) -> Any:
    """The values after a state that is restored after a reset at its second buffer."""
    client.put(5)
    whole = client.save()
    for buffers in (whole[:1], whole):
        client.device.reset()
        client.resume(buffers)
    client.go(RUNNING)
    return client.seen()


def resumed(client: Client) -> Any:
    """The values after a device was resumed, saved, and resumed from that."""
    client.put(5)
    buffers = client.save()
    client.device.reset()
    client.put(9)
    client.resume(buffers)
    client.go(RUNNING)
    return client.migrated()


def disturbed(after: int, step: Step) -> Step:
    """The values after a migration that takes a step at one buffer, after ``after`` others."""

    def observe(client: Client) -> Any:
        client.put(5)
        client.go(STOP_AND_COPY)
        for _ in range(after):
            client.read()
        client.read()
        step(client)
        client.read_all()
        return client.restored()

    return observe


def given(after: int, step: Callable[[Client, bytes], object]) -> Step:
    """The same while resuming, once the data of that buffer was written."""

    def observe(client: Client) -> Any:
        client.put(5)
        buffers = client.save()
        client.device.reset()
        client.go(RESUMING)
        for number, data in enumerate(buffers):
            client.give(data, take=False)
            if number == after:
                step(client, data)
            client.set(SIZE, len(data))
        client.go(RUNNING)
        return client.seen()

    return observe


def refused(write: bool, place: tuple[int, int] = STATE) -> Step:
    """An access that is refused."""

    def step(client: Client) -> None:
        access = partial(client.set, place, 5) if write else partial(client.region.read, place[0], 2)
        with pytest.raises(Refusal):
            access()

    return step


def at_a_reset(client: Client) -> int:
    """device_state after a reset at the second buffer."""
    client.go(STOP_AND_COPY)
    read(1, offset=True)(client)
    client.device.reset()
    return client.get(STATE)


def runs_after_a_reset(client: Client) -> bool:
    """Whether the device runs after the same."""
    at_a_reset(client)
    return client.device.machine.working


def runs_in_stop(client: Client) -> bool:
    """Whether a device that was resumed runs in STOP."""
    client.migrated()
    client.go(STOP)
    return client.device.machine.working


def status(client: Client) -> int:
    """STATUS after a doorbell for memory that is mapped, a stop and a restart."""
    registers = client.device.regions[0]
    for offset, width, value in ((DMA_ADDRESS, 8, BASE), (DMA_LENGTH, 4, 8), (DOORBELL, 4, 1)):
        registers.write(offset, value.to_bytes(width, "little"))
    client.go(STOP, RUNNING)
    return int.from_bytes(registers.read(STATUS, 4), "little")


ALL, NONE = [5, 5, 5], [0, 0, 0]

#: Defect, observation, its result with the good driver, its result with the broken one: an errno if it refuses.
SESSIONS: list[tuple[str, Step, Any, Any]] = [
    ("left-unread-lost", left_for(PRE_COPY, then=read(0)), ALL, [0, 0, 5]),
    ("left-offered-lost", left_for(PRE_COPY, then=read(1, offset=True)), ALL, [5, 0, 5]),
    (
        "left-change-lost",
        left_for(PRE_COPY, then=lambda client: (read(1, offset=True)(client), client.put(6))),
        [6, 6, 6],
        [6, 5, 6],
    ),
    ("left-cancelled-kept", before(go(PRE_COPY, RUNNING)), [7, 7, 7], [5, 5, 7]),
    ("left-cancelled-counts", cancelled(), ALL, [0, 5, 5]),
    ("left-cancelled-counts", cancelled(lambda client: client.put(7)), [7, 7, 7], [7, 7, 7]),
    ("left-cancelled-counts", cancelled(go(STOP)), ALL, ALL),
    ("left-buffer-skipped", before(go(STOP_AND_COPY), read(0, offset=True), go(STOP, RUNNING)), [7, 7, 7], EINVAL),
    ("left-by-reset-skipped", before(go(STOP_AND_COPY), read(1, offset=True), reset), [7, 7, 7], EINVAL),
    ("reset-in-second-buffer-stops", at_a_reset, RUNNING, STOP),
    ("reset-in-buffer-freezes", runs_after_a_reset, True, False),
    ("resumed-never-stops", runs_in_stop, False, True),
    ("work-forgotten-at-stop", status, 1, 0),
    ("resumed-in-part-remembered", given_anew, ALL, EIO),
    ("resumed-in-part-outlives-user", given_to_the_next_user(1), ALL, EIO),
    ("resumed-in-part-outlives-user", given_to_the_next_user(5), ALL, ALL),
    ("resumed-again-first-registers", resumed_again, [7, 7, 7], [7, 7, 5]),
    ("saved-again-stale", before(go(STOP_AND_COPY), read(0), go(STOP, RUNNING)), [7, 7, 7], ALL),
    (
        "cancelled-then-reset-empty",
        before(go(PRE_COPY, RUNNING, STOP_AND_COPY), read(1, offset=True), reset),
        [7, 7, 7],
        NONE,
    ),
    ("resumed-saves-nothing", resumed, ALL, NONE),
    ("resumed-saves-stale", resumed, ALL, [9, 9, 5]),
    ("reread-offset-skips", disturbed(1, lambda client: client.get(OFFSET)), ALL, EINVAL),
    ("refused-size-read-advances", disturbed(1, refused(False, SIZE)), ALL, EINVAL),
    ("refused-size-write-skips", disturbed(1, refused(True, SIZE)), ALL, EINVAL),
    ("refused-read-ends-state", disturbed(1, refused(False)), ALL, EINVAL),
    ("refused-state-changes-size", disturbed(1, refused(True)), ALL, EINVAL),
    (
        "rewritten-data-refused",
        given(1, lambda client, data: client.region.write(client.get(OFFSET), data)),
        ALL,
        EINVAL,
    ),
    ("offset-again-drops-buffer", given(2, lambda client, data: client.get(OFFSET)), ALL, EINVAL),
    ("refused-forgets-given", given(1, lambda client, data: refused(False)(client)), ALL, EINVAL),
]


def outcome(observe: Step, *defects: str) -> Any:
    """The result of an observation, or how it fails."""
    bench = Bench(*defects)
    try:
        return observe(Client(bench))
    except Refusal as refusal:
        return refusal.errno
    except AssertionError:
        return AssertionError
    finally:
        bench.close()


@pytest.mark.parametrize(("name", "observe", "good", "broken"), SESSIONS, ids=[row[0] for row in SESSIONS])
def test_defect_breaks_its_observation(name: str, observe: Step, good: Any, broken: Any) -> None:
    """The good driver keeps nothing and continues; the broken one does not."""
    assert (outcome(observe), outcome(observe, name)) == (good, broken)
