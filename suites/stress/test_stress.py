# SPDX-License-Identifier: GPL-2.0-only
"""Random operations, in any order and from two threads, on a device that may be asked to stand them."""

from __future__ import annotations

import pytest

from vfio_compliance.migration_v1.exploration.stress import Stress
from vfio_compliance.run import checks


@pytest.mark.rule("stress.walk.answers-allowed")
def test_walk(stress: Stress) -> None:
    """Whatever one thread does to the device, in whatever order, each answer is one that the text allows."""
    checks.nothing_broken(stress.explore())


@pytest.mark.rule("stress.reader.sees-the-state")
def test_reader_sees_the_state(stress: Stress) -> None:
    """While one thread changes device_state, another reads it: what it is, and during a change one of the states."""
    checks.nothing_broken(stress.watch())


@pytest.mark.rule("stress.reader.changes-nothing")
def test_reader_changes_nothing(stress: Stress) -> None:
    """While one thread saves and restores as the text says, another reads device_state and reserved; all goes well."""
    checks.nothing_broken(stress.disturb())


@pytest.mark.rule("stress.writers.one-order")
def test_writers_one_order(stress: Stress) -> None:
    """Two threads each write a state to a running device at once: some order of the two explains what comes of it."""
    checks.nothing_broken(stress.race())


@pytest.mark.rule("stress.readers.same-buffer")
def test_readers_same_buffer(stress: Stress) -> None:
    """Two threads read the same buffer at once, and both get the bytes that a single one got before."""
    checks.nothing_broken(stress.share())
