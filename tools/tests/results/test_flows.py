# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes of flows, from calls with known times and sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from stories import ended, made_by, run_of

from vfio_compliance.common.calls import Behind, Call, Calls
from vfio_compliance.results.events import Target
from vfio_compliance.results.figures import figures, flat, spread
from vfio_compliance.results.flows import ACCEPTED, LIVE, REFUSED, RESUME, STOPPED, Measures, total
from vfio_compliance.results.measuring import Measuring
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import Register, UsedRegion
from vfio_compliance.results.writers import FORMATS, render
from vfio_compliance.uapi.requests import VFIO_DEVICE_RESET, VFIO_IOMMU_DIRTY_PAGES

STATES = {"0": "stop", "1": "running", "2": "stop-and-copy", "3": "pre-copy", "4": "resuming", "6": "error"}
NUMBERS = {name: int(value) for value, name in STATES.items()}
OFFSETS = {"device_state": (0, 4), "pending_bytes": (8, 8), "data_offset": (16, 8), "data_size": (24, 8)}
REGION = UsedRegion(
    9, "v1", tuple(Register(name, *place, STATES if name == "device_state" else {}) for name, place in OFFSETS.items())
)

#: The duration of each call and the gap between two calls, in nanoseconds.
CALL, BETWEEN = 1_000, 9_000
STEP = CALL + BETWEEN


