# SPDX-License-Identifier: GPL-2.0-only
"""Tracking in states of the device other than running, and across its reset: neither is a matter of the container."""

import pytest

from vfio_compliance.migration_v1.states import name
from vfio_compliance.run.checks import NotApplicable, declined, given, succeeded, unless
from vfio_compliance.uapi.migration_v1 import DeviceState

PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
STOP, RESUMING = DeviceState.STOP, DeviceState.RESUMING

every_state = pytest.mark.parametrize("state", [PRE_COPY, STOP_AND_COPY, STOP, RESUMING], ids=name)
way_there = pytest.mark.parametrize(
    "states",
    [(PRE_COPY,), (STOP_AND_COPY,), (STOP,), (RESUMING,), (PRE_COPY, STOP_AND_COPY), (PRE_COPY, STOP_AND_COPY, STOP)],
    ids=lambda states: " -> ".join(map(name, states)),
)


@pytest.fixture
def tracked(migrates, reach, guest):
    """Memory of the guest, tracked, with a page that has to be reported."""
    guest.dirty_last(70)
    return guest


@pytest.mark.rule("dirty.states.tracking-starts")
@every_state
def test_tracking_starts(migrates, fresh, reach, guest, state):
    """START is accepted in the state, and a bitmap can be had after it, as after START in running."""
    guest.map(0, 70)
    reach(state)
    guest.start(judged=True)

    def started_in_running():
        guest.stop()
        fresh()
        guest.start()
        reach(state)
        guest.get(0, 70)

    with unless(started_in_running, "where tracking was started in running"):
        guest.get(0, 70).correct()


@pytest.mark.rule("dirty.states.tracking-stops")
@pytest.mark.usefixtures("tracked")
@every_state
def test_tracking_stops(reach, guest, state):
    """STOP is accepted in the state, and no bitmap can be had after it."""
    reach(state)
    succeeded(f"stopping tracking in {name(state)}", guest.tracker.try_stop())
    declined(f"asking for a bitmap in {name(state)} while tracking is off", guest.try_get(0, 70))


@pytest.mark.rule("dirty.states.nothing-lost")
@way_there
def test_written_is_reported(reach, tracked, states):
    """A page that was written in running is reported by a bitmap that is fetched in the state."""
    reach(*states)
    tracked.get(0, 70).correct()


@pytest.mark.rule("dirty.states.nothing-lost")
@way_there
def test_pinned_is_reported(reach, tracked, states):
    """A page that is pinned is reported in the state, each time."""
    tracked.pin(3, 2)
    reach(*states)
    for _ in range(2):
        tracked.get(0, 70).correct()


@pytest.mark.rule("dirty.states.nothing-lost")
@every_state
def test_unmapping_reports(reach, tracked, state):
    """A page that was written in running is reported by the bitmap of an unmapping in the state."""
    reach(state)
    tracked.unmap_telling(0).correct()


@pytest.mark.rule("dirty.states.pre-copy-written")
def test_written_in_pre_copy(reach, tracked):
    """A page that the device writes in pre-copy is reported there."""
    reach(PRE_COPY)
    tracked.make_dirty(5)
    tracked.get(0, 70).correct()


@pytest.mark.rule("dirty.states.pre-copy-written")
def test_written_in_pre_copy_fetched_later(migration, reach, tracked):
    """A page that the device writes in pre-copy is reported in stop-and-copy, when the last bitmap is fetched."""
    reach(PRE_COPY, leaving=True)
    tracked.make_dirty(5)
    tracked.get(0, 70).correct()
    tracked.make_dirty(6)
    migration.enter(STOP_AND_COPY)
    tracked.get(0, 70).correct()


@pytest.mark.rule("dirty.states.memory-changes")
@every_state
def test_memory_changes(migrates, reach, guest, state):
    """Memory is mapped and unmapped in the state, where the target of a migration, or a hotplug, does so."""
    guest.map(0, 70)
    reach(state)
    guest.map(80, 10, judged=True)
    succeeded(f"unmapping memory in {name(state)}", guest.mapping(0).try_unmap())
    guest.still_mapped(80)


@pytest.fixture
def resettable(device):
    """A device that can be reset."""
    if not device.announces_reset:
        raise NotApplicable("the device does not announce that it can be reset")
    return device


@pytest.mark.rule("dirty.reset.tracking-goes-on")
def test_reset_keeps_what_was_written(resettable, guest):
    """A page that was written before a reset of the device is reported after it."""
    guest.dirty_last(70)
    with given():
        resettable.reset()
    guest.get(0, 70).complete()


@pytest.mark.rule("dirty.reset.tracking-goes-on")
def test_reset_keeps_tracking(resettable, guest):
    """A page that the device writes after its reset is reported."""
    guest.map(0, 70)
    guest.start()
    with given():
        resettable.reset()
    guest.make_dirty(5)
    guest.get(0, 70).complete()
