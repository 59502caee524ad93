# SPDX-License-Identifier: GPL-2.0-only
"""What outlives a user: nothing with the good driver, something with each defect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dirty_bench import Bench

from refdriver.socket.connection import Connection

BEGIN = 1


def next_user(bench: Bench) -> None:
    """Close the device, and open it for another user."""
    bench.device.close()
    bench.driver.open(Connection(bench.sockets[0]))


def mapped_by_the_next_user(bench: Bench) -> bool:
    """Whether the next user can map the same pages."""
    next_user(bench)
    try:
        bench.map(0, 100)
    except AssertionError:
        return False
    return True


def tracked_for_the_next_user(bench: Bench) -> bool:
    """Whether the next user gets a bitmap."""
    bench.send(BEGIN)
    next_user(bench)
    bench.map(0, 100)
    return isinstance(bench.get(), list)


def on_record_for_the_next_user(bench: Bench) -> Any:
    """The pages reported to the next user, who has written none."""
    bench.send(BEGIN)
    bench.write(5)
    next_user(bench)
    bench.map(0, 100)
    bench.send(BEGIN)
    return bench.get()


#: Defect, observation, its result with the good driver, its result with the broken one.
USERS: list[tuple[str, Callable[[Bench], Any], Any, Any]] = [
    ("close-keeps-mappings", mapped_by_the_next_user, True, False),
    ("close-keeps-tracking", tracked_for_the_next_user, False, True),
    ("close-keeps-record", on_record_for_the_next_user, [], [5]),
]


@pytest.mark.parametrize(("name", "observe", "good", "broken"), USERS, ids=[row[0] for row in USERS])
def test_defect_breaks_its_observation(
    bench: Callable[..., Bench], name: str, observe: Callable[[Bench], Any], good: Any, broken: Any
) -> None:
    """The good driver keeps nothing; the broken one does."""
    assert observe(bench()) == good
    assert observe(bench(name)) == broken
