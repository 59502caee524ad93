# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a user: by the good driver nothing, by each defect something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dirty_bench import Bench

from refdriver.socket.connection import Connection

BEGIN = 1


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


def on_record_for_the_next_user(bench: Bench) -> Any:
    """The pages that the next user is told of, which has written none."""
    bench.tell(BEGIN)
    bench.write(5)
    next_user(bench)
    bench.map(0, 100)
    bench.tell(BEGIN)
    return bench.get()


#: Defect, what to look at, what the good driver shows, what the broken one.
USERS: list[tuple[str, Callable[[Bench], Any], Any, Any]] = [
    ("close-keeps-mappings", mapped_by_the_next_user, True, False),
    ("close-keeps-tracking", tracked_for_the_next_user, False, True),
    ("close-keeps-record", on_record_for_the_next_user, [], [5]),
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
