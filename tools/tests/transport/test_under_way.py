# SPDX-License-Identifier: GPL-2.0-only
"""The time in which calls were under way."""

from __future__ import annotations

import random

import pytest

from vfio_compliance.transport import Counts
from vfio_compliance.transport.under_way import UnderWay
from vfio_compliance.uapi.vfio import VFIO_DEVICE_RESET


def under_way(*calls: tuple[int, int]) -> int:
    """Nanoseconds covered by calls with these times of begin and end."""
    found = UnderWay()
    for began, ended in calls:
        found.add(began, ended - began)
    return found.ns


@pytest.mark.parametrize(
    ("calls", "ns"),
    [
        ([], 0),
        ([(5, 7), (7, 8), (10, 20)], 13),
        ([(2, 3), (5, 7), (1, 10)], 9),
        ([(1, 5), (3, 8)], 7),
        ([(1, 2), (4, 8), (6, 9), (0, 5)], 9),
        ([(4, 4)], 0),
    ],
    ids=["none", "in turn", "inside another", "side by side", "ended late", "no time"],
)
def test_overlapping_calls_count_once(calls: list[tuple[int, int]], ns: int) -> None:
    """The sum for calls in turn; otherwise the time that they cover together."""
    assert under_way(*calls) == ns


@pytest.mark.parametrize("seed", range(20))
def test_random_calls_cover_their_moments(seed: int) -> None:
    """Each moment is checked."""
    chance = random.Random(seed)
    calls = [(began, began + chance.randrange(30)) for began in (chance.randrange(300) for _ in range(40))]
    calls.sort(key=lambda call: call[1])
    assert under_way(*calls) == len({moment for call in calls for moment in range(*call)})


def test_takes_little_memory() -> None:
    """The beginning of a call around a very large number of others may be lost, but nothing else."""
    found = UnderWay()
    for number in range(100_000):
        found.add(10 * number, 5)
        assert len(found._stretches) <= 1024
    assert found.ns == 500_000
    found.add(0, 1_000_000)
    assert 500_000 < found.ns < 1_000_000


def test_trace_counts_calls_and_resets() -> None:
    """All calls, also failed ones, and resets separately; records other than calls take no time."""
    counts = Counts()
    counts.add(("version", "device", 0, 0, b"", b"", 0, 0, 1_000, 100))
    counts.add(("open", "device", 0, 0, b"", b"", 0, 0, 500, 1_000))
    counts.add(("ioctl", "device", VFIO_DEVICE_RESET, 0, b"", b"", 0, 0, 2_000, 40))
    counts.add(("ioctl", "device", VFIO_DEVICE_RESET, 0, b"", b"", -1, 5, 3_000, 2))
    counts.add(("look", "memory", 0, 0, b"", b"", 0, 0, 4_000, 9_999))
    assert (counts.call_ns, counts.reset_ns) == (1_042, 42)
