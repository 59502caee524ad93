# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes, by the calls of a run: how long each device was in each state, and what each flow moved and took.

Nothing here is measured anew: a call says when it began and how long it took. A state lasts from the write that asks
for it to the one that asks for the next, so that the change counts for the state that is changed to. The registers
are those that the journal names, and the states have the names that it gives to their values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..common.calls import OMITTED, SECOND, Call, plain
from ..uapi.requests import VFIO_DEVICE_RESET
from .setting import Register, UsedRegion

LIVE, STOPPED, RESUME = "live save", "stopped save", "resume"
KINDS: Final = (LIVE, STOPPED, RESUME)

_RUNNING, _PRE_COPY, _STOP_AND_COPY, _RESUMING = "running", "pre-copy", "stop-and-copy", "resuming"
_SAVING: Final = (_PRE_COPY, _STOP_AND_COPY)
_RUNS: Final = (_RUNNING, _PRE_COPY)

_SECOND: Final = 1_000_000_000


@dataclass(slots=True)
class Flow:
    """A state was saved or resumed, in one go. Times are in nanoseconds since the test process began."""

    kind: str
    #: Of the write that begins it.
    begun: int
    #: When the last byte had been moved; of a resumed one, when the device was running.
    ended: int = 0
    #: Spent in its calls, in nanoseconds.
    in_calls: int = 0
    moved: int = 0
    #: When the write began by which the device was stopped; None where nothing ran before.
    stopped: int | None = None
    #: When the target was running that was given what this flow saved, in the same case.
    running: int | None = None
    #: Whether it came to its end: all was read that the device had, or the resumed device was running.
    whole: bool = False

    @property
    def seconds(self) -> float:
        """From its first write to its end."""
        return _between(self.begun, self.ended)

    @property
    def call_seconds(self) -> float:
        """Spent in its calls alone, without what the suite did between them."""
        return self.in_calls / _SECOND

    @property
    def throughput(self) -> float | None:
        """Bytes a second; None where it took no time."""
        return self.moved / self.seconds if self.ended > self.begun else None

    @property
    def downtime(self) -> float | None:
        """Seconds from the write that stopped the device to the last byte; None where nothing ran before."""
        return None if self.stopped is None or self.kind == RESUME else _between(self.stopped, self.ended)

    @property
    def downtime_to_running(self) -> float | None:
        """Seconds from the write that stopped the device to the target running; None where it was given to none."""
        return None if self.stopped is None or self.running is None else _between(self.stopped, self.running)


@dataclass(frozen=True, slots=True)
class Measures:
    """Of a case, or of a whole run."""

    #: In each state, of the device and of the second one.
    nanoseconds: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: Those that came to their end.
    flows: tuple[Flow, ...] = ()
    #: How many of each kind did not.
    unfinished: Mapping[str, int] = field(default_factory=dict)

    def of(self, kind: str) -> list[Flow]:
        """The whole flows of a kind."""
        return [flow for flow in self.flows if flow.kind == kind]


def total(cases: Iterable[Measures]) -> Measures:
    """What those of all cases come to."""
    nanoseconds: dict[str, Counter[str]] = {}
    unfinished: Counter[str] = Counter()
    flows: list[Flow] = []
    for case in cases:
        for device, spent in case.nanoseconds.items():
            nanoseconds.setdefault(device, Counter()).update(spent)
        unfinished.update(case.unfinished)
        flows += case.flows
    return Measures(nanoseconds, tuple(flows), unfinished)


