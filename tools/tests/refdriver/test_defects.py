# SPDX-License-Identifier: GPL-2.0-only
"""Defects, observed on the device itself: each shows what its row says, and the good device does not.

They are those of which the message of a failure does not say it all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from errno import EINVAL, EIO
from pathlib import Path
from time import monotonic_ns, sleep
from typing import Any

import pytest
from raw_client import (
    CONTROL,
    COUNTER,
    ERROR,
    FAULT,
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
)
from test_data_defects import TABLE as DATA_TABLE
from test_dirty_defects import DEFECTS as DIRTY
from test_dirty_defects import PERVASIVE
from test_dirty_faults import SUBTLE
from test_dirty_ranges import RANGES
from test_dirty_states import STATES
from test_sessions import SESSIONS
from test_users import USERS

from refdriver.defects import DEFECTS, broken
from refdriver.device.description import describe
from refdriver.driver import build
from refdriver.migration_v1.region import MigrationRegion
from refdriver.options import Options
from refdriver.refusal import Refusal
from vfio_compliance import rules


class Bench:
    """An open device without a server. Refusals are given as negative errnos."""

    def __init__(self, *defects: str) -> None:
        self.driver = build(Options(), broken(defects))
        self.device = self.driver.device
        migration = self.device.special[9]
        assert isinstance(migration, MigrationRegion)
        self.migration = migration
        self.device.open()

    def read(self, offset: int, count: int, region: int = 9) -> int:
        """A value as the user reads it."""
        try:
            return int.from_bytes(self.device.regions[region].read(offset, count), "little")
        except Refusal as refusal:
            return -refusal.errno

    def write(self, offset: int, count: int, value: int, region: int = 9) -> int:
        """The count reported."""
        try:
            return self.device.regions[region].write(offset, value.to_bytes(count, "little"))
        except Refusal as refusal:
            return -refusal.errno

    def go(self, *states: int) -> int:
        """Write states in turn; the result of the last write."""
        return [self.write(STATE, 4, state) for state in states][-1]

    def state(self) -> int:
        """device_state."""
        return self.read(STATE, 4)

    def now(self, *states: int) -> int:
        """device_state after these writes."""
        self.go(*states)
        return self.state()

    def fails(self) -> int:
        """The result of writing a state that is refused."""
        return self.write(STATE, 4, 5)

    def fault(self, value: int = 1) -> int:
        """device_state after a write that meets an internal error."""
        self.write(FAULT, 4, value, region=0)
        return self.now(STOP)

    def made_to_refuse(self, state: int) -> int:
        """The result of writing a state if FAULT makes the device refuse it."""
        self.write(FAULT, 4, 2, region=0)
        return self.go(state)

    def reset(self) -> int:
        """0, or the refusal."""
        try:
            self.device.reset()
        except Refusal as refusal:
            return -refusal.errno
        return 0

    def reopened(self) -> int:
        """device_state for the next user."""
        self.device.close()
        self.device.open()
        return self.state()

    def runs(self, *states: int) -> bool:
        """Whether COUNTER grows over some microseconds, after these writes."""
        if states:
            self.go(*states)
        first = self.read(COUNTER, 8, region=0)
        end = monotonic_ns() + 10_000
        while monotonic_ns() < end:
            pass
        return self.read(COUNTER, 8, region=0) != first

    def save(self) -> list[bytes]:
        """All buffers of the current state."""
        buffers = []
        while self.read(PENDING, 8) > 0:
            offset, size = self.read(OFFSET, 8), self.read(SIZE, 8)
            buffers.append(bytes(self.migration.read(offset, size)))
        return buffers

    def arrived(self, *states: int) -> tuple[int, int]:
        """Two parts of the device, after it was saved in these states, reset, and restored."""
        self.write(0, 8, 1, region=2)
        self.write(SCRATCH0, 8, 1, region=0)
        buffers = []
        for state in states:
            self.go(state)
            buffers += self.save()
            if state == PRE_COPY:
                self.write(SCRATCH0, 8, 2, region=0)
        self.give(buffers)
        self.go(RUNNING)
        return self.read(0, 8, region=2), self.read(SCRATCH0, 8, region=0)

    def give(self, buffers: list[bytes]) -> None:
        """Reset, enter RESUMING, and write a saved state."""
        self.device.reset()
        self.go(RESUMING)
        for buffer in buffers:
            self.migration.write(self.read(OFFSET, 8), buffer)
            self.write(SIZE, 8, len(buffer))

    def given(self) -> int:
        """device_state after a whole state was written in RESUMING."""
        self.go(STOP_AND_COPY)
        self.give(self.save())
        return self.state()

    def length(self, offset: int, count: int) -> int:
        """How many bytes a read returns."""
        try:
            return len(self.migration.read(offset, count))
        except Refusal as refusal:
            return -refusal.errno

    def describe(self, index: int = 9) -> tuple[int, ...]:
        """Offset and size of the area, the region's size, and the subtype (-1 without a type capability)."""
        info, _ = self.driver.commands.fit(describe(self.device, index, "plain"), 4096)
        place, size = struct.unpack_from("<12xIQ", info)
        areas, subtype = (0, 0), -1
        while place:
            ident, _, following = struct.unpack_from("<HHI", info, place)
            if ident == 1:
                areas = struct.unpack_from("<QQ", info, place + 16)
            else:
                (subtype,) = struct.unpack_from("<I", info, place + 12)
            place = following
        return *areas, size, subtype


