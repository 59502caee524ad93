# SPDX-License-Identifier: GPL-2.0-only
"""Tracking in device states other than running, and across a reset: the container depends on neither.

A failure is judged here only if the same steps succeed without the change of state: in running, and with the operation
under test done before the device went anywhere.
"""

import pytest

from vfio_compliance.device import Device
from vfio_compliance.dirty_type1.course import Course
from vfio_compliance.dirty_type1.interface import Dirtying
from vfio_compliance.migration_v1.guide import StateGuide

#: Places where the device writes memory.
WORKING = ("running", "pre-copy", "reset")

#: Ways from running through other states, and back again.
WAYS = (
    ("pre-copy",),
    ("stop-and-copy",),
    ("stop",),
    ("resuming",),
    ("pre-copy", "stop-and-copy"),
    ("pre-copy", "stop-and-copy", "stop"),
    ("stop-and-copy", "stop"),
)
BACK = (("resuming", "running"), ("pre-copy", "running"), ("stop-and-copy", "running"), ("stop", "running"))

#: A state, and where the device goes after something was done there; the bitmap is checked in both.
MOMENTS = (
    ("pre-copy", "stop-and-copy"),
    ("pre-copy", "running"),
    ("pre-copy", "reset"),
    ("stop-and-copy", "stop"),
    ("stop-and-copy", "running"),
    ("stop-and-copy", "reset"),
    ("stop", None),
    ("stop", "running"),
    ("stop", "reset"),
    ("resuming", "running"),
    ("resuming", "reset"),
)

every_state = pytest.mark.parametrize("state", ["pre-copy", "stop-and-copy", "stop", "resuming"])
every_way = pytest.mark.parametrize("way", WAYS, ids=" -> ".join)
every_way_back = pytest.mark.parametrize("way", BACK, ids=" -> ".join)
every_moment = pytest.mark.parametrize(
    ("state", "later"), MOMENTS, ids=[f"in {state}, then {later or 'at once'}" for state, later in MOMENTS]
)


def looks(place: str | None, page: int, *, first: int = 0, count: int = 70) -> tuple[str, ...]:
    """The check of a mapping in a place: the device writes a page of it first, if it can."""
    write = (f"dirty {page}",) * (place in WORKING)
    return (*write, f"get {first} {count}") if place else ()


def going(later: str | None) -> tuple[str, ...]:
    """The next step, if there is one."""
    return (later,) if later else ()


@pytest.fixture
def course(dirtying: Dirtying, device: Device) -> Course:
    """Plays scripts in which the device is reset but changes no state."""
    return Course(dirtying)


@pytest.fixture
def travel(dirtying: Dirtying, migrates: None, guide: StateGuide) -> Course:
    """Plays scripts in which the device changes state."""
    return Course(dirtying, guide)


@pytest.mark.rule("dirty.states.tracking-starts")
@pytest.mark.stimulus
@every_moment
def test_tracking_starts(travel: Course, state: str, later: str | None) -> None:
    """START is accepted in the state, and pages are tracked from then on, there and wherever the device goes."""
    script = ("map 0 70", state, "start", *looks(state, 5), *going(later), *looks(later, 69))
    travel.judge(*script, subject=("start",))


@pytest.mark.rule("dirty.states.tracking-starts")
@pytest.mark.stimulus
@every_state
def test_pinned_from_start(travel: Course, state: str) -> None:
    """Pages that are pinned when tracking starts in the state are reported, each time."""
    travel.judge("map 0 70", "pin 3 2", state, "start", "get 0 70", "get 0 70", subject=("start",))


@pytest.mark.rule("dirty.states.tracking-stops")
@pytest.mark.stimulus
@every_moment
def test_tracking_stops(travel: Course, state: str, later: str | None) -> None:
    """STOP is accepted in the state, and no bitmap can be fetched after it, there and wherever the device goes."""
    script = ("map 0 70", "start", "dirty 69", state, "stop-tracking", "get-nothing 0 70", *going(later))
    travel.judge(*script, "get-nothing 0 70", subject=("stop-tracking",))


