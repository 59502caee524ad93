# SPDX-License-Identifier: GPL-2.0-only
"""What the specification asks of a user program, judged on the suite's own traffic."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.device import Device
from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import enter_error
from vfio_compliance.migration_v1.client import Judge
from vfio_compliance.migration_v1.flows import Flows, Saved
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.run import checks
from vfio_compliance.run.client import Access
from vfio_compliance.uapi.migration_v1 import PENDING_BYTES, DeviceState

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
RESUMING, ERROR = DeviceState.RESUMING, DeviceState.ERROR
PENDING = PENDING_BYTES.offset


def judge_traffic(accesses: Iterable[Access], clause: str, least: int = 1) -> Judge:
    """This client kept ``clause``, which applied at least ``least`` times; otherwise there is nothing to judge."""
    judge, accesses = Judge(), list(accesses)
    offences = [offence for access in accesses for offence in judge.take(access)]
    for offence in [*offences, *judge.end()]:
        if offence.clause == clause:
            checks.broken(f"judging call {offence.access} of the client", expected=offence.expected, seen=offence.seen)
    if judge.kept[clause] < least:
        if any(access.verb == "map" for access in accesses):
            raise checks.NotApplicable("the data goes through a mapping, which is in no trace")
        often = counted(judge.kept[clause], "time")
        raise checks.Unjudged(f"{clause} was put to the test {often}, {least} needed to judge")
    return judge


def judge_clause(device: Device, migration: MigrationRegion, clause: str, least: int = 1) -> Judge:
    """Judge the client that this test is, up to now."""
    return judge_traffic(migration.accesses(device.transport.tracer.calls), clause, least)


@pytest.fixture
def saved(flows: Flows) -> Saved:
    """A state of at least one buffer that was saved, and how."""
    suspended = flows.suspend()
    suspended.complete()
    flows.resume(flows.suspend)  # at once, so that one case has all the traffic of the data
    if not suspended.stream.buffers:
        raise checks.NotApplicable("the device has no state to save")
    return suspended


@pytest.fixture
def moved(flows: Flows, saved: Saved) -> tuple[list[Access], int]:
    """What the client did to save the state and to write it back, and the number of buffers."""
    resumed = flows.resume(flows.suspend)
    if resumed.failure:
        raise checks.Unjudged(f"the state could not be given back: {resumed.failure}")
    return [*saved.traffic, *resumed.traffic], len(saved.stream.buffers)


@pytest.mark.rule("v1.client.reads-after-failure")
@pytest.mark.parametrize("value", [DeviceState.INVALID_5, ERROR, DeviceState.INVALID_7], ids="{:03b}b".format)
def test_reads_after_failure(device: Device, migration: MigrationRegion, value: DeviceState) -> None:
    """Between a write that fails and the next write, device_state is read."""
    if migration.try_set_state(value).ok:
        raise checks.Unjudged("the device accepted what it should refuse")
    migration.try_set_state(RUNNING)
    judge_clause(device, migration, "DS-04")


@pytest.mark.rule("v1.client.resets-after-error")
@pytest.mark.stimulus
def test_resets_after_error(device: Device, migration: MigrationRegion, actor: MigrationActor) -> None:
    """A device that reported the error state is reset before device_state is written again."""
    enter_error(migration, actor)
    device.reset()
    migration.enter(STOP)
    judge_clause(device, migration, "DS-07")


@pytest.mark.rule("v1.client.preserves-reserved-bits")
def test_preserves_reserved_bits(flows: Flows) -> None:
    """Each write of a live migration is preceded by a read and carries the reserved bits that were read."""
    live = flows.live()
    live.complete()
    judge_traffic(live.traffic, "DS-15", 3)


@pytest.mark.rule("v1.client.stop-is-optional")
def test_closed_in_stop(device: Device, migration: MigrationRegion) -> None:
    """A client that closes a device that it has stopped breaks no clause."""
    migration.enter(STOP)
    judge_closing(device, migration, writes=1)


@pytest.mark.rule("v1.client.stop-is-optional")
def test_closed_while_running(device: Device, migration: MigrationRegion) -> None:
    """A client that closes a running device breaks no clause."""
    judge_closing(device, migration, writes=0)


def judge_closing(device: Device, migration: MigrationRegion, writes: int) -> None:
    """Closing the device is not an offence, after ``writes`` writes of device_state."""
    device.reopen()
    judge = judge_clause(device, migration, "DS-15", writes)
    checks.equal("counting the offences of the client", sum(judge.broken.values()), 0)


@pytest.mark.rule("v1.client.resumes-from-running")
def test_resumes_from_running(device: Device, migration: MigrationRegion) -> None:
    """Resuming is written while device_state reads running."""
    migration.enter(RESUMING)
    judge_clause(device, migration, "TR-04a")


@pytest.mark.rule("v1.client.asks-for-nothing-at-zero")
def test_asks_for_nothing_at_zero(saved: Saved) -> None:
    """Once pending_bytes has read as 0 in stop-and-copy, no more data is requested before the state is left."""
    judge_traffic(saved.traffic, "SAV-02")


@pytest.mark.rule("v1.client.saves-in-order")
def test_saves_in_order(saved: Saved) -> None:
    """For each buffer of a saved state, the steps were taken in their order."""
    judge_traffic(saved.traffic, "SAV-11", len(saved.stream.buffers))


@pytest.mark.rule("v1.client.saves-to-the-end")
def test_saves_to_the_end(saved: Saved) -> None:
    """Stop-and-copy was left once pending_bytes had read as 0."""
    counts = [access.content for access in saved.traffic if access.verb == "read" and access.offset == PENDING]
    if 0 in counts and any(counts[counts.index(0) :]):
        raise checks.Unjudged("pending_bytes had read 0 before it counted more")
    judge_traffic(saved.traffic, "SAV-13")


@pytest.mark.rule("v1.client.stays-inside-buffer")
def test_stays_inside_buffer(moved: tuple[list[Access], int]) -> None:
    """Each buffer was read from, and written to, where data_offset and data_size said it was."""
    traffic, buffers = moved
    judge_traffic(traffic, "FLD-04", 2 * buffers)


@pytest.mark.rule("v1.client.uses-data-size")
def test_uses_data_size(moved: tuple[list[Access], int]) -> None:
    """For each buffer, data_size was read when it was saved, and written after the data when it was resumed."""
    traffic, buffers = moved
    judge_traffic(traffic, "FLD-06", 2 * buffers)


@pytest.mark.rule("v1.client.ends-at-error")
@pytest.mark.stimulus
def test_ends_at_error(device: Device, migration: MigrationRegion, actor: MigrationActor) -> None:
    """After the error state appeared between two buffers, no further step was taken before the reset."""
    migration.enter(PRE_COPY)
    migration.read(PENDING_BYTES)
    enter_error(migration, actor, STOP_AND_COPY)
    device.reset()
    judge_clause(device, migration, "ERR-02")


@pytest.mark.rule("v1.client.gives-in-order")
def test_gives_in_order(moved: tuple[list[Access], int]) -> None:
    """Each buffer was written in the position in which it was saved."""
    traffic, buffers = moved
    judge_traffic(traffic, "RSM-05", buffers)


@pytest.mark.rule("v1.client.keeps-buffer-sizes")
def test_keeps_buffer_sizes(moved: tuple[list[Access], int]) -> None:
    """Each buffer was written in the size in which it was saved."""
    traffic, buffers = moved
    judge_traffic(traffic, "RSM-06", buffers)


@pytest.mark.rule("v1.client.keeps-data")
def test_keeps_data(moved: tuple[list[Access], int]) -> None:
    """Each buffer was written with the bytes with which it was saved."""
    traffic, buffers = moved
    judge_traffic(traffic, "RSM-07", buffers)
