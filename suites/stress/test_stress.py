# SPDX-License-Identifier: GPL-2.0-only
"""Random operations, in any order and from two threads, on a device that must withstand them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vfio_compliance.run import checks

if TYPE_CHECKING:  # it needs hypothesis, which only a run with --stress has
    from vfio_compliance.migration_v1.exploration.stress import Stress


@pytest.mark.rule("stress.walk.answers-allowed")
def test_walk(stress: Stress) -> None:
    """Whatever one thread does to the device, in whatever order, each answer is one that the specification allows."""
    checks.nothing_broken(stress.explore())


@pytest.mark.rule("stress.reader.sees-the-state")
def test_reader_sees_the_state(stress: Stress) -> None:
    """While one thread changes device_state, another reads it: the state, or one of the states during a change."""
    checks.nothing_broken(stress.watch())


@pytest.mark.rule("stress.reader.changes-nothing")
def test_reader_changes_nothing(stress: Stress) -> None:
    """While one thread saves and restores as specified, another reads device_state and reserved; nothing fails."""
    checks.nothing_broken(stress.disturb())


@pytest.mark.rule("stress.writers.one-order")
def test_writers_one_order(stress: Stress) -> None:
    """Two threads each write a state to a running device at once: some order of the two explains the result."""
    checks.nothing_broken(stress.race())


@pytest.mark.rule("stress.readers.same-buffer")
def test_readers_same_buffer(stress: Stress) -> None:
    """Two threads read the same buffer at once, and both get the bytes that a single thread got before."""
    checks.nothing_broken(stress.share())
