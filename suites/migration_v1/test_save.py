# SPDX-License-Identifier: GPL-2.0-only
"""Saving the state of a device: what whole flows showed, and single buffers examined closely."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.device import Area, Region
from vfio_compliance.migration_v1.actor import MigrationActor
from vfio_compliance.migration_v1.checks import need_data
from vfio_compliance.migration_v1.flows import Flows, Saved
from vfio_compliance.migration_v1.interruptions import MANY, PENDING_AGAIN, PLACES
from vfio_compliance.migration_v1.players import Players
from vfio_compliance.migration_v1.profile import MigrationClaims
from vfio_compliance.migration_v1.progress import ALL_BUT_ONE, ONE, Progress
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.profiles import Profile
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, PENDING_BYTES, DeviceState

PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY

#: A buffer is examined closely in this many bytes from its start, and as many before its end.
CLOSE = 64

#: Bytes that are compared at each of the first places of a buffer, how many places, and how far apart they are.
LOOK, PLACES_LOOKED_AT, APART = 128, 32, 512


def judge_restored(flows: Flows, flow: Callable[[], Saved]) -> None:
    """The state that ``flow`` saved restores what was visible."""
    saved = flow()
    saved.complete()
    if saved.visible is None:
        raise flows.unseen()
    resumed = flows.resume(flow)
    if isinstance(resumed.failure, checks.Unreachable):
        resumed.complete()
    checks.flawless(resumed.failure)
    with checks.about(resumed.at["visible"]):
        checks.shows("restored from it", resumed.visible, saved.visible)


def restores(flows: Flows) -> None:
    """A state that was read the plain way restores what was visible; otherwise nothing else can be judged."""
    try:
        judge_restored(flows, flows.suspend)
    except checks.RuleBroken as broken:
        raise checks.Unjudged(f"no state restores the device: {broken}") from None


def restores_calmly(flows: Flows) -> bool:
    """Whether a live migration that reads pending_bytes once before each buffer is flawless."""
    try:
        checks.flawless(flows.calm().failed_at(*STEPS))
        judge_restored(flows, flows.calm)
    except checks.RuleBroken:
        return False
    return True


#: Where a flow of saving can fail.
STEPS = (PENDING_BYTES.name, DATA_OFFSET.name, DATA_SIZE.name, "place", "size", "data", "end")

every_flow = pytest.mark.parametrize("flow", ["suspend", "live"])

# -- whole flows -----------------------------------------------------------------------------------------------


@pytest.mark.rule("v1.saving.offers-state")
@pytest.mark.stimulus
@every_flow
def test_offers_state(flows: Flows, flow: str) -> None:
    """A device whose visible state was changed just before stop-and-copy offers at least one byte there."""
    saved = getattr(flows, flow)()
    saved.complete()
    if saved.visible is None:
        raise flows.unseen()
    if not saved.offered[STOP_AND_COPY]:
        what = "reading the state to its end in stop-and-copy"
        with checks.about(saved.at["offered"]):
            checks.broken(what, expected="at least 1 byte", seen="pending_bytes 0 at once")


@pytest.mark.rule("v1.saving.pending-means-data")
@every_flow
def test_pending_means_data(flows: Flows, flow: str) -> None:
    """Whenever bytes were pending, data_offset could be read right after."""
    checks.flawless(getattr(flows, flow)().failed_at(DATA_OFFSET.name))


@pytest.mark.rule("v1.saving.size-can-be-read")
@every_flow
def test_size_can_be_read(flows: Flows, flow: str) -> None:
    """Whenever data_offset had been read, data_size could be read right after."""
    checks.flawless(getattr(flows, flow)().failed_at(DATA_SIZE.name))


@pytest.mark.rule("v1.saving.buffer-not-empty")
@every_flow
def test_buffer_not_empty(flows: Flows, flow: str) -> None:
    """No buffer was empty while bytes were pending."""
    checks.flawless(getattr(flows, flow)().failed_at("size"))


@pytest.mark.rule("v1.layout.buffer-in-section")
@every_flow
def test_buffer_in_section(flows: Flows, flow: str) -> None:
    """Each buffer was past the registers and inside the region, from its first byte to its last."""
    checks.flawless(getattr(flows, flow)().failed_at("place"))


@pytest.mark.rule("v1.layout.read-always-works")
@every_flow
def test_read_always_works(flows: Flows, flow: str) -> None:
    """Each buffer could be read with read(), mappable or not."""
    saved = getattr(flows, flow)()
    checks.flawless(saved.failed_at("data"))
    checks.flawless(saved.refused)


@pytest.mark.rule("v1.saving.ends")
@every_flow
def test_ends(flows: Flows, flow: str) -> None:
    """The state is within the profile's limit, and once pending_bytes is 0 in stop-and-copy, it stays 0."""
    saved = getattr(flows, flow)()
    checks.flawless(saved.failed_at("end"))
    saved.complete()
    with checks.about(saved.at["after_the_end"]):
        checks.equal("reading pending_bytes again after the end", saved.after_the_end, [0, 0, 0])


