# SPDX-License-Identifier: GPL-2.0-only
"""Giving a saved state to a device: well, and badly."""

from __future__ import annotations

import pytest

from vfio_compliance.migration_v1.states import name
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DEVICE_STATE, DeviceState

RUNNING, RESUMING, ERROR = DeviceState.RUNNING, DeviceState.RESUMING, DeviceState.ERROR

#: What the device shows before it is given a state.
OTHER = 0x9696_6969_C3C3_3C3C

#: A buffer is written in small pieces up to so many bytes from its start.
CLOSE = 64


def judge_step(resumed, *steps):
    """The journey did not fail at one of ``steps``."""
    failure = resumed.failure
    if failure and getattr(failure, "step", None) in steps:
        checks.broken_by(failure)


@pytest.fixture
def saved(journeys):
    """A state of which something can be seen."""
    suspended = journeys.suspend()
    suspended.whole()
    if suspended.visible is None:
        raise checks.Silent("stimulus.visible_state")
    return suspended


@pytest.fixture
def resumed(journeys):
    """What came of giving a device the state with each buffer written as a whole."""
    return journeys.resume(journeys.suspend)


@pytest.fixture
def restored(resumed):
    """The same, where it came to its end."""
    return resumed.whole()


@pytest.fixture
def stream(journeys):
    """A state of at least one buffer."""
    suspended = journeys.suspend().whole()
    if not suspended.buffers:
        raise checks.NotApplicable("the device has no state to save")
    return suspended


@pytest.fixture
def several(stream):
    """A state of several buffers."""
    if len(stream.buffers) < 2:
        raise checks.NotApplicable("the state came in a single buffer")
    return stream


# -- whole journeys -----------------------------------------------------------------------------------------------


#: How often the same device is resumed without a reset.
each_time = pytest.mark.parametrize("times", [(), (2,)], ids=["once", "twice"])


@pytest.mark.rule("v1.resuming.takes-data")
@each_time
def test_takes_data(journeys, stream, times):
    """Each buffer found room in the region, and was taken by the write of data_size, each time."""
    judge_step(journeys.resume(journeys.suspend, *times), "place", DATA_SIZE.name)


@pytest.mark.rule("v1.layout.write-always-works")
def test_write_always_works(journeys, stream):
    """Each buffer could be written by write(), mappable or not."""
    resumed = journeys.resume(journeys.suspend)
    if resumed.refused:
        checks.broken_by(resumed.refused)
    judge_step(resumed, "data")


@pytest.mark.rule("v1.resuming.offset-each-buffer")
def test_offset_each_buffer(journeys, several):
    """Before each buffer data_offset could be read."""
    judge_step(journeys.resume(journeys.suspend), DATA_OFFSET.name)


@pytest.mark.rule("v1.resuming.data-is-used")
@each_time
def test_data_is_used(journeys, saved, times):
    """A device that showed something else before shows all of the saved state each time that it resumed from it."""
    resumed = journeys.resume(journeys.suspend, *times).whole()
    with checks.about(resumed.at["visible"]):
        checks.equal("observing the device after resuming", resumed.visible, saved.visible, checks.hexes)


@pytest.mark.rule("v1.resuming.every-buffer-counts")
def test_every_buffer_counts(journeys, saved, several):
    """A state of several buffers is restored whole."""
    resumed = journeys.resume(journeys.suspend).whole()
    what = f"observing the device after resuming from {len(several.buffers)} buffers"
    with checks.about(resumed.at["visible"]):
        checks.equal(what, resumed.visible, saved.visible, checks.hexes)


@pytest.mark.rule("v1.resuming.consumed-when-told")
def test_consumed_when_told(resumed, saved, several):
    """Each buffer was announced and followed at once by the next one in its place, and all of them are restored."""
    if resumed.taken:
        judge_step(resumed, DATA_SIZE.name)
    resumed.whole()
    if resumed.visible == resumed.before:
        raise checks.Unjudged("nothing of the state is restored; another rule judges that")
    what = f"observing the device after {len(several.buffers)} buffers, each written over by the next one"
    checks.equal(what, resumed.visible, saved.visible, checks.hexes)