class Script:
    """Calls, one every STEP nanoseconds."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def _add(self, call: Call) -> Script:
        self.calls.append(call._replace(started_ns=len(self.calls) * STEP, duration_ns=CALL))
        return self

    def read(self, name: str, value: int, on: str = "") -> Script:
        offset, width = OFFSETS[name]
        return self._add(Call("read", f"{on}region 9", offset, width, b"", value.to_bytes(width, "little"), width))

    def write(self, name: str, value: int, on: str = "", refused: bool = False) -> Script:
        offset, width = OFFSETS[name]
        ended = (-1, 22) if refused else (width, 0)
        return self._add(Call("write", f"{on}region 9", offset, width, value.to_bytes(width, "little"), b"", *ended))

    def state(self, name: str, on: str = "", **more: Any) -> Script:
        return self.write("device_state", NUMBERS[name], on, **more)

    def data(self, size: int, on: str = "", verb: str = "read") -> Script:
        return self._add(Call(verb, f"{on}region 9", 4096, size, value=size))

    def other(self, verb: str, target: str = "device", number: int = 0) -> Script:
        return self._add(Call(verb, target, number))

    def buffer(self, size: int, on: str = "") -> Script:
        """Reads one buffer in the order of the specification."""
        return (
            self.read("pending_bytes", size, on)
            .read("data_offset", 4096, on)
            .read("data_size", size, on)
            .data(size, on)
        )

    def saved(self, *sizes: int, on: str = "") -> Script:
        """Reads all the data that the device has."""
        for size in sizes:
            self.buffer(size, on)
        return self.read("pending_bytes", 0, on)

    def measured(self) -> Measures:
        return Measuring([REGION]).take(self.calls)


def running() -> Script:
    """A device whose state reads as running."""
    return Script().read("device_state", NUMBERS["running"])


def test_state_lasts_from_write_to_write() -> None:
    """The time of the write counts for the new state; the last state ends with the last call."""
    known = running().state("stop").state("running").read("pending_bytes", 0).measured().nanoseconds
    assert known == {"device": {"running": STEP + STEP + CALL, "stop": STEP}}


def test_refused_write_changes_nothing() -> None:
    """The device is still in the state before."""
    known = running().state("stop", refused=True).read("pending_bytes", 0).measured().nanoseconds
    assert known["device"] == {"running": 2 * STEP + CALL}


@pytest.mark.parametrize(
    ("verb", "target", "number"),
    [("ioctl", "device", VFIO_DEVICE_RESET), ("open", "device", 0), ("close", "device", 0), ("omitted", "", 5)],
)
def test_the_state_is_unknown_after(verb: str, target: str, number: int) -> None:
    """A reset, a new user or unrecorded calls: until the state is read again."""
    script = running().other(verb, target, number).read("pending_bytes", 0).read("device_state", NUMBERS["stop"])
    assert script.measured().nanoseconds["device"] == {"running": STEP, "stop": CALL}


def test_a_reset_of_the_other_device() -> None:
    """It does not affect the state of the first."""
    script = running().other("ioctl", "second device", VFIO_DEVICE_RESET).state("stop")
    assert script.measured().nanoseconds["device"] == {"running": 2 * STEP, "stop": CALL}


def test_stopped_save() -> None:
    """Bytes; the time from the write to the last byte, which is also the downtime; and the time in calls alone."""
    made = running().state("stop-and-copy").saved(100, 50).state("stop").measured()
    (flow,) = made.flows
    assert (flow.kind, flow.moved) == (STOPPED, 150)
    assert flow.seconds == flow.downtime == pytest.approx((8 * STEP + CALL) / 1e9)
    assert flow.call_seconds == pytest.approx(9 * CALL / 1e9)
    assert flow.throughput == pytest.approx(150 / flow.seconds)
    assert flow.downtime_to_running is None
    assert not made.unfinished


def test_live_save_resumed_on_a_second_device() -> None:
    """The downtime begins with the write that stops the device, and ends when the target runs."""
    script = running().state("pre-copy").saved(100).state("stop-and-copy").saved(30).state("stop")
    script.state("resuming", "second ").data(130, "second ", "write").write("data_size", 130, "second ")
    made = script.state("running", "second ").measured()
    save, resume = made.flows
    assert (save.kind, save.moved) == (LIVE, 130)
    assert save.seconds == pytest.approx((10 * STEP + CALL) / 1e9)
    assert save.downtime == pytest.approx((4 * STEP + CALL) / 1e9)
    assert save.downtime_to_running == pytest.approx((10 * STEP + CALL) / 1e9)
    assert (resume.kind, resume.moved) == (RESUME, 130)
    assert resume.seconds == pytest.approx((3 * STEP + CALL) / 1e9)
    assert resume.downtime is None


def test_save_from_stop_has_no_downtime() -> None:
    """The device did not run before it."""
    script = Script().read("device_state", NUMBERS["stop"]).state("stop-and-copy").saved(8).state("stop")
    (flow,) = script.measured().flows
    assert flow.downtime is None


@pytest.mark.parametrize(
    "script",
    [
        running().state("stop-and-copy").buffer(100).state("stop"),
        running().state("stop-and-copy").saved(100),
        running().state("stop-and-copy").saved(100).other("ioctl", "device", VFIO_DEVICE_RESET),
        running().state("stop-and-copy").saved(100).read("device_state", NUMBERS["error"]).state("stop"),
        running().state("stop-and-copy").saved(100).other("omitted", "", 7).state("stop"),
        running().state("stop-and-copy").saved(100).buffer(1).state("stop"),
    ],
    ids=["data left", "not left", "reset", "error", "not recorded", "more data"],
)
def test_unfinished_save(script: Script) -> None:
    """It is counted, but not measured."""
    made = script.measured()
    assert made.flows == ()
    assert made.unfinished == {STOPPED: 1}


def test_pre_copy_alone_is_not_a_whole_save() -> None:
    """It was cancelled, however much was read."""
    made = running().state("pre-copy").saved(100).state("running").measured()
    assert (made.flows, made.unfinished) == ((), {LIVE: 1})


def test_data_through_a_mapping() -> None:
    """No call shows it, so the announced size counts."""
    script = running().other("map", "region 9").state("stop-and-copy")
    script.read("pending_bytes", 70).read("data_offset", 4096).read("data_size", 70).read("pending_bytes", 0)
    (flow,) = script.state("stop").measured().flows
    assert flow.moved == 70


def test_a_buffer_read_twice_counts_once() -> None:
    """No more bytes count than were announced."""
    script = running().state("stop-and-copy")
    script.read("pending_bytes", 70).read("data_size", 70).data(70).data(70).read("pending_bytes", 0)
    (flow,) = script.state("stop").measured().flows
    assert flow.moved == 70


def test_an_announced_size_without_a_read_does_not_count() -> None:
    """A driver can announce any size."""
    script = running().state("stop-and-copy").read("data_size", (1 << 64) - 1).read("pending_bytes", 0)
    (flow,) = script.state("stop").measured().flows
    assert flow.moved == 0


def test_calls_from_json_give_the_same_measures() -> None:
    """As those of a journal do."""
    calls = running().state("stop-and-copy").saved(100).state("stop").calls
    read = Calls.from_json([call.to_json() for call in calls])
    assert Measuring([REGION]).take(read) == Measuring([REGION]).take(calls)


def test_absurd_journal() -> None:
    """Times that go backwards, oversized registers and impossible values still give numbers, none below 0."""
    script = running().state("stop-and-copy").saved(100).state("stop")
    calls = [call._replace(started_ns=10**18 - call.started_ns, received=call.received * 40) for call in script.calls]
    calls += [call._replace(received=b"", sent=b"") for call in script.calls]
    numbers = dict(flat(figures(Measuring([REGION]).take(calls))))
    assert min(numbers.values()) >= 0


def test_a_region_without_device_state() -> None:
    """Nothing is measured if the journal does not name device_state."""
    assert Measuring([replace(REGION, registers=REGION.registers[1:])]).take(running().calls).nanoseconds == {}


def test_spread() -> None:
    """Least, median and most of the known values."""
    assert spread([3, None, 1, 2]) == {"number": 3, "least": 1, "median": 2, "most": 3}
    assert spread([None]) == {}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_measures(name: str) -> None:
    """Downtime and bytes of a flow, and the time in a state, as numbers."""
    calls = running().state("pre-copy").saved(100).state("stop-and-copy").saved(30).state("stop").calls
    case = replace(ended("a", "pass"), **made_by(calls, Measuring([REGION]).take(calls)))
    text = render(name, summarise(run_of(Target({}, (REGION,)), case)))
    readable = ("41.0 us", "130 bytes", "10.0 us")
    words = readable if name in ("terminal", "html") else ("4.1e-05", "130", "1e-05")
    assert [word for word in words if word not in text] == []


# -- the course of a flow, changes of state, bitmaps ------------------------------------------------------------------


def test_course_of_a_save() -> None:
    """Pending bytes, and bytes moved so far, at each read of pending_bytes."""
    script = running().state("pre-copy").saved(100, 50)
    (flow,) = script.state("stop-and-copy").saved(7).state("running").measured().flows
    assert [(pending, moved) for _, pending, moved in flow.course] == [
        (100, 0),
        (50, 100),
        (0, 150),
        (7, 150),
        (0, 157),
    ]
    assert [at for at, _, _ in flow.course] == sorted(at for at, _, _ in flow.course)
    assert flow.course[0][0] == STEP + CALL


@pytest.mark.parametrize("number", [1, 31, 32, 65, 1000, 4097])
def test_course_is_bounded(number: int) -> None:
    """The first and the last point are kept, and only some of very many between them."""
    (flow,) = running().state("stop-and-copy").saved(*range(1, number + 1)).state("running").measured().flows
    assert len(flow.course) == min(number + 1, len(flow.course)) <= 66
    assert len(flow.course) >= min(number + 1, 32)
    assert flow.course[0][1:] == (1, 0)
    assert flow.course[-1][1:] == (0, flow.moved)


def test_requested_changes() -> None:
    """By their result, from each known state; each of several folded calls counts."""
    script = running().state("stop").state("resuming", refused=True).state("running").state("stop")
    script.calls[2] = script.calls[2]._replace(times=3)
    assert script.measured().changes == {
        "running -> stop": {ACCEPTED: 2},
        "stop -> resuming": {REFUSED: 3},
        "stop -> running": {ACCEPTED: 1},
    }


def test_changes_from_an_unknown_state() -> None:
    """They are not counted, nor are values without a name."""
    script = Script().state("stop").other("ioctl", number=VFIO_DEVICE_RESET).state("running", refused=True)
    script.write("device_state", 0x11).state("stop")
    assert script.measured().changes == {}


def test_bitmaps_are_counted() -> None:
    """Answers with a bitmap, whether or not there is a migration region."""
    asked = Call("ioctl", "container", VFIO_IOMMU_DIRTY_PAGES, 56, behind=Behind(8, bytes(8)))
    calls = [asked, asked._replace(times=2), asked._replace(behind=None), asked._replace(number=0)]
    for regions in ([], [REGION]):
        assert Measuring(regions).take(calls).bitmaps == 3


def test_changes_of_all_cases_add_up() -> None:
    """A journal without them adds nothing."""
    one = Measures(changes={"a -> b": {ACCEPTED: 1}}, bitmaps=1)
    other = Measures(changes={"a -> b": {ACCEPTED: 1, REFUSED: 2}}, bitmaps=2)
    whole = total([one, other, Measures()])
    assert (whole.changes, whole.bitmaps) == ({"a -> b": {ACCEPTED: 2, REFUSED: 2}}, 3)