@pytest.mark.rule("v1.stop-and-copy.state-is-complete")
@pytest.mark.stimulus
def test_state_is_complete(flows: Flows) -> None:
    """A state read to its end, each buffer once, restores what was visible."""
    judge_restored(flows, flows.suspend)


@pytest.mark.rule("v1.pre-copy.later-changes-carried")
@pytest.mark.stimulus
def test_later_changes_carried(flows: Flows) -> None:
    """Changes to the visible state during pre-copy are there after restoring."""
    restores(flows)
    try:
        judge_restored(flows, flows.live)
    except checks.RuleBroken:
        judge_restored(flows, flows.calm)  # repeated reads of pending_bytes are judged by another rule


@pytest.mark.rule("v1.saving.pending-has-no-effect")
@pytest.mark.stimulus
def test_pending_has_no_effect(flows: Flows) -> None:
    """A state read with four reads of pending_bytes before each buffer is complete."""
    restores(flows)
    try:
        checks.flawless(flows.live().failed_at(*STEPS))
        judge_restored(flows, flows.live)
    except checks.RuleBroken:
        if restores_calmly(flows):
            raise
        checks.flawless(flows.disturbed().failed_at(*STEPS))
        judge_restored(flows, flows.disturbed)


@pytest.mark.rule("v1.saving.pending-has-no-effect")
def test_pending_changes_no_byte(flows: Flows, profile: Profile) -> None:
    """A stopped device that is saved twice gives the same bytes, though pending_bytes is read more often then.

    It must not run in between, as a clock in its state would show.
    """
    if not profile.claims_of(MigrationClaims).repeatable_state:
        raise checks.NotApplicable("the profile does not claim repeatable_state")
    quiet, disturbed = flows.twice()
    if disturbed is None:
        raise checks.NotApplicable("the profile does not claim stop -> stop-and-copy, so it runs between two saves")
    checks.flawless(disturbed.failed_at(*STEPS))
    found = disturbed.complete().difference(quiet.complete())
    checks.equal("comparing both states", found, "", lambda what: what or "the same bytes in the same buffers")


@pytest.mark.rule("v1.saving.pending-has-no-effect")
@pytest.mark.stimulus
@pytest.mark.parametrize("buffer", ["first", "last"])
def test_pending_read_many_times(players: Players, buffer: str) -> None:
    """A state restores the device, however often pending_bytes was read before one of its buffers."""
    players.judge_interrupted([PENDING_AGAIN], MANY, STOP_AND_COPY, [PLACES[buffer]])


@pytest.mark.rule("v1.pre-copy.data-as-claimed")
def test_pre_copy_data_as_claimed(migration: MigrationRegion, profile: Profile) -> None:
    """In pre-copy, pending_bytes becomes more than zero within the time of a call, or stays zero, as claimed."""
    claim = profile.claims_of(MigrationClaims).precopy_data
    if claim is None:
        raise checks.Silent("claims.precopy_data")
    migration.enter(PRE_COPY)
    with checks.given():
        offered = migration.wait_for_data(profile.limits.call) if claim else migration.read(PENDING_BYTES)
    checks.equal("reading pending_bytes in pre-copy", bool(offered), claim, lambda some: "more than 0" if some else "0")


# -- single buffers -----------------------------------------------------------------------------------------------


#: Buffers that are examined closely: the state in which each is offered, and how many come before it there.
BUFFERS = {"first": (STOP_AND_COPY, 0), "second": (STOP_AND_COPY, 1), "first of pre-copy": (PRE_COPY, 0)}

each_buffer = pytest.mark.parametrize("pending", BUFFERS, indirect=True)


@pytest.fixture
def pending(request: pytest.FixtureRequest, migration: MigrationRegion, actor: MigrationActor) -> MigrationRegion:
    """A device with a buffer pending, by default the first of stop-and-copy; not all zero, if possible."""
    state, before = BUFFERS[getattr(request, "param", "first")]
    if actor.can_put:
        actor.put(0x5A5A_A5A5_0FF0_F00F)
    migration.enter(state)
    with checks.given():
        for _ in range(before):
            if migration.read(PENDING_BYTES):
                migration.read_buffer()
        offers = migration.read(PENDING_BYTES)
    if not offers:
        raise checks.NotApplicable("the device offers no such buffer")
    return migration


