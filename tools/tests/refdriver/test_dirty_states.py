# SPDX-License-Identifier: GPL-2.0-only
"""Dirty page tracking in each state of the device and across a reset: the good driver, and each defect."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EBUSY
from typing import Any

import pytest
from dirty_bench import Bench
from guest_memory import PAGE

from refdriver.migration_v1.states import PRE_COPY, RESUMING, RUNNING, STOP, STOP_AND_COPY

BEGIN, END = 1, 2

Observation = Callable[[Bench], Any]


def go(bench: Bench, *states: int) -> None:
    """Carry the device from state to state."""
    (migration,) = bench.device.special.values()
    for state in states:
        migration.write(0, state.to_bytes(4, "little"))


def after(*states: int, written: tuple[int, ...] = (5,), pinned: tuple[int, ...] = ()) -> Observation:
    """The bitmap in the last state; tracking began, and pages were pinned and written, while the device ran."""

    def observe(bench: Bench) -> Any:
        bench.send(BEGIN)
        for page in pinned:
            bench.pin(page)
        bench.write(*written)
        go(bench, *states)
        return bench.get()

    return observe


def then(*steps: Observation) -> Observation:
    """The result of the last of several observations."""
    return lambda bench: [step(bench) for step in steps][-1]


def to(*states: int) -> Observation:
    """Carry the device from state to state."""
    return lambda bench: go(bench, *states)


def begin(bench: Bench) -> Any:
    """START."""
    return bench.send(BEGIN)


def end(bench: Bench) -> Any:
    """STOP."""
    return bench.send(END)


def get(bench: Bench) -> Any:
    """A bitmap."""
    return bench.get()


def beat(bench: Bench) -> None:
    """A write of the DMA stream, to page 3."""
    bench.beat()


def stopped(bench: Bench) -> Any:
    """Whether the stream writes once more when the device stops, and the bitmap after it."""
    bench.send(BEGIN)
    bench.beat()
    bench.get()
    before = os.pread(bench.memory, 8, 3 * PAGE)
    go(bench, STOP)
    return os.pread(bench.memory, 8, 3 * PAGE) != before, bench.get()


def reset(bench: Bench) -> None:
    """Reset the device."""
    bench.device.reset()


def write(*those: int) -> Observation:
    """Have the device write to pages."""
    return lambda bench: bench.write(*those)


def new(bench: Bench) -> None:
    """A new mapping."""
    bench.map(200, 9)


def get_new(bench: Bench) -> Any:
    """The bitmap of the new mapping."""
    return bench.get(200, 9, room=8)


#: Defect, observation, its result with the good driver, its result with the broken one.
STATES: list[tuple[str, Observation, Any, Any]] = [
    ("states-start-without-pins", then(lambda b: b.pin(7), to(STOP_AND_COPY), begin, get), [7], []),
    ("states-bitmap-clear", after(STOP), [5], []),
    (
        "states-bitmap-clears-all",
        then(after(STOP_AND_COPY, written=(5, 145)), lambda b: b.get(140, 10, room=8)),
        [5],
        [],
    ),
    ("states-bitmap-kept", then(after(PRE_COPY), get), [], [5]),
    ("states-bitmap-again", then(after(STOP_AND_COPY), to(STOP), get), [], [5]),
    ("states-stopping-forgets", after(RESUMING), [5], []),
    ("states-last-round-forgets", after(PRE_COPY, STOP_AND_COPY), [5], []),
    ("states-resumed-forgets", after(RESUMING, RUNNING), [5], []),
    ("states-stopping-forgets-pins", after(STOP_AND_COPY, pinned=(7,)), [5, 7], [5]),
    ("states-pre-copy-unseen", then(after(PRE_COPY), write(6), get), [6], []),
    ("states-pre-copy-stream-unseen", then(begin, to(PRE_COPY), beat, write(6), get), [3, 6], [6]),
    ("states-pre-copy-stream-unseen", then(begin, beat, to(PRE_COPY), get), [3], [3]),
    ("stop-writes-unseen", stopped, (False, []), (True, [])),
    ("states-pre-copy-dropped", then(after(PRE_COPY), write(6), to(STOP_AND_COPY), get), [6], []),
    ("states-new-mapping-untracked", then(begin, to(PRE_COPY), new, write(201), get_new), [1], []),
    ("states-target-memory-untracked", then(begin, to(RESUMING), new, to(RUNNING), write(201), get_new), [1], []),
    ("states-unmapping-clear", then(begin, write(5), to(RESUMING), lambda b: b.unmap()), [5], []),
    ("states-mapping-refused", then(to(RESUMING), lambda b: refusal(b)), 0, -EBUSY),
    ("states-mapping-refused-stopped", then(to(STOP), lambda b: refusal(b)), 0, -EBUSY),
    ("reset-forgets-written", then(after(), write(6), reset, get), [6], []),
    ("reset-forgets-pinned", then(begin, lambda b: b.pin(7), reset, get), [7], []),
]


def refusal(bench: Bench) -> int:
    """0, or the refusal of a new mapping."""
    try:
        bench.map(200, 9)
    except AssertionError:
        return -EBUSY
    return 0


@pytest.mark.parametrize(("name", "observe", "good", "broken"), STATES, ids=[row[0] for row in STATES])
def test_defect_breaks_its_observation(
    bench: Callable[..., Bench], name: str, observe: Observation, good: Any, broken: Any
) -> None:
    """The good driver tracks regardless of the state; the broken one does not."""
    assert observe(bench()) == good
    assert observe(bench(name)) == broken