def _value_after_write(offset: int, count: int, state: int = STOP_AND_COPY) -> Callable[[Bench], int]:
    def observe(bench: Bench) -> int:
        bench.go(state)
        bench.write(offset, count, 0x1008)
        return bench.read(offset, count)

    return observe


#: The failures of the rules that each defect breaks.
SHOWN = rules.by_defect(rules.load(Path(__file__).parents[3] / "suites"))

#: Defect, observation, its result on the good device, its result on the broken one.
TABLE: list[tuple[str, Callable[[Bench], Any], Any, Any]] = [
    ("region-subtype-zero", lambda b: b.describe()[3], 1, 0),
    ("region-type-missing", lambda b: b.describe()[3], 1, -1),
    ("state-failure-silent", lambda b: (b.fails(), b.state()), (-EINVAL, 1), (4, 1)),
    ("state-failure-short", lambda b: (b.fails(), b.state()), (-EINVAL, 1), (2, 1)),
    ("state-latched-after-failure", lambda b: (b.fails(), b.now(STOP)), (-EINVAL, 0), (-EINVAL, 1)),
    ("state-latched-after-failure", lambda b: (b.fails(), b.reset(), b.now(STOP)), (-EINVAL, 0, 0), None),
    (
        "error-outlives-close",
        lambda b: (b.fault(), b.reopened(), b.reset(), b.state(), b.reset(), b.state()),
        (ERROR, RUNNING, 0, RUNNING, 0, RUNNING),
        (ERROR, ERROR, 0, ERROR, 0, RUNNING),
    ),
    (
        "cancelled-stays-stopped",
        lambda b: (b.runs(STOP_AND_COPY, RUNNING), b.reset(), b.runs(STOP_AND_COPY, STOP, RUNNING)),
        (True, 0, True),
        (False, 0, True),
    ),
    ("running-bit-inverted", lambda b: (b.runs(), b.runs(STOP)), (True, False), (False, True)),
    ("stop-late", lambda b: b.runs(STOP), False, True),
    ("stop-and-copy-keeps-running", lambda b: (b.runs(STOP_AND_COPY), b.runs(STOP)), (False, False), (True, False)),
    ("pre-copy-stops", lambda b: (b.runs(PRE_COPY), b.runs(RUNNING)), (True, True), (False, True)),
    ("resumed-stays-stopped", lambda b: (b.runs(RESUMING, RUNNING), b.state()), (True, 1), (False, 1)),
    ("undrawn-wrong-state", lambda b: b.now(STOP, PRE_COPY), PRE_COPY, RUNNING),
    ("save-stream-truncated", lambda b: b.arrived(STOP_AND_COPY), (1, 1), (1, 0)),
    ("pre-copy-snapshot-only", lambda b: b.arrived(PRE_COPY, STOP_AND_COPY), (1, 2), (1, 1)),
    ("pre-copy-registers-stale", lambda b: b.arrived(PRE_COPY, STOP_AND_COPY), (1, 2), (1, 1)),
    ("resuming-data-ignored", lambda b: b.arrived(STOP_AND_COPY), (1, 1), (0, 0)),
    ("resume-last-buffer-only", lambda b: b.arrived(STOP_AND_COPY), (1, 1), (0, 1)),
    ("pending-writable", lambda b: _value_after_write(PENDING, 8)(b) == 0x1008, False, True),
    ("data-offset-unaligned", lambda b: (b.read(OFFSET, 8), b.arrived(2)), (0x1000, (1, 1)), (0x1008, (1, 1))),
    (
        "stop-dma-continues",
        lambda b: (b.write(CONTROL, 4, 1, region=0), b.go(STOP), b.runs(), b.device.machine.streaming),
        (4, 4, False, False),
        (4, 4, False, True),
    ),
    (
        "region-type-lost-by-reset",
        lambda b: (b.describe()[3], b.reset(), b.describe()[3], b.reopened(), b.describe()[3]),
        (1, 0, 1, 1, 1),
        (1, 0, -1, 1, 1),
    ),
    (
        "region-announced-twice",
        lambda b: (b.device.region_count, b.describe(b.device.region_count - 1)[2:]),
        (10, (20480, 1)),
        (11, (0, 1)),
    ),
    ("width-write-ignored", lambda b: (b.write(0, 2, STOP), b.state()), (-EINVAL, 1), (2, 1)),
    (
        "state-failure-silent-again",
        lambda b: (b.fails(), b.fails(), b.state(), b.go(STOP), b.fails()),
        (-EINVAL, -EINVAL, 1, 4, -EINVAL),
        (-EINVAL, 4, 1, 4, -EINVAL),
    ),
    (
        "refusal-latches",
        lambda b: (b.fails(), b.now(PRE_COPY), b.made_to_refuse(STOP), b.now(STOP), b.reset(), b.now(STOP)),
        (-EINVAL, 3, -EIO, 0, 0, 0),
        (-EINVAL, 3, -EIO, 3, 0, 0),
    ),
    (
        "refusal-freezes",
        lambda b: (b.made_to_refuse(STOP), b.runs(), b.runs(STOP), b.runs(RUNNING)),
        (-EIO, True, False, True),
        (-EIO, False, False, True),
    ),
    (
        "refusal-ends-dma",
        lambda b: (b.write(CONTROL, 4, 1, region=0), b.made_to_refuse(STOP), b.runs(), b.device.machine.streaming),
        (4, -EIO, True, True),
        (4, -EIO, True, False),
    ),
    (
        "refusal-wakes",
        lambda b: (b.runs(STOP), b.made_to_refuse(RUNNING), b.runs(), b.reset(), b.runs(STOP)),
        (False, -EIO, False, 0, False),
        (False, -EIO, True, 0, False),
    ),
    (
        "state-latched-after-second-failure",
        lambda b: (b.fails(), b.now(PRE_COPY), b.fails(), b.now(STOP), b.reset(), b.now(STOP)),
        (-EINVAL, 3, -EINVAL, 0, 0, 0),
        (-EINVAL, 3, -EINVAL, 3, 0, 0),
    ),
    (
        "state-latched-in-pre-copy",
        lambda b: (b.fails(), b.now(PRE_COPY), b.fails(), b.now(STOP)),
        (-EINVAL, 3, -EINVAL, 0),
        (-EINVAL, 3, -EINVAL, 3),
    ),
    ("stop-wears-off", lambda b: (b.now(STOP), b.state(), sleep(0.03), b.state()), (0, 0, None, 0), (0, 0, None, 1)),
    (
        "reset-error-refuses-saving",
        lambda b: (b.fault(), b.reset(), b.now(STOP_AND_COPY), b.reset(), b.now(STOP_AND_COPY)),
        (6, 0, 2, 0, 2),
        (6, 0, 1, 0, 2),
    ),
    (
        "open-stands-still",
        lambda b: (b.state(), b.runs(), b.reset(), b.runs()),
        (1, True, 0, True),
        (1, False, 0, True),
    ),
    (
        "pre-copy-exit-late",
        lambda b: (b.runs(STOP), b.runs(PRE_COPY), b.runs(STOP_AND_COPY)),
        (False, True, False),
        (False, True, True),
    ),
    (
        "stop-one-late-dma",
        lambda b: (b.write(CONTROL, 4, 1, region=0), b.go(STOP), b.runs(), b.device.machine.streaming),
        (4, 4, False, False),
        (4, 4, False, True),
    ),
    (
        "stopped-interrupts",
        lambda b: (b.write(CONTROL, 4, 1, region=0), b.go(STOP), b.runs(), b.device.machine.streaming),
        (4, 4, False, False),
        (4, 4, False, True),
    ),
    (
        "stop-one-late-interrupt",
        lambda b: (b.write(CONTROL, 4, 1, region=0), b.go(STOP), b.runs(), b.device.machine.streaming),
        (4, 4, False, False),
        (4, 4, False, True),
    ),
    (
        "stop-and-copy-works-at-data",
        lambda b: (b.runs(STOP_AND_COPY), len(b.save()) > 0, b.runs()),
        (False, True, False),
        (False, True, True),
    ),
    ("resuming-keeps-running", lambda b: (b.runs(RESUMING), b.runs(STOP)), (False, False), (True, False)),
    (
        "pre-copy-stops-at-data",
        lambda b: (b.runs(PRE_COPY), len(b.save()) > 0, b.runs()),
        (True, True, True),
        (True, True, False),
    ),
    (
        "pre-copy-refused-after-resume",
        lambda b: (b.given(), b.now(RUNNING), b.now(PRE_COPY), b.reset(), b.now(PRE_COPY)),
        (4, 1, 3, 0, 3),
        (4, 1, 1, 0, 3),
    ),
    (
        "pending-writable-in-pre-copy",
        lambda b: (_value_after_write(PENDING, 8)(b) == 0x1008, _value_after_write(PENDING, 8, PRE_COPY)(b) == 0x1008),
        (False, False),
        (False, True),
    ),
    (
        "pending-write-zero-ends",
        lambda b: (
            b.now(STOP_AND_COPY),
            b.write(PENDING, 8, 1),
            b.read(PENDING, 8) > 0,
            b.write(PENDING, 8, 0),
            b.read(PENDING, 8) > 0,
        ),
        (2, 8, True, 8, True),
        (2, 8, True, 8, False),
    ),
    (
        "data-offset-unaligned-later",
        lambda b: (b.arrived(2), b.go(STOP_AND_COPY), b.read(OFFSET, 8), b.read(PENDING, 8) > 0, b.read(OFFSET, 8)),
        ((1, 1), 4, 4096, True, 4096),
        ((1, 1), 4, 4096, True, 4104),
    ),
    ("area-wraps", lambda b: b.migration.areas[1:], [], [(2**64 - 4096, 8192)]),
]


