# SPDX-License-Identifier: GPL-2.0-only
"""Writing a saved state to a device, correctly and incorrectly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.device import Stream
from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import goes_to, safe
from vfio_compliance.migration_v1.flows import Flows, Resumed, Saved
from vfio_compliance.migration_v1.migration import Migration
from vfio_compliance.migration_v1.progress import ALL_BUT_ONE, NOTHING, ONE, Progress, give, give_rest
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.migration_v1.states import Transition
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DeviceState

RUNNING, RESUMING = DeviceState.RUNNING, DeviceState.RESUMING

#: What the device shows before it is given a state.
OTHER = 0x9696_6969_C3C3_3C3C

#: This many bytes from its start, a buffer is written in small pieces.
CLOSE = 64


@pytest.fixture
def saved(flows: Flows) -> Saved:
    """A state with a visible part."""
    suspended = flows.suspend()
    suspended.complete()
    if suspended.visible is None:
        raise flows.unseen()
    return suspended


@pytest.fixture
def resumed(flows: Flows) -> Resumed:
    """The result of writing the state to a device, with each buffer written as a whole."""
    return flows.resume(flows.suspend)


@pytest.fixture
def restored(resumed: Resumed) -> Resumed:
    """The same, if it was completed."""
    return resumed.complete()


@pytest.fixture
def restorable(restored: Resumed, saved: Saved) -> Resumed:
    """The same, if everything visible was restored."""
    if restored.visible != saved.visible:
        raise checks.Unjudged("the state is not restored either when each buffer is written as a whole")
    return restored


@pytest.fixture
def stream(flows: Flows) -> Stream:
    """A state of at least one buffer."""
    suspended = flows.suspend().complete()
    if not suspended.buffers:
        raise checks.NotApplicable("the device has no state to save")
    return suspended


@pytest.fixture
def fails(v1: Migration) -> None:
    """A device that can fail while it is resumed: if the profile denies that, no state need be moved."""
    v1.actor.need_resume_fault()


@pytest.fixture
def source(fails: None, flows: Flows, stream: Stream, resumed: Resumed) -> Saved:
    """A saved state of at least one buffer, visible or not, that is accepted if nothing fails."""
    resumed.complete()
    return flows.suspend()


@pytest.fixture
def several(stream: Stream) -> Stream:
    """A state of several buffers."""
    if len(stream.buffers) < 2:
        raise checks.NotApplicable("the state came in a single buffer")
    return stream


# -- whole flows -----------------------------------------------------------------------------------------------


#: How often the same device is resumed without a reset.
each_time = pytest.mark.parametrize("times", [(), (2,)], ids=["once", "twice"])


@pytest.mark.rule("v1.resuming.takes-data")
@each_time
def test_takes_data(flows: Flows, stream: Stream, times: tuple[int, ...]) -> None:
    """Each buffer had room in the region, and was accepted by the write of data_size, every time."""
    checks.flawless(flows.resume(flows.suspend, *times).failed_at("place", DATA_SIZE.name))


@pytest.mark.rule("v1.layout.write-always-works")
def test_write_always_works(flows: Flows, stream: Stream) -> None:
    """Each buffer could be written with write(), mappable or not."""
    resumed = flows.resume(flows.suspend)
    checks.flawless(resumed.refused)
    checks.flawless(resumed.failed_at("data"))


@pytest.mark.rule("v1.resuming.offset-each-buffer")
def test_offset_each_buffer(flows: Flows, several: Stream) -> None:
    """Before each buffer, data_offset could be read."""
    checks.flawless(flows.resume(flows.suspend).failed_at(DATA_OFFSET.name))


@pytest.mark.rule("v1.resuming.data-is-used")
@pytest.mark.stimulus
@each_time
def test_data_is_used(flows: Flows, saved: Saved, times: tuple[int, ...]) -> None:
    """A device that showed something else before shows all of the saved state each time it has resumed from it."""
    resumed = flows.resume(flows.suspend, *times).complete()
    with checks.about(resumed.at["visible"]):
        checks.shows("after resuming", resumed.visible, saved.visible)


@pytest.mark.rule("v1.resuming.every-buffer-counts")
@pytest.mark.stimulus
def test_every_buffer_counts(flows: Flows, saved: Saved, several: Stream) -> None:
    """A state of several buffers is restored in full."""
    resumed = flows.resume(flows.suspend).complete()
    when = f"after resuming from {counted(len(several.buffers), 'buffer')}"
    with checks.about(resumed.at["visible"]):
        checks.shows(when, resumed.visible, saved.visible)


@pytest.mark.rule("v1.resuming.consumed-on-return")
@pytest.mark.stimulus
def test_consumed_on_return(resumed: Resumed, saved: Saved, several: Stream) -> None:
    """Each buffer was announced and followed at once by the next one in its place, and all of them are restored."""
    if resumed.taken:
        checks.flawless(resumed.failed_at(DATA_SIZE.name))
    resumed.complete()
    if resumed.visible == resumed.before:
        raise checks.Unjudged("nothing of the state is restored; another rule judges that")
    when = f"after {counted(len(several.buffers), 'buffer')}, each written over by the next one"
    checks.shows(when, resumed.visible, saved.visible)


# -- the same data in other ways ----------------------------------------------------------------------------------


@pytest.mark.rule("v1.resuming.any-split")
@pytest.mark.stimulus
@pytest.mark.parametrize("split", [1, 2, 4, 8, 3])
def test_any_split(
    restorable: Resumed,
    migration: MigrationRegion,
    actor: MigrationActor,
    stream: Stream,
    split: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The beginning of each buffer is written in small pieces, the rest as a whole, and all of it is restored."""
    judge_split(restorable, migration, actor, stream, split, monkeypatch)


