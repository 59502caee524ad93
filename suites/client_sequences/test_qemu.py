# SPDX-License-Identifier: GPL-2.0-only
"""What QEMU does with a device, as whole flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import pytest

from vfio_compliance.device import Device
from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import enter_error, in_state
from vfio_compliance.migration_v1.migration import Destination
from vfio_compliance.migration_v1.qemu import Qemu
from vfio_compliance.migration_v1.reach import Reach
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.migration_v1.states import name
from vfio_compliance.profiles import Profile
from vfio_compliance.run import checks
from vfio_compliance.run.session import Session
from vfio_compliance.uapi.migration_v1 import PENDING_BYTES, DeviceState

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
RESUMING = DeviceState.RESUMING

VALUE = 0x0F1E_2D3C_4B5A_6978

#: What a device shows before it is loaded.
OTHER = 0x8796_A5B4_C3D2_E1F0

#: Buffers that are taken in pre-copy, before the guest stops: a migration does not wait until there is nothing left.
ROUNDS = 2


class Kept(TypedDict, total=False):
    """What a migration saved, and what its device showed; None where the profile does not say how it shows anything."""

    buffers: list[bytes]
    shown: list[int] | None


@pytest.fixture(scope="module")
def kept() -> Kept:
    """What a live migration saved, and what its device showed: saving is expensive, so the tests that load share it."""
    return {}


@pytest.fixture
def shown(profile: Profile, actor: MigrationActor) -> list[int] | None:
    """What the device shows of a value that was put into it; None if the profile does not say how."""
    if profile.stimulus.visible_state is None:
        return None
    actor.put(VALUE)
    return actor.show()


@pytest.fixture
def source(migration: MigrationRegion, shown: list[int] | None, kept: Kept) -> Kept:
    """Buffers, and what their device showed: from the live migration, or else saved in the documented way."""
    if not kept:
        migration.enter(STOP_AND_COPY)
        stream = migration.save()
        kept["buffers"], kept["shown"] = [stream.data(buffer) for buffer in stream.buffers], shown
    return kept


@pytest.fixture
def target(source: Kept, destination: Destination) -> Destination:
    """The device that is loaded with what the source saved: one that shows something else before."""
    differ(destination.actor)
    return destination


def differ(actor: MigrationActor) -> None:
    """Put another value into the visible state, so that what a reset left is not taken for what was loaded."""
    if actor.can_put:
        actor.put(OTHER)


def live(qemu: Qemu, most: int) -> list[bytes]:
    """Save as a live migration does, through mappings; the buffers."""
    qemu.setup_save()
    early = [buffer for _ in range(ROUNDS) for buffer in qemu.iterate(most)]
    qemu.stop_guest()
    return early + qemu.complete(most)


def shows(actor: MigrationActor, expected: Sequence[int] | None) -> None:
    """The device shows ``expected``."""
    if expected is None:
        raise actor.unseen()
    checks.shows("", actor.show(), expected)


@pytest.mark.rule("qemu.probe.finds-all")
def test_probe(qemu: Qemu) -> None:
    """The region is found by its type capability, and bitmaps of the host's page size are offered."""
    qemu.probe()


@pytest.mark.rule("qemu.dirty.accepted")
@pytest.mark.parametrize("step", ["START", "START again", "GET", "GET again", "STOP"])
def test_dirty_pages(qemu: Qemu, step: str) -> None:
    """Each request of a round of dirty page tracking succeeds."""
    checks.succeeded(f"{step} of dirty page tracking", qemu.track_dirty_pages()[step])


@pytest.mark.rule("qemu.memory.comes-and-goes")
@pytest.mark.parametrize("state", [PRE_COPY, STOP_AND_COPY, STOP, RESUMING], ids=name)
def test_memory_comes_and_goes(
    fresh: Callable[[], MigrationRegion],
    reach: Reach,
    migration: MigrationRegion,
    session: Session,
    qemu: Qemu,
    state: DeviceState,
) -> None:
    """Memory is mapped and unmapped in the state, as in running."""

    def control() -> None:
        fresh()
        qemu.change_memory()

    reach(state)
    try:
        with checks.unless(control, "in running"):
            qemu.change_memory()
    except checks.Refused as refusal:
        checks.broken(f"{refusal.what} in {name(state)}", expected=refusal.expected, seen=refusal.seen)
    finally:
        session.lost |= qemu.memory_left


