# SPDX-License-Identifier: GPL-2.0-only
"""Dirty page tracking in the states of the device, and across its reset: the good driver, and each defect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EBUSY, EINVAL
from typing import Any

import pytest
from dirty_bench import Bench

from refdriver.migration_v1.states import PRE_COPY, RESUMING, STOP, STOP_AND_COPY

BEGIN, END = 1, 2

Look = Callable[[Bench], Any]


def go(bench: Bench, *states: int) -> None:
    """Carry the device from state to state."""
    (migration,) = bench.device.special.values()
    for state in states:
        migration.write(0, state.to_bytes(4, "little"))


def after(*states: int, written: tuple[int, ...] = (5,), pinned: tuple[int, ...] = ()) -> Look:
    """The bitmap in the last of the states, where tracking began in running; pages are written and pinned before."""

    def look(bench: Bench) -> Any:
        bench.tell(BEGIN)
        for page in pinned:
            bench.pin(page)
        bench.write(*written)
        go(bench, *states)
        return bench.get()

    return look


def then(*steps: Look) -> Look:
    """What the last of several looks gives."""
    return lambda bench: [step(bench) for step in steps][-1]


#: Defect, what to look at, what the good driver shows, what the broken one.
STATES: list[tuple[str, Look, Any, Any]] = [
    ("states-start-refused", then(lambda b: go(b, PRE_COPY), lambda b: b.tell(BEGIN)), 0, -EBUSY),
    ("states-stop-ignored", then(after(STOP_AND_COPY), lambda b: b.tell(END), lambda b: b.get()), -EINVAL, []),
    ("states-bitmap-refused", after(PRE_COPY, STOP_AND_COPY), [5], -EBUSY),
    ("states-bitmap-clear", after(STOP), [5], []),
    ("states-stopping-forgets", after(RESUMING), [5], []),
    ("states-stopping-forgets-pins", after(STOP_AND_COPY, pinned=(7,)), [5, 7], [5]),
    ("states-pre-copy-unseen", then(after(PRE_COPY), lambda b: b.write(6), lambda b: b.get()), [6], []),
    (
        "states-unmapping-clear",
        then(lambda b: (b.tell(BEGIN), b.write(5), go(b, RESUMING)), lambda b: b.unmap()),
        [5],
        [],
    ),
    ("states-mapping-refused", then(lambda b: go(b, RESUMING), lambda b: refusal(b)), 0, -EBUSY),
    ("states-unmapping-refused", then(lambda b: go(b, STOP), lambda b: b.plain_unmap() != -EBUSY), True, False),
    ("reset-ends-tracking", then(after(), lambda b: b.device.reset(), lambda b: b.get()), [], -EINVAL),
    (
        "reset-forgets-written",
        then(after(), lambda b: b.write(6), lambda b: b.device.reset(), lambda b: b.get()),
        [6],
        [],
    ),
]


def refusal(bench: Bench) -> int:
    """How a new mapping is answered."""
    try:
        bench.map(200, 9)
    except AssertionError:
        return -EBUSY
    return 0


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Makes drivers with defects."""
    made: list[Bench] = []

    def make(*defects: str) -> Bench:
        made.append(Bench(*defects))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(("name", "look", "good", "broken"), STATES, ids=[row[0] for row in STATES])
def test_breaks_what_it_names(bench: Callable[..., Bench], name: str, look: Look, good: Any, broken: Any) -> None:
    """The good driver does not care for the state; the broken one does."""
    assert look(bench()) == good
    assert look(bench(name)) == broken