@pytest.mark.rule("v1.resuming.any-split")
@pytest.mark.stimulus
def test_any_split_mapped(
    restorable: Resumed,
    migration: MigrationRegion,
    actor: MigrationActor,
    stream: Stream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The beginning of each buffer is written through a mapping, then the rest, and all of it is restored."""
    if not migration.region.areas:
        raise checks.NotApplicable("the data is not in a mappable area")
    monkeypatch.setattr(migration, "mapped", True)
    judge_split(restorable, migration, actor, stream, CLOSE, monkeypatch)


def judge_split(
    restorable: Resumed,
    migration: MigrationRegion,
    actor: MigrationActor,
    stream: Stream,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state is restored by buffers whose beginnings are written in pieces of ``step`` bytes."""
    monkeypatch.setattr(migration, "falls_back", restorable.refused is not None)
    actor.put(OTHER)
    migration.enter(RESUMING)
    for buffer in stream.buffers:
        data = stream.data(buffer)
        small = range(0, min(CLOSE, buffer.size) // step * step, step)
        pieces = [data[start : start + step] for start in small]
        migration.load_buffer(buffer.size, [*pieces, data[len(small) * step :]])
    migration.set_state(RUNNING)
    checks.shows("after resuming", actor.show(), restorable.visible)


@pytest.mark.rule("v1.transition.resuming-to-running")
def test_resuming_to_running(migration: MigrationRegion, actor: MigrationActor, flows: Flows) -> None:
    """Running can be written once the state has been written."""
    device_in_resuming(migration, flows.suspend().complete())
    goes_to(migration, RUNNING)


@pytest.mark.rule("v1.transition.resuming-to-running")
@pytest.mark.stimulus
def test_works_after_resuming(migration: MigrationRegion, actor: MigrationActor, flows: Flows) -> None:
    """The device does its work once the state and then running have been written."""
    stream = flows.suspend().complete()
    counter = actor.counter()
    device_in_resuming(migration, stream)
    goes_to(migration, RUNNING)
    checks.continues(counter, "after resuming")


def device_in_resuming(migration: MigrationRegion, stream: Stream) -> None:
    """Write the device its state, and leave it in resuming. A driver that refuses it is judged by other rules."""
    migration.enter(RESUMING)
    with checks.given():
        migration.load(stream)


# -- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.rule("v1.error.surfaces-in-resuming")
@pytest.mark.stimulus
def test_error_surfaces(source: Saved, migration: MigrationRegion, actor: MigrationActor) -> None:
    """A fault that the device meets while it is resumed shows as an error of an access, or as the error state."""
    show_another(actor)
    actor.provoke_resume_fault()
    if migration.try_set_state(RESUMING).ok:
        resume_to_an_end(migration, actor, source, 0)


@pytest.mark.rule("v1.error.surfaces-in-resuming")
@pytest.mark.stimulus
@pytest.mark.parametrize("far", [NOTHING, ONE, ALL_BUT_ONE], ids=lambda far: f"after {far.words}")
def test_error_surfaces_later(source: Saved, migration: MigrationRegion, actor: MigrationActor, far: Progress) -> None:
    """The same for a fault that the device meets after a part of the state has been written."""
    number = far.of(len(source.stream.buffers))
    if number == len(source.stream.buffers):
        raise checks.NotApplicable("the device offers no such buffer")
    show_another(actor)
    migration.enter(RESUMING)
    with checks.given():
        give(migration, far, source.stream)
        actor.provoke_resume_fault()
    resume_to_an_end(migration, actor, source, number)


def show_another(actor: MigrationActor) -> None:
    """Change what the device shows, if the profile says how, so that it is not taken for what was restored."""
    if actor.can_put:
        actor.put(OTHER)


def resume_to_an_end(migration: MigrationRegion, actor: MigrationActor, source: Saved, number: int) -> None:
    """Write the rest of a state, from this buffer on, and go to running: this must end with an error."""
    try:
        give_rest(migration, source.stream, number)
        migration.set_state(RUNNING)
    except checks.Refused as failure:
        if failure.errno is None and not migration.in_error():
            judge_unseen(f"{failure.what}: {failure.seen}")
        return
    if source.visible is None:
        raise actor.unseen()
    seen = actor.show()
    if seen == source.visible:
        raise checks.Unjudged("no access failed, and all that can be seen was restored: there was no fault")
    judge_unseen(f"none, and a running device that shows {checks.hexes(seen)}")


def judge_unseen(seen: str) -> None:
    """The fault showed neither as an error of an access nor as the error state."""
    checks.broken(
        "giving a device its state while it meets a fault",
        expected="an error at one of the accesses, or the error state",
        seen=seen,
    )


# -- safety -------------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    """A buffer with one bit flipped in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def halves(data: bytes) -> list[bytes]:
    """A buffer in two."""
    return [data[: len(data) // 2], data[len(data) // 2 :]]


#: What goes wrong on the way from one device to the other: the buffers that arrive.
DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "nothing": lambda buffers: [],
    "the first buffer missing": lambda buffers: buffers[1:],
    "the last buffer missing": lambda buffers: buffers[:-1],
    "the buffers in reverse": lambda buffers: buffers[::-1],
    "the first buffer twice": lambda buffers: [buffers[0], *buffers],
    "half of the last buffer": lambda buffers: [*buffers[:-1], halves(buffers[-1])[0]],
    "a bit flipped": lambda buffers: [flipped(buffers[0]), *buffers[1:]],
    "two buffers as one": lambda buffers: [b"".join(buffers[:2]), *buffers[2:]],
    "one buffer as two": lambda buffers: [*halves(buffers[0]), *buffers[1:]],
}


@pytest.mark.rule("v1.resuming.bad-data-safe")
@pytest.mark.parametrize("damage", DAMAGE)
def test_bad_data_safe(
    recovers: Callable[[], None],
    migration: MigrationRegion,
    observe: Callable[[str, str], None],
    stream: Stream,
    damage: str,
) -> None:
    """However the data is damaged, the driver accepts or refuses it, and a reset brings the device back."""
    migration.enter(RESUMING)
    answer = "taken"
    try:
        for data in DAMAGE[damage]([stream.data(buffer) for buffer in stream.buffers]):
            migration.load_buffer(len(data), [data])
    except checks.Refused:
        answer = "refused"
    judge_leaving(recovers, migration, observe, f"resuming with {damage}", answer)


@pytest.mark.rule("v1.resuming.bad-data-safe")
@pytest.mark.parametrize("size", [0, 2**32, 2**63, 2**64 - 1], ids=hex)
def test_size_without_data_safe(
    recovers: Callable[[], None],
    migration: MigrationRegion,
    observe: Callable[[str, str], None],
    stream: Stream,
    size: int,
) -> None:
    """Whatever data_size is written without data, the driver accepts or refuses it, and a reset recovers the device."""
    migration.enter(RESUMING)
    answer = "taken"
    try:
        migration.read(DATA_OFFSET)
        migration.write(DATA_SIZE, size)
    except checks.Refused:
        answer = "refused"
    judge_leaving(recovers, migration, observe, f"resuming with data_size 0x{size:x} and no data", answer)


def judge_leaving(
    recovers: Callable[[], None],
    migration: MigrationRegion,
    observe: Callable[[str, str], None],
    what: str,
    answer: str,
) -> None:
    """Leave resuming for running, whether that is accepted or not, and reset."""
    change = migration.attempt(RUNNING)
    observe(what, f"{answer}, then running {change}")
    safe(what, change, Transition(RESUMING, RUNNING))
    recovers()