@pytest.mark.rule("qemu.save.begins-in-running")
def test_begin_in_running(device: Device, migration: MigrationRegion, qemu: Qemu) -> None:
    """Opened, reset and set to running, the device goes to pre-copy by the saving bit."""
    device.reopen()
    device.try_reset()  # QEMU starts nevertheless if it is refused
    qemu.start_guest()
    qemu.setup_save()
    in_state(migration, "after the saving bit was added", PRE_COPY)


@pytest.mark.rule("qemu.live.completes")
def test_live_migration(
    migration: MigrationRegion, qemu: Qemu, profile: Profile, shown: list[int] | None, kept: Kept
) -> None:
    """Each write and read of a live migration is carried out, and the device ends in stop."""
    buffers = live(qemu, profile.limits.largest_state)
    in_state(migration, "after the migration", STOP)
    kept["buffers"], kept["shown"] = buffers, shown


@pytest.mark.rule("qemu.complete.self-write-harmless")
@pytest.mark.parametrize("path", [(PRE_COPY, STOP_AND_COPY), (STOP_AND_COPY,)], ids=["live migration", "snapshot"])
def test_self_write(reach: Reach, migration: MigrationRegion, qemu: Qemu, path: tuple[DeviceState, ...]) -> None:
    """A device that has bytes pending in stop-and-copy still has them after the write."""
    reach(*path)
    before = migration.read(PENDING_BYTES)
    qemu.setup_save()
    in_state(migration, "after stop-and-copy was written again", STOP_AND_COPY)
    after = migration.read(PENDING_BYTES)
    checks.equal("reading pending_bytes before and after", bool(after), bool(before), some)


@pytest.mark.rule("qemu.snapshot.begins")
def test_snapshot(migration: MigrationRegion, qemu: Qemu, profile: Profile, shown: list[int] | None) -> None:
    """The write that stops the guest starts saving; the one that sets up saving changes nothing; data is offered."""
    qemu.stop_guest_for_snapshot()
    in_state(migration, "after the guest stopped", STOP_AND_COPY)
    qemu.setup_save()
    found = qemu.iterate(profile.limits.largest_state)
    if shown:
        checks.equal("saving the first buffer of a device with visible state", bool(found), True, some)


@pytest.mark.rule("qemu.paused.migrates")
@pytest.mark.stimulus
def test_paused_guest(request: pytest.FixtureRequest, qemu: Qemu, profile: Profile, shown: list[int] | None) -> None:
    """Saved from stop and loaded into a device that was reset, the state is the one before."""
    qemu.stop_guest()
    qemu.setup_save()
    buffers = qemu.complete(profile.limits.largest_state)
    destination = request.getfixturevalue("destination")  # may be the device itself, which was busy until now
    loading = request.getfixturevalue("loading")
    differ(destination.actor)
    loading.setup_load()
    loading.load(buffers)
    loading.run_guest()
    shows(destination.actor, shown)


#: Where a migration can be when it ends early: the states that it has gone through.
CANCELLED = {
    "in pre-copy": (PRE_COPY,),
    "in stop-and-copy": (PRE_COPY, STOP_AND_COPY),
    "in stop": (PRE_COPY, STOP_AND_COPY, STOP),
    "in resuming, before any data": (RESUMING,),
}

#: The same for a migration that ends while a buffer is only partly read.
CANCELLED_AMID = {
    "in pre-copy": (PRE_COPY,),
    "in stop-and-copy": (PRE_COPY, STOP_AND_COPY),
    "in a snapshot": (STOP_AND_COPY,),
}


