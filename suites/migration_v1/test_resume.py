# SPDX-License-Identifier: GPL-2.0-only
"""Giving a saved state to a device."""

from __future__ import annotations

import pytest

from vfio_compliance import checks
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DeviceState

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
STOP_AND_COPY, RESUMING = DeviceState.STOP_AND_COPY, DeviceState.RESUMING

VALUE = 0x0123_4567_89AB_CDEF


@pytest.fixture
def buffers(device, migration, profile):
    """A device in resuming, and the state that it was in before a reset."""
    migration.enter(STOP_AND_COPY)
    saved = migration.save(profile.limits.largest_state)
    device.reset()
    migration.enter(RESUMING)
    return saved


@pytest.fixture
def visible(actor):
    """What is visible of a value that was put into the device."""
    actor.put(VALUE)
    return actor.show()


@pytest.mark.rule("v1.resuming.takes-data")
def test_takes_data(migration, buffers):
    """For each buffer data_offset can be read, the data written, and data_size written."""
    if not buffers:
        raise checks.NotApplicable("the device has no state to save")
    for number, data in enumerate(buffers, 1):
        offset = migration.read(DATA_OFFSET)
        checks.accepted(f"writing buffer {number} at data_offset", migration.region.try_write(offset, data), len(data))
        outcome = migration.try_write(DATA_SIZE, len(data))
        checks.accepted(f"writing data_size for buffer {number}", outcome, DATA_SIZE.width)


@pytest.mark.rule("v1.resuming.data-is-used")
def test_data_is_used(migration, actor, visible, buffers):
    """After resuming from a saved state the device shows at least a part of it that a reset device does not."""
    fresh = actor.show()
    migration.load(buffers)
    migration.set_state(RUNNING)
    if fresh == visible:
        raise checks.NotApplicable("a reset does not clear the visible state, so that restoring it cannot be told")
    checks.equal("observing the device after resuming", actor.show(), visible, hexes)


@pytest.mark.rule("v1.resuming.every-buffer-counts")
def test_every_buffer_counts(migration, actor, visible, buffers):
    """A state of several buffers is restored whole."""
    if len(buffers) < 2:
        raise checks.NotApplicable("the state came in a single buffer")
    migration.load(buffers)
    migration.set_state(RUNNING)
    checks.equal(f"observing the device after resuming from {len(buffers)} buffers", actor.show(), visible, hexes)


@pytest.mark.rule("v1.transition.resuming-to-running")
def test_resuming_to_running(migration, actor, buffers):
    """Running can be written once the state was given, and the device works then."""
    counter = actor.counter()
    migration.load(buffers)
    checks.accepted("writing running in resuming", migration.try_set_state(RUNNING), 4)
    if not counter.goes_on():
        checks.broken(
            f"watching {counter.name} for {counter.within:g} s after resuming",
            expected="a change",
            seen="none",
        )


def hexes(values):
    """Numbers in hexadecimal."""
    return " ".join(f"0x{value:x}" for value in values)