@pytest.mark.rule("v1.saving.offset-makes-data-available")
@each_buffer
def test_offset_makes_data_available(pending: MigrationRegion) -> None:
    """The bytes examined in the first 16 KiB of a buffer are the same before and after data_size is read."""
    with checks.given():
        offset = pending.read(DATA_OFFSET)
    room = pending.region.size - offset
    places = range(0, min(room, PLACES_LOOKED_AT * APART), APART)
    early = {at: pending.peek(offset + at, min(LOOK, room - at)) for at in places}
    with checks.given():
        size = pending.read(DATA_SIZE)
        later = {at: pending.read_data(offset + at, min(LOOK, size - at)) for at in places if at < size}
    for at, data in later.items():
        seen = early[at][: len(data)]
        if seen or at + LOOK <= size:  # else the read went past the buffer
            what = f"reading at {at} of a buffer before and after reading data_size"
            checks.equal(what, seen, data[: len(seen) or None], lambda data: data.hex() or "nothing")


@pytest.mark.rule("v1.saving.offset-makes-data-available")
@each_buffer
def test_offset_makes_data_available_mapped(pending: MigrationRegion) -> None:
    """The same for what a mapping shows of the buffer."""
    with checks.given():
        offset = pending.read(DATA_OFFSET)
    places = range(0, PLACES_LOOKED_AT * APART, APART)
    early = {at: data for at in places if (data := shown_at(pending.region, offset + at)) is not None}
    if not early:
        raise checks.NotApplicable("the data is not in a mappable area")
    with checks.given():
        size = pending.read(DATA_SIZE)
    for at, data in early.items():
        if at + LOOK <= size:
            what = f"looking at {at} of a buffer in a mapping before and after reading data_size"
            checks.equal(what, data, shown_at(pending.region, offset + at), in_hex)


def in_hex(data: bytes | None) -> str:
    return "nothing" if data is None else data.hex()


def shown_at(region: Region, offset: int) -> bytes | None:
    """What a mapping shows at ``offset`` of the region; None if nothing is mapped."""
    view = region.view(offset, LOOK)
    if view is None:
        return None
    with view:
        return bytes(view)


@pytest.mark.rule("v1.saving.offset-returns-when-ready")
@pytest.mark.parametrize("pending", ["first", "second"], indirect=True)
def test_offset_returns_when_ready(pending: MigrationRegion, profile: Profile) -> None:
    """The last bytes of a buffer, read immediately after data_offset and data_size, are those that are read later."""
    with checks.given():
        place = pending.place()
        tail = min(place.size, CLOSE)
        first = pending.read_data(place.offset + place.size - tail, tail)
        pending.region.pause(profile.limits.call / 50)
        later = pending.read_data(place.offset + place.size - tail, tail)
    checks.equal(f"reading the last {counted(tail, 'byte')} of a buffer at once and later", first, later, bytes.hex)


@pytest.mark.rule("v1.saving.buffer-stays")
@each_buffer
def test_buffer_stays(pending: MigrationRegion) -> None:
    """Reading data_offset and data_size again, in turn, gives the same buffer with the same bytes."""
    with checks.given():
        place = pending.place()
        most = max(place.size - 1, 1)  # a user must not ask for the place after reading all of a buffer
        data = pending.read_data(place.offset, most)
    for _ in range(3):
        checks.equal("reading data_offset and data_size again", pending.place(), place)
    again = pending.read_data(place.offset, most)
    checks.same_bytes("reading the data again", again, data)