class Measuring:
    """Measures the calls of one case after the other, as a test process makes them."""

    def __init__(self, regions: Iterable[UsedRegion]) -> None:
        self._devices = {
            f"{prefix}region {place.index}": _Device(place, f"{prefix}device")
            for region in regions
            if (place := _Place.of(region))
            for prefix in ("", SECOND)
        }

    def take(self, calls: Sequence[Call]) -> Measures:
        """What the calls of the next case amount to."""
        if not self._devices:
            return Measures()
        case = _Case(self._devices)
        case.take(calls)
        nanoseconds = {name: dict(spent) for name, spent in case.spent.items()}
        return Measures(nanoseconds, tuple(case.flows), dict(case.unfinished))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a region has what tells a migration: offsets and widths of registers, and where the data begins."""

    index: int
    state: tuple[int, int]
    names: Mapping[int, str]
    pending: int
    data_size: int
    data: int

    @classmethod
    def of(cls, region: UsedRegion) -> _Place | None:
        """None where the region does not have them."""
        by_name: dict[str, Register] = {each.name: each for each in region.registers}
        state, pending, size = map(by_name.get, ("device_state", "pending_bytes", "data_size"))
        if not state or not pending or not size:
            return None
        names = {int(value): name for value, name in state.values.items() if value.isascii() and value.isdecimal()}
        data = max(each.offset + each.width for each in region.registers)
        return cls(region.index, (state.offset, state.width), names, pending.offset, size.offset, data)


class _Device:
    """One device, as its calls show it."""

    def __init__(self, place: _Place, name: str) -> None:
        self.place = place
        self._name = name
        self._state: str | None = None
        self._since = 0
        #: Data may go through it, and no call tells of that.
        self._mapped = False
        self.flow: Flow | None = None
        #: Nanoseconds in its calls so far.
        self._spent_on_it = 0
        self._drained = False
        #: Of the buffer that is being moved: its size as it was announced, bytes in calls, and when the last one of
        #: these had ended, with the time that had been spent in calls then.
        self._announced = self._in_calls = 0
        self._moved_at: tuple[int, int] | None = None

    def map(self) -> None:
        """Its region was mapped."""
        self._mapped = True

    def close(self, at: int, case: _Case) -> None:
        """It was opened or closed, or its process ended."""
        self._mapped = False
        self.lose(at, case)

    def lose(self, at: int, case: _Case) -> None:
        """Nothing is known of its state any more."""
        self._count(at, case)
        self._state = None
        self._finish(case)

    def _count(self, at: int, case: _Case) -> None:
        if self._state is not None and at > self._since:
            case.spent.setdefault(self._name, Counter())[self._state] += at - self._since

    def _finish(self, case: _Case) -> None:
        """The flow is over, whatever it came to."""
        if flow := self.flow:
            self.flow = None
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
            name = place.names.get(_value(call.get("received" if read else "sent", "")), "unknown")
            if read:
                self._seen(name, started, case)
            else:
                self._changed(name, started, ended, case)
        elif flow:
            self._data(call, offset, ended, read, flow)

    def _seen(self, name: str, at: int, case: _Case) -> None:
        """device_state was read."""
        if name == self._state:
            return
        if self._state is not None:  # it went there by itself: what was begun is over
            self.lose(at, case)
        self._state, self._since = name, at

    def _changed(self, name: str, started: int, ended: int, case: _Case) -> None:
        """device_state was written, and the driver took it."""
        before = self._state
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
            if name == _STOP_AND_COPY and before in _RUNS:
                self.flow.stopped = started
        elif name == _RESUMING:
            self.flow = Flow(RESUME, started)
        self._forget()

    def _forget(self) -> None:
        self._announced = self._in_calls = 0
        self._moved_at = None
        self._drained = False

    def _data(self, call: Mapping[str, Any], offset: int, ended: int, read: bool, flow: Flow) -> None:
        """What is moved while a flow is under way."""
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
            self._drained = not _value(call.get("received", ""))

    def _moved(self, flow: Flow, at: tuple[int, int]) -> None:
        """A buffer was moved, if there was one. By calls, or through a mapping: then all that was announced."""
        size = min(self._in_calls, self._announced) or (self._announced if self._mapped else 0)
        if size:
            flow.moved += size
        if size or not flow.ended:
            flow.ended, flow.in_calls = at
        self._announced = self._in_calls = 0
        self._moved_at = None


class _Case:
    """The calls of one case, on all devices."""

    def __init__(self, devices: Mapping[str, _Device]) -> None:
        self._devices = devices
        self.spent: dict[str, Counter[str]] = {}
        self.flows: list[Flow] = []
        self.unfinished: Counter[str] = Counter()
        #: The last state that was saved whole, and given to no device.
        self.saved: Flow | None = None

    def runs(self, at: int) -> None:
        """A device is running that was given a state."""
        if self.saved:
            self.saved.running, self.saved = at, None

    def take(self, calls: Sequence[Call]) -> None:
        """All of them, in their order."""
        last = 0
        for call in plain(calls):
            verb, target = call["verb"], call["target"]
            started = call.get("started_ns", 0)
            last = max(last, started + call.get("duration_ns", 0))
            device = self._devices.get(target)
            if device is None:
                self._other(call, verb, target, started)
            elif call.get("value", 0) >= 0:
                if verb in ("read", "write"):
                    device.take(call, self)
                elif verb == "map":
                    device.map()
        for device in self._devices.values():
            device.lose(last, self)

    def _other(self, call: Mapping[str, Any], verb: str, target: str, at: int) -> None:
        """A call on something else than a region of a migration."""
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


def _between(earlier: int, later: int) -> float:
    """Seconds; a journal that contradicts itself makes them no less than none."""
    return max(later - earlier, 0) / _SECOND


def _value(data: str) -> int:
    """Bytes of a register, as they are recorded; longer ones have no meaning here."""
    return int.from_bytes(bytes.fromhex(data[:16]), "little")
