# SPDX-License-Identifier: GPL-2.0-only
"""Measures a case by its calls, as a test process makes them.

Nothing is timed here: a call has its own start and duration. A state lasts from the write that asks for it to the
write that asks for the next, so the time of a change counts for the new state. The registers are those that the journal
names, and the states have the names that it gives to their values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..common.calls import OMITTED, SECOND, Call, plain
from ..uapi.requests import BITMAP_REQUESTS, VFIO_DEVICE_RESET
from .flows import ACCEPTED, LIVE, REFUSED, RESUME, STOPPED, Flow, Measures
from .setting import Register, UsedRegion

_RUNNING, _PRE_COPY, _STOP_AND_COPY, _RESUMING = "running", "pre-copy", "stop-and-copy", "resuming"
_SAVING: Final = (_PRE_COPY, _STOP_AND_COPY)
_RUNS: Final = (_RUNNING, _PRE_COPY)
_UNKNOWN: Final = "unknown"

#: How many points of a flow are kept at least, if there are that many.
_MOST_POINTS: Final = 32


class Measuring:
    """Measures the calls of one case after another, as a test process makes them."""

    def __init__(self, regions: Iterable[UsedRegion]) -> None:
        self._devices = {
            f"{prefix}region {place.index}": _Device(place, f"{prefix}device")
            for region in regions
            if (place := _Place.of(region))
            for prefix in ("", SECOND)
        }

    def take(self, calls: Sequence[Call]) -> Measures:
        """The measures of the next case's calls."""
        case = _Case(self._devices)
        case.take(calls)
        nanoseconds = {name: dict(spent) for name, spent in case.spent.items()}
        changes = {change: dict(answers) for change, answers in case.changes.items()}
        return Measures(nanoseconds, tuple(case.flows), dict(case.unfinished), changes, case.bitmaps)


@dataclass(frozen=True, slots=True)
class _Place:
    """The layout of a migration region: offsets and widths of its registers, and where the data begins."""

    index: int
    state: tuple[int, int]
    names: Mapping[int, str]
    pending: int
    data_size: int
    data: int

    @classmethod
    def of(cls, region: UsedRegion) -> _Place | None:
        """None if the region does not have them."""
        by_name: dict[str, Register] = {each.name: each for each in region.registers}
        state, pending, size = map(by_name.get, ("device_state", "pending_bytes", "data_size"))
        if not state or not pending or not size:
            return None
        names = {int(value): name for value, name in state.values.items() if value.isascii() and value.isdecimal()}
        data = max(each.offset + each.width for each in region.registers)
        return cls(region.index, (state.offset, state.width), names, pending.offset, size.offset, data)


class _Device:
    """One device, as seen by its calls."""

    def __init__(self, place: _Place, name: str) -> None:
        self.place = place
        self._name = name
        self._state: str | None = None
        self._since = 0
        #: Data may move through the mapping, which no call shows.
        self._mapped = False
        self.flow: Flow | None = None
        #: Nanoseconds spent in its calls.
        self._spent_on_it = 0
        self._drained = False
        #: Of the buffer that is being moved: its announced size, the bytes moved in calls, and when the last of these
        #: calls ended, with the time spent in calls by then.
        self._announced = self._in_calls = 0
        self._moved_at: tuple[int, int] | None = None
        self._course = _Course()

    def map(self) -> None:
        """Its region was mapped."""
        self._mapped = True

    def close(self, at: int, case: _Case) -> None:
        """It was opened or closed, or its process ended."""
        self._mapped = False
        self.lose(at, case)

    def lose(self, at: int, case: _Case) -> None:
        """Its state is no longer known."""
        self._count(at, case)
        self._state = None
        self._finish(case)

    def _count(self, at: int, case: _Case) -> None:
        if self._state is not None and at > self._since:
            case.spent.setdefault(self._name, Counter())[self._state] += at - self._since

    def _finish(self, case: _Case) -> None:
        """The flow is over, complete or not."""
        if flow := self.flow:
            self.flow = None
            flow.course = self._course.points
            if flow.whole:
                case.flows.append(flow)
            else:
                case.unfinished[flow.kind] += 1

    # -- one access ---------------------------------------------------------------------------------------------------

    def take(self, call: Mapping[str, Any], case: _Case) -> None:
        """An access to its region that succeeded."""
        offset, started = call.get("number", 0), call.get("started_ns", 0)
        ended, place = started + call.get("duration_ns", 0), self.place
        read = call["verb"] == "read"
        if flow := self.flow:
            self._spent_on_it += ended - started
        if (offset, call.get("length", 0)) == place.state:
            name = place.names.get(_value(call.get("received" if read else "sent", "")), _UNKNOWN)
            if read:
                self._seen(name, started, case)
            else:
                self._changed(name, started, ended, case)
        elif flow:
            self._data(call, offset, ended, read, flow)

    def refuse(self, call: Mapping[str, Any], case: _Case) -> None:
        """A write to its region failed."""
        if (call.get("number", 0), call.get("length", 0)) == self.place.state:
            name = self.place.names.get(_value(call.get("sent", "")), _UNKNOWN)
            case.change(self._state, name, REFUSED, call.get("times", 1))

    def _seen(self, name: str, at: int, case: _Case) -> None:
        """device_state was read."""
        if name == self._state:
            return
        if self._state is not None:  # it changed by itself: the flow is over
            self.lose(at, case)
        self._state, self._since = name, at

    def _changed(self, name: str, started: int, ended: int, case: _Case) -> None:
        """device_state was written, and the driver accepted it."""
        before = self._state
        case.change(before, name, ACCEPTED)
        self._count(started, case)
        self._state, self._since = name, started
        if flow := self.flow:
            if flow.kind == RESUME and name == _RUNNING:
                flow.whole, flow.ended, flow.in_calls = True, ended, self._spent_on_it
                case.runs(ended)
            elif flow.kind != RESUME:
                flow.whole = self._drained and before == _STOP_AND_COPY and name != _RESUMING
            if flow.kind == LIVE and before == _PRE_COPY and name == _STOP_AND_COPY:
                flow.stopped, flow.whole = started, False
                self._forget()
                return
            if flow.whole and flow.kind != RESUME:
                case.saved = flow
            self._finish(case)
        self._spent_on_it = ended - started
        if name in _SAVING and before not in _SAVING:
            self.flow = Flow(LIVE if name == _PRE_COPY else STOPPED, started)
            self._course = _Course()
            if name == _STOP_AND_COPY and before in _RUNS:
                self.flow.stopped = started
        elif name == _RESUMING:
            self.flow, self._course = Flow(RESUME, started), _Course()
        self._forget()

    def _forget(self) -> None:
        self._announced = self._in_calls = 0
        self._moved_at = None
        self._drained = False

    def _data(self, call: Mapping[str, Any], offset: int, ended: int, read: bool, flow: Flow) -> None:
        """An access to the data during a flow."""
        place = self.place
        if offset >= place.data:
            self._in_calls += call.get("value", 0) * call.get("times", 1)
            self._moved_at = (ended, self._spent_on_it)
        elif offset == place.data_size:
            self._announced = _value(call.get("received" if read else "sent", ""))
            if not read:
                self._moved(flow, (ended, self._spent_on_it))
        elif offset == place.pending and read:
            self._moved(flow, self._moved_at or (ended, self._spent_on_it))
            pending = _value(call.get("received", ""))
            self._drained = not pending
            self._course.add(max(ended - flow.begun, 0), pending, flow.moved)

    def _moved(self, flow: Flow, at: tuple[int, int]) -> None:
        """A buffer, if there was one, was moved: by calls, or through a mapping, when all announced bytes count."""
        size = min(self._in_calls, self._announced) or (self._announced if self._mapped else 0)
        if size:
            flow.moved += size
        if size or not flow.ended:
            flow.ended, flow.in_calls = at
        self._announced = self._in_calls = 0
        self._moved_at = None