@pytest.mark.rule("dirty.states.tracking-stops")
@pytest.mark.stimulus
@pytest.mark.parametrize("way", [WAYS[-1], *BACK, ("reset",), ("stop", "reset")], ids=" -> ".join)
def test_stays_stopped(travel: Course, way: tuple[str, ...]) -> None:
    """Tracking that was stopped in running is off after the way."""
    travel.judge("map 0 70", "start", "dirty 69", "stop-tracking", *way, "get-nothing 0 70")


@pytest.mark.rule("dirty.states.stop-forgets")
@pytest.mark.stimulus
@pytest.mark.usefixtures("known_writes")
@every_state
def test_stop_forgets(travel: Course, state: str) -> None:
    """What was written before a STOP in the state is not reported after the next START."""
    travel.judge(
        *("map 0 70", "start", "dirty 69", state, "stop-tracking", "start", "get-clean 0 70"),
        subject=("stop-tracking",),
    )


@pytest.mark.rule("dirty.states.nothing-lost")
@pytest.mark.stimulus
@every_way
def test_written_is_reported(travel: Course, way: tuple[str, ...]) -> None:
    """Pages that were written in running are reported by bitmaps of their mappings after the way."""
    travel.judge(
        *("map 0 70", "map 70 60", "start", "dirty 5", "dirty 69", "dirty 70", *way, "get 0 70", "get 70 60"),
    )


@pytest.mark.rule("dirty.states.nothing-lost")
@pytest.mark.stimulus
@every_way_back
def test_tracking_continues(travel: Course, way: tuple[str, str]) -> None:
    """After the way back to running what was written before it is reported, and what is written then."""
    travel.judge("map 0 70", "start", "dirty 5", *way, "get 0 70", "dirty 69", "get 0 70")


@pytest.mark.rule("dirty.states.nothing-lost")
@pytest.mark.stimulus
@every_way
def test_pinned_is_reported(travel: Course, way: tuple[str, ...]) -> None:
    """Pages that are pinned are reported after the way, each time."""
    travel.judge("map 0 70", "start", "pin 3 2", *way, "get 0 70", "get 0 70")


#: How often a device that writes by itself is stopped: a later write may hide what was written at the stop.
TRIES = 6

#: A place where it still writes, if there is one on the way, and the rest of the way, to where it does not write.
STOPS = [((), way) if way[0] not in WORKING else (way[:1], way[1:]) for way in WAYS if way[-1] not in WORKING]


@pytest.mark.rule("dirty.states.nothing-lost")
@pytest.mark.stimulus
@pytest.mark.parametrize(("working", "rest"), STOPS, ids=[" -> ".join(working + rest) for working, rest in STOPS])
def test_written_at_the_stop(travel: Course, working: tuple[str, ...], rest: tuple[str, ...]) -> None:
    """Pages that a device wrote by itself, up to the stop, are reported after it."""
    before = ("map 0 70", "start", "stream 5", *working, "copy 0 70", "written", "copy 0 70")
    for _ in range(TRIES):
        travel.judge(*before, *rest, "copy 0 70", without=before)


@pytest.mark.rule("dirty.states.clean-is-clear")
@pytest.mark.stimulus
@pytest.mark.usefixtures("known_writes")
@every_moment
def test_reported_once(travel: Course, state: str, later: str | None) -> None:
    """What a bitmap has reported in the state is not reported again, there or wherever the device goes."""
    before, then = ("map 0 70", "start", "dirty 69", state), going(later)
    travel.judge(
        *(*before, "get-clean 0 70", "get-clean 0 70", *then, "get-clean 0 70"),
        without=(*before, "get 0 70", "get 0 70", *then, "get 0 70"),
    )


@pytest.mark.rule("dirty.states.pre-copy-written")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    "way", [("stop-and-copy",), ("stop-and-copy", "stop"), ("running",), ("reset",)], ids=" -> ".join
)
def test_written_in_pre_copy(travel: Course, way: tuple[str, ...]) -> None:
    """A page that the device writes in pre-copy is reported there; one written after that, wherever the device goes."""
    before = ("map 0 70", "start")
    written = ("dirty 5", "get 0 70", "dirty 5", "dirty 69")
    travel.judge(
        *(*before, "pre-copy", *written, *way, "get 0 70"), without=(*before, *written, "pre-copy", *way, "get 0 70")
    )