@pytest.mark.parametrize(("name", "observe", "good", "broken"), TABLE, ids=[row[0] for row in TABLE])
def test_defect_breaks_its_observation(name: str, observe: Callable[[Bench], Any], good: Any, broken: Any) -> None:
    """The same observation of a good device and of one with the defect; None: both must agree."""
    assert observe(Bench()) == good
    assert observe(Bench(name)) == (good if broken is None else broken)


def test_each_defect_is_observed_or_proved() -> None:
    """These tables have each defect that no failure proves by its exact message, and only those."""
    named = {row[0] for row in TABLE + DATA_TABLE + STATES + SESSIONS + USERS}
    assert named | {*DIRTY, *PERVASIVE, *SUBTLE, *RANGES} == {name for name in DEFECTS if not is_proved(name)}


def is_proved(name: str) -> bool:
    """Whether what each broken rule expects and sees is given in full, so that the proofs show the defect itself."""
    return all(
        "*" not in shows and not shows.endswith("seen") and "expected" in shows for shows in SHOWN[name].values()
    )


def test_stop_late_stops_within_2_s() -> None:
    """It runs on for about 20 ms."""
    bench = Bench("stop-late")
    start = monotonic_ns()
    bench.go(STOP)
    while bench.runs():
        assert monotonic_ns() - start < 2_000_000_000
    assert monotonic_ns() - start > 19_000_000
    assert bench.read(COUNTER, 8, region=0) >= 20_000