@pytest.mark.rule("qemu.cancel.returns-to-running")
@pytest.mark.parametrize("path", CANCELLED.values(), ids=CANCELLED)
def test_cancel(
    reach: Reach, migration: MigrationRegion, qemu: Qemu, actor: MigrationActor, path: tuple[DeviceState, ...]
) -> None:
    """Running is reached by one write, the device does its work there, and pre-copy can be entered."""
    reach(*path)
    judge_cancelling(migration, qemu, actor)


@pytest.mark.rule("qemu.cancel.returns-to-running")
@pytest.mark.parametrize("path", CANCELLED_AMID.values(), ids=CANCELLED_AMID)
def test_cancel_amid_a_buffer(
    reach: Reach, migration: MigrationRegion, qemu: Qemu, actor: MigrationActor, path: tuple[DeviceState, ...]
) -> None:
    """The same while a buffer waits to be read."""
    reach(*path)
    if migration.read(PENDING_BYTES):
        migration.place()
    judge_cancelling(migration, qemu, actor)


def judge_cancelling(migration: MigrationRegion, qemu: Qemu, actor: MigrationActor) -> None:
    """The device runs on the source again, and a new migration can begin."""
    qemu.cancel()
    in_state(migration, "after the migration was cancelled", RUNNING)
    if actor.can_watch:
        checks.continues(actor.counter())
    qemu.setup_save()


@pytest.mark.rule("qemu.source.runs-again")
@pytest.mark.parametrize(
    "path",
    [(PRE_COPY, STOP_AND_COPY, STOP), (STOP_AND_COPY, STOP), (STOP,)],
    ids=["live migration", "snapshot", "pause"],
)
def test_source_runs_again(
    reach: Reach,
    migration: MigrationRegion,
    qemu: Qemu,
    actor: MigrationActor,
    shown: list[int] | None,
    path: tuple[DeviceState, ...],
) -> None:
    """From stop, running is reached by one write; the device does its work, and shows what it showed."""
    reach(*path)
    qemu.run_guest()
    in_state(migration, "after the guest was continued", RUNNING)
    if actor.can_watch:
        checks.continues(actor.counter())
    if shown is not None:
        shows(actor, shown)


@pytest.mark.rule("qemu.load.restores")
@pytest.mark.stimulus
def test_load_restores(source: Kept, target: Destination, loading: Qemu) -> None:
    """Each write and read of loading is carried out, running is reached, and the device shows what the source did."""
    loading.setup_load()
    loading.load(source["buffers"])
    loading.run_guest()
    shows(target.actor, source["shown"])


@pytest.mark.rule("qemu.load.waits-for-guest")
def test_load_waits(source: Kept, target: Destination, loading: Qemu) -> None:
    """After the last buffer, device_state reads resuming; running is reached by one write, and the device runs."""
    loading.setup_load()
    loading.load(source["buffers"])
    in_state(target.migration, "after the last buffer", RESUMING)
    loading.run_guest()
    in_state(target.migration, "after the guest was continued", RUNNING)
    if target.actor.can_watch:
        checks.continues(target.actor.counter())


@pytest.mark.rule("qemu.load.cut-buffer-safe")
def test_cut_buffer(source: Kept, target: Destination, loading: Qemu, observe: Callable[[str, str], None]) -> None:
    """With room for half of the largest buffer, loading fails before running is reached, or restores the state."""
    loading.setup_load()
    half = -(-max(map(len, source["buffers"]), default=0) // 2)
    refusal = loading.try_load(source["buffers"], room=half)
    observe("buffers written in two pieces", "refused" if refusal else "taken")
    if not refusal:
        shows(target.actor, source["shown"])


@pytest.mark.rule("qemu.error.next-guest-runs")
@pytest.mark.stimulus
def test_error(device: Device, migration: MigrationRegion, qemu: Qemu, actor: MigrationActor) -> None:
    """Closed in the error state, opened, reset and set to running, the device is running."""
    enter_error(migration, actor)
    device.reopen()
    device.try_reset()  # QEMU starts nevertheless if it is refused
    qemu.start_guest()
    in_state(migration, "after the next guest started", RUNNING)


def some(any_: bool) -> str:
    """Whether there are bytes, in words."""
    return "some bytes" if any_ else "none"