@pytest.mark.rule("dirty.states.pre-copy-written")
@pytest.mark.stimulus
def test_written_by_itself_in_pre_copy(travel: Course) -> None:
    """What a device writes by itself in pre-copy is reported."""
    travel.judge("map 0 70", "start", "stream 5", "pre-copy", "copy 0 70", "written", "copy 0 70")


@pytest.mark.rule("dirty.states.new-mappings")
@pytest.mark.stimulus
@every_moment
def test_new_mapping_is_tracked(travel: Course, state: str, later: str | None) -> None:
    """A mapping that is made in the state is tracked, there and wherever the device goes."""
    new = {"first": 80, "count": 10}
    script = (
        "map 0 70",
        "start",
        state,
        "map 80 10",
        *looks(state, 85, **new),
        *going(later),
        *looks(later, 86, **new),
    )
    travel.judge(*script, "mapped 80", subject=("map 80 10",))


@pytest.mark.rule("dirty.states.unmapping")
@pytest.mark.stimulus
@every_state
def test_unmapping(travel: Course, state: str) -> None:
    """Memory is unmapped in the state, and other memory stays as it is."""
    travel.judge(
        *("map 0 70", "map 80 10", "start", "dirty 85", state, "unmap 0", "map 0 70", "mapped 80", "get 80 10"),
        subject=("unmap 0",),
    )


@pytest.mark.rule("dirty.states.unmapping")
@pytest.mark.stimulus
@every_way
def test_unmapping_reports(travel: Course, way: tuple[str, ...]) -> None:
    """Pages that were written in running are reported by the bitmap of an unmapping after the way."""
    before = ("map 0 70", "start", "dirty 5", "dirty 69", *way)
    travel.judge(*before, "unmap-bitmap 0", "map 0 70", without=(*before, "get 0 70", "unmap 0", "map 0 70"))


@pytest.mark.rule("dirty.reset.tracking-continues")
@pytest.mark.stimulus
def test_reset_keeps_tracking(course: Course) -> None:
    """What was written before a reset is reported after it, and so is what is written after it."""
    course.judge("map 0 70", "start", "dirty 69", "reset", "kept 0", "get 0 70", "dirty 5", "get 0 70")


@pytest.mark.rule("dirty.reset.tracking-continues")
@pytest.mark.stimulus
@every_state
def test_reset_in_a_state_keeps_tracking(travel: Course, state: str) -> None:
    """What was written before a reset in the state is reported after it, and so is what is written after it."""
    before = ("map 0 70", "start", "dirty 69", state)
    travel.judge(*before, "reset", "kept 0", "get 0 70", "dirty 5", "get 0 70", without=(*before, "get 0 70"))


@pytest.mark.rule("dirty.reset.tracking-continues")
@pytest.mark.stimulus
@pytest.mark.parametrize("script", ["start; pin 3 2", "pin 3 2; start"], ids=["pinned", "pinned before START"])
def test_reset_reports_pinned(course: Course, script: str) -> None:
    """Pages that were pinned until the reset, and may have been written, are reported after it."""
    course.judge("map 0 70", *script.split("; "), "reset", "kept 0", "get 0 70")


@pytest.mark.rule("dirty.reset.tracking-continues")
@pytest.mark.stimulus
@every_state
def test_reset_in_a_state_reports_pinned(travel: Course, state: str) -> None:
    """Pages that were pinned until a reset in the state are reported after it."""
    before = ("map 0 70", "start", "pin 3 2", state)
    travel.judge(*before, "reset", "kept 0", "get 0 70", without=(*before, "get 0 70"))


@pytest.mark.rule("dirty.reset.keeps-memory")
def test_reset_keeps_memory(course: Course) -> None:
    """Memory that was mapped before a reset is mapped after it."""
    course.judge("map 0 70", "reset", "mapped 0")


@pytest.mark.rule("dirty.reset.keeps-memory")
@every_state
def test_reset_in_a_state_keeps_memory(travel: Course, state: str) -> None:
    """Memory that was mapped before a reset in the state is mapped after it."""
    travel.judge("map 0 70", state, "reset", "mapped 0", without=("map 0 70", state, "mapped 0"))