class _Course:
    """Points of a flow, at most twice _MOST_POINTS of them."""

    def __init__(self) -> None:
        self._points: list[tuple[int, int, int]] = []
        self._last: tuple[int, int, int] | None = None
        self._number, self._step = 0, 1

    def add(self, at: int, pending: int, moved: int) -> None:
        """Add the next point: at first every one is kept, then every second, every fourth and so on."""
        self._last = (at, pending, moved)
        if self._number % self._step == 0:
            self._points.append(self._last)
        self._number += 1
        if len(self._points) > 2 * _MOST_POINTS:
            del self._points[1::2]
            self._step *= 2

    @property
    def points(self) -> tuple[tuple[int, int, int], ...]:
        """The kept points, and the last one."""
        last = [self._last] if self._last and self._last not in self._points[-1:] else []
        return (*self._points, *last)


class _Case:
    """The calls of one case, on all devices."""

    def __init__(self, devices: Mapping[str, _Device]) -> None:
        self._devices = devices
        self.spent: dict[str, Counter[str]] = {}
        self.flows: list[Flow] = []
        self.unfinished: Counter[str] = Counter()
        #: The last complete save whose state was not yet given to a device.
        self.saved: Flow | None = None
        self.changes: dict[str, Counter[str]] = {}
        self.bitmaps = 0

    def change(self, before: str | None, after: str, answer: str, times: int = 1) -> None:
        """A change from a known state was asked for."""
        if before is not None and _UNKNOWN not in (before, after):
            self.changes.setdefault(f"{before} -> {after}", Counter())[answer] += times

    def runs(self, at: int) -> None:
        """A device that was given a state is running."""
        if self.saved:
            self.saved.running, self.saved = at, None

    def take(self, calls: Sequence[Call]) -> None:
        """Take the calls, in order."""
        last = 0
        for call in plain(calls):
            verb, target = call["verb"], call["target"]
            started = call.get("started_ns", 0)
            last = max(last, started + call.get("duration_ns", 0))
            device = self._devices.get(target)
            if device is None:
                self._other(call, verb, target, started)
            elif verb == "write" and call.get("value", 0) < 0:
                device.refuse(call, self)
            elif call.get("value", 0) >= 0:
                if verb in ("read", "write"):
                    device.take(call, self)
                elif verb == "map":
                    device.map()
        for device in self._devices.values():
            device.lose(last, self)

    def _other(self, call: Mapping[str, Any], verb: str, target: str, at: int) -> None:
        """A call on anything other than a migration region."""
        if verb == "ioctl" and call.get("number") in BITMAP_REQUESTS and call.get("behind"):
            self.bitmaps += call.get("times", 1)
        if verb == OMITTED:
            for device in self._devices.values():
                device.lose(at, self)
        elif target.endswith("device") and (
            verb in ("open", "close") or (verb == "ioctl" and call.get("number") == VFIO_DEVICE_RESET)
        ):
            prefix = target.removesuffix("device")
            for name, device in self._devices.items():
                if name.removesuffix(f"region {device.place.index}") == prefix:
                    (device.lose if verb == "ioctl" else device.close)(at, self)


def _value(data: str) -> int:
    """The value of a register, from its recorded bytes; longer data has no meaning here."""
    return int.from_bytes(bytes.fromhex(data[:16]), "little")