@pytest.mark.rule("v1.saving.any-split")
@pytest.mark.parametrize("split", [1, 2, 4, 8, 3, 100])
def test_any_split(pending: MigrationRegion, split: int) -> None:
    """The beginning and the end of a buffer, read in pieces, are the same as when it is read as a whole."""
    place, whole = read_whole(pending)
    first = range(0, min(CLOSE, place.size), split)
    last = range(max(place.size - CLOSE, 0) // split * split, place.size, split)
    for start in dict.fromkeys([*first, *last]):
        judge_piece(pending, place, whole, start, min(split, place.size - start))


@pytest.mark.rule("v1.saving.any-split")
def test_whole_again(pending: MigrationRegion) -> None:
    """A buffer that is read as a whole again has the same bytes."""
    place, whole = read_whole(pending)
    judge_piece(pending, place, whole, 0, place.size)


def read_whole(pending: MigrationRegion) -> tuple[Area, bytes]:
    """Where the buffer is, and its bytes, at least one."""
    with checks.given():
        place = pending.place()
        whole = pending.read_data(place.offset, place.size)
    if not whole:
        raise checks.Unjudged("the buffer is empty; that is judged by another rule")
    return place, whole


def judge_piece(pending: MigrationRegion, place: Area, whole: bytes, start: int, length: int) -> None:
    """``length`` bytes from ``start`` on are those of the whole."""
    read = pending.read_data if pending.mapped else pending.region.read_bytes
    piece = read(place.offset + start, length)
    what = f"reading {counted(length, 'byte')} at {start} of a buffer"
    checks.equal(what, piece, whole[start : start + length], bytes.hex)


@pytest.mark.rule("v1.layout.mapped-view-agrees")
@each_buffer
def test_mapped_view_agrees(pending: MigrationRegion) -> None:
    """A mapping of the data section shows the same bytes of a buffer as read()."""
    with checks.given():
        place = pending.place()
    if not view_agrees(pending, place):
        raise checks.NotApplicable("the data is not in a mappable area")


@pytest.mark.rule("v1.layout.mapped-view-agrees")
def test_every_mapped_view_agrees(pending: MigrationRegion) -> None:
    """The same for one buffer after another, in the first MiB of a state."""
    total, mapped = 0, False
    while total < 1 << 20:
        with checks.given():
            place = pending.place()
        mapped |= view_agrees(pending, place)
        total += max(place.size, 1)
        with checks.given():
            if not pending.read(PENDING_BYTES):
                break
    if not mapped:
        raise checks.NotApplicable("no data was in a mappable area")


def view_agrees(migration: MigrationRegion, place: Area) -> bool:
    """Whether a mapping shows a part of the buffer; if so, the bytes must be those of read()."""
    with checks.given():
        data = migration.region.read_bytes(place.offset, place.size)
    end = place.offset + place.size
    shown = [(max(area.offset, place.offset), min(area.offset + area.size, end)) for area in migration.region.areas]
    inside = [(start, end) for start, end in shown if start < end]
    for start, end in inside:
        view = migration.region.view(start, end - start)
        assert view is not None
        with view:
            mapped = bytes(view)
        what = f"comparing the mapping with read() from 0x{start:x} to 0x{end:x}"
        checks.same_bytes(what, mapped, data[start - place.offset : end - place.offset])
    return bool(inside)


@pytest.mark.rule("v1.error.surfaces")
@pytest.mark.stimulus
def test_error_surfaces(actor: MigrationActor, migration: MigrationRegion) -> None:
    """A fault that the device meets while it is saved shows as an error of an access."""
    actor.provoke_save_fault()
    save_to_an_end(migration)


@pytest.mark.rule("v1.error.surfaces")
@pytest.mark.stimulus
@pytest.mark.parametrize("far", [ONE, ALL_BUT_ONE], ids=lambda far: f"after {far.words}")
def test_error_surfaces_later(players: Players, actor: MigrationActor, far: Progress) -> None:
    """The same for a fault that the device meets after a part of its state has been read."""
    player = players.begin()
    player.go(STOP_AND_COPY)
    player.read(far)
    with checks.given():
        need_data(player.region)
        actor.provoke_save_fault()
    with an_error():
        judge_unseen(player.region.save().total, "no error")


@pytest.mark.rule("v1.error.surfaces")
@pytest.mark.stimulus
def test_error_surfaces_in_live_migration(actor: MigrationActor, migration: MigrationRegion) -> None:
    """A fault that the device meets from pre-copy on shows as an error of an access."""
    actor.provoke_save_fault()
    if migration.try_set_state(PRE_COPY).ok:
        with an_error():
            if migration.read(PENDING_BYTES):
                migration.read_buffer()  # only one, as pre-copy need not end
            save_to_an_end(migration)


def save_to_an_end(migration: MigrationRegion) -> None:
    """Save a state in stop-and-copy, which must end with an error."""
    if migration.try_set_state(STOP_AND_COPY).ok:
        with an_error():
            judge_unseen(migration.save().total, "no error")


@contextmanager
def an_error() -> Iterator[None]:
    """Accesses in the block may fail with an errno."""
    try:
        yield
    except checks.Refused as failure:
        if failure.errno is None:
            judge_unseen(0, f"then {failure.what}: {failure.seen}")


def judge_unseen(total: int, end: str) -> None:
    """No access reported the fault as an error."""
    checks.broken(
        "saving a state while the device meets a fault",
        expected="an error at one of the accesses",
        seen=f"a state of {counted(total, 'byte')}, {end}",
    )
