# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a user, or of a migration: by the good driver nothing, by each defect something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dirty_bench import Bench
from raw_client import SCRATCH0

from refdriver.migration_v1.states import PRE_COPY, RESUMING, RUNNING, STOP_AND_COPY
from refdriver.socket.connection import Connection

BEGIN = 1
STATE, PENDING, OFFSET, SIZE = (0, 4), (8, 8), (16, 8), (24, 8)


def next_user(bench: Bench) -> None:
    """The user goes, another one comes."""
    bench.device.close()
    bench.driver.open(Connection(bench.sockets[0]))


def mapped_by_the_next_user(bench: Bench) -> bool:
    """Whether the same pages can be mapped."""
    next_user(bench)
    try:
        bench.map(0, 100)
    except AssertionError:
        return False
    return True


def tracked_for_the_next_user(bench: Bench) -> bool:
    """Whether a bitmap can be had."""
    bench.tell(BEGIN)
    next_user(bench)
    bench.map(0, 100)
    return isinstance(bench.get(), list)


def put(bench: Bench, value: int) -> None:
    """Change the device, in its memory and its registers."""
    bench.device.regions[2].write(0, value.to_bytes(8, "little"))
    bench.device.regions[0].write(SCRATCH0, value.to_bytes(8, "little"))


def seen(bench: Bench) -> list[int]:
    """The same places."""
    places = ((2, 0), (0, SCRATCH0))
    return [int.from_bytes(bench.device.regions[region].read(at, 8), "little") for region, at in places]


def register(bench: Bench, place: tuple[int, int], value: int | None = None) -> int:
    """Read a register of the migration region, or write it."""
    (migration,) = bench.device.special.values()
    if value is not None:
        return migration.write(place[0], value.to_bytes(place[1], "little"))
    return int.from_bytes(migration.read(*place), "little")


def saved(bench: Bench) -> list[bytes]:
    """The whole state."""
    (migration,) = bench.device.special.values()
    register(bench, STATE, STOP_AND_COPY)
    buffers = []
    while register(bench, PENDING):
        buffers.append(bytes(migration.read(register(bench, OFFSET), register(bench, SIZE))))
    return buffers


def restored(bench: Bench, buffers: list[bytes]) -> list[int]:
    """What is seen of a device that was given a state."""
    (migration,) = bench.device.special.values()
    register(bench, STATE, RESUMING)
    for buffer in buffers:
        migration.write(register(bench, OFFSET), buffer)
        register(bench, SIZE, len(buffer))
    register(bench, STATE, RUNNING)
    return seen(bench)


def after_giving_up(bench: Bench) -> list[int]:
    """What is restored after a pre-copy was given up and the device changed."""
    register(bench, STATE, PRE_COPY)
    register(bench, STATE, RUNNING)
    put(bench, 7)
    buffers = saved(bench)
    bench.device.reset()
    return restored(bench, buffers)


def after_two(bench: Bench) -> list[int]:
    """What is seen after two states were given, one after the other."""
    states = []
    for value in (3, 4):
        bench.device.reset()
        put(bench, value)
        states.append(saved(bench))
    bench.device.reset()
    restored(bench, states[0])
    return restored(bench, states[1])


#: Defect, what to look at, what the good driver shows, what the broken one.
USERS: list[tuple[str, Callable[[Bench], Any], Any, Any]] = [
    ("close-keeps-mappings", mapped_by_the_next_user, True, False),
    ("close-keeps-tracking", tracked_for_the_next_user, False, True),
    ("saving-given-up-lingers", after_giving_up, [7, 7], [0, 7]),
    ("second-resume-ignored", after_two, [4, 4], [3, 3]),
]


@pytest.mark.parametrize(("name", "look", "good", "broken"), USERS, ids=[row[0] for row in USERS])
def test_breaks_what_it_names(name: str, look: Callable[[Bench], Any], good: Any, broken: Any) -> None:
    """The good driver keeps nothing, the broken one does."""
    for defects, expected in (((), good), ((name,), broken)):
        bench = Bench(*defects)
        try:
            assert look(bench) == expected
        finally:
            bench.close()
