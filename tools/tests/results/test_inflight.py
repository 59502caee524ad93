# SPDX-License-Identifier: GPL-2.0-only
"""Calls that are noted in memory shared with another process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from vfio_compliance.results.inflight import Inflight, create, last


@pytest.fixture
def shared() -> Iterator[int]:
    """A descriptor of the shared memory."""
    descriptor = create()
    yield descriptor
    os.close(descriptor)


def test_no_calls(shared: int) -> None:
    """There is no last call, at any time."""
    assert last(shared) is None
    assert last(shared, time.monotonic_ns()) is None


def test_the_last_call(shared: int) -> None:
    """The latest call with its age; nothing once the end of the call is noted."""
    calls = Inflight(shared)
    calls.begin("ioctl", "device", 0x3B6F, 0)
    calls.begin("write", "region 9", -1, 4)
    found = last(shared)
    assert found is not None
    assert (found.verb, found.target, found.number, found.length) == ("write", "region 9", (1 << 64) - 1, 4)
    assert 0 <= found.seconds < 60
    calls.none()
    assert last(shared) is None


def test_before_a_moment(shared: int) -> None:
    """Of the calls kept, the last one that began before it; a later process continues in the same memory."""
    moments: list[int] = []
    for _ in range(2):
        writer = Inflight(shared)
        for number in range(200):
            writer.begin("read", "region 9", len(moments), number)
            moments.append(time.monotonic_ns())
    latest = last(shared)
    assert latest is not None
    assert latest.number == 399
    for number in (399, 398, 300, 150):
        found = last(shared, moments[number])
        assert found is not None
        assert found.number == number
    late = last(shared, moments[399] + 2_000_000_000)
    assert late is not None
    assert late.seconds >= 2
    assert last(shared, moments[100]) is None


def test_before_any(shared: int) -> None:
    """There is no call before the first one."""
    before = time.monotonic_ns()
    Inflight(shared).begin("read", "region 9", 0, 8)
    assert last(shared, before) is None