# -- the same data in other ways ----------------------------------------------------------------------------------


@pytest.mark.rule("v1.resuming.any-split")
@pytest.mark.parametrize("split", [1, 2, 4, 8, 3, "mapped"])
def test_any_split(restored, migration, actor, saved, stream, split, monkeypatch):
    """The beginning of each buffer is written in small pieces, the rest as a whole, and all of it is restored."""
    if restored.visible != saved.visible:
        raise checks.Unjudged("the state is not restored either when each buffer is written as a whole")
    if split == "mapped":
        if not migration.region.areas:
            raise checks.NotApplicable("the data is not in a mappable area")
        monkeypatch.setattr(migration, "mapped", True)
    monkeypatch.setattr(migration, "falls_back", restored.refused is not None)
    actor.put(OTHER)
    migration.enter(RESUMING)
    for buffer in stream.buffers:
        data = stream.data(buffer)
        step = CLOSE if split == "mapped" else split
        small = range(0, min(CLOSE, buffer.size) // step * step, step)
        pieces = [data[start : start + step] for start in small]
        migration.load_buffer(buffer.size, [*pieces, data[len(small) * step :]])
    migration.set_state(RUNNING)
    checks.equal("observing the device after resuming", actor.show(), saved.visible, checks.hexes)


@pytest.mark.rule("v1.transition.resuming-to-running")
@pytest.mark.parametrize("look", ["device_state", "at work"])
def test_resuming_to_running(migration, actor, journeys, look):
    """Running can be written once the state was given, and the device works then."""
    stream = journeys.suspend().whole()
    counter = actor.counter() if look == "at work" else None
    device_in_resuming(migration, stream)
    checks.accepted("writing running in resuming", migration.try_set_state(RUNNING), DEVICE_STATE.width)
    checks.equal("reading device_state after it", migration.state(), RUNNING, name)
    if counter and not counter.goes_on():
        what = f"watching {counter.name} for {counter.within:g} s after resuming"
        checks.broken(what, expected="a change", seen="none")


def device_in_resuming(migration, stream):
    """Give the device its state, and leave it in resuming. A driver that refuses it is judged by other rules."""
    migration.enter(RESUMING)
    with checks.given():
        migration.load(stream)


# -- safety -------------------------------------------------------------------------------------------------------


def flipped(data):
    """A buffer with one bit turned over in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def halves(data):
    """A buffer in two."""
    return [data[: len(data) // 2], data[len(data) // 2 :]]


#: What goes wrong on the way from one device to the other: the buffers that arrive.
DAMAGE = {
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

#: A data_size for which no data is written.
SIZES = (0, 2**32, 2**63, 2**64 - 1)


@pytest.mark.rule("v1.resuming.bad-data-safe")
@pytest.mark.parametrize("damage", [*DAMAGE, *SIZES], ids=lambda damage: damage if damage in DAMAGE else hex(damage))
def test_bad_data_safe(recovers, migration, observe, stream, damage):
    """Whatever became of the data, the driver takes it or refuses it, and a reset brings the device back."""
    migration.enter(RESUMING)
    answer = "taken"
    try:
        if damage in DAMAGE:
            for data in DAMAGE[damage]([stream.data(buffer) for buffer in stream.buffers]):
                migration.load_buffer(len(data), [data])
        else:
            migration.read(DATA_OFFSET)
            migration.write(DATA_SIZE, damage)
    except checks.Refused:
        answer = "refused"
    what = f"resuming with {damage if damage in DAMAGE else f'data_size 0x{damage:x} and no data'}"
    judge_leaving(recovers, migration, observe, what, answer)


def judge_leaving(recovers, migration, observe, what, answer):
    """Leave resuming for running, whether that is accepted or not, and reset."""
    outcome = migration.try_write(DEVICE_STATE, RUNNING)
    now = migration.state()
    allowed = (RUNNING,) if outcome.ok else (RESUMING, ERROR)
    observe(what, f"{answer}, then running {'accepted' if outcome.ok else 'refused'}, reads {name(now)}")
    checks.one_of(f"reading device_state after {what}", now, allowed, name)
    recovers()
