# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes of a run: how long a device was in each state, bytes and time of each flow, changes of state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

LIVE, STOPPED, RESUME = "live save", "stopped save", "resume"
KINDS: Final = (LIVE, STOPPED, RESUME)

#: The outcome of a requested change of state.
ACCEPTED, REFUSED = "accepted", "refused"

_SECOND: Final = 1_000_000_000


@dataclass(slots=True)
class Flow:
    """One save or resume of a state. Times are in nanoseconds since the test process began."""

    kind: str
    #: Time of the write that begins it.
    begun: int
    #: When the last byte had been moved; for a resume, when the device was running.
    ended: int = 0
    #: Nanoseconds spent in its calls.
    in_calls: int = 0
    moved: int = 0
    #: When the write that stopped the device began; None if the device was not running before.
    stopped: int | None = None
    #: When the target that was given this state was running, in the same case.
    running: int | None = None
    #: Whether it is complete: everything was read that the device had, or the resumed device was running.
    whole: bool = False
    #: Each read of pending_bytes: the time since ``begun``, bytes pending, and bytes moved by then; if there are very
    #: many, evenly spaced ones.
    course: tuple[tuple[int, int, int], ...] = ()

    @property
    def seconds(self) -> float:
        """From its first write to its end."""
        return _between(self.begun, self.ended)

    @property
    def call_seconds(self) -> float:
        """Seconds spent in its calls alone, without what the suite did between them."""
        return self.in_calls / _SECOND

    @property
    def throughput(self) -> float | None:
        """Bytes per second; None if it took no time."""
        return self.moved / self.seconds if self.ended > self.begun else None

    @property
    def downtime(self) -> float | None:
        """Seconds from the write that stopped the device to the last byte; None if it was not running before."""
        return None if self.stopped is None or self.kind == RESUME else _between(self.stopped, self.ended)

    @property
    def downtime_to_running(self) -> float | None:
        """Seconds from the write that stopped the device to the target running; None if there was no target."""
        return None if self.stopped is None or self.running is None else _between(self.stopped, self.running)


@dataclass(frozen=True, slots=True)
class Measures:
    """Of a case, or of a whole run."""

    #: Seconds in each state, of the device and of the second device.
    nanoseconds: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: The complete ones.
    flows: tuple[Flow, ...] = ()
    #: How many of each kind are incomplete.
    unfinished: Mapping[str, int] = field(default_factory=dict)
    #: How often each change of state was asked for, by "FROM -> TO" and by ACCEPTED or REFUSED.
    changes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: How many dirty bitmaps were asked for.
    bitmaps: int = 0

    def of(self, kind: str) -> list[Flow]:
        """The whole flows of a kind."""
        return [flow for flow in self.flows if flow.kind == kind]


def total(cases: Iterable[Measures]) -> Measures:
    """The sum of those of all cases."""
    nanoseconds: dict[str, Counter[str]] = {}
    unfinished: Counter[str] = Counter()
    flows: list[Flow] = []
    changes: dict[str, Counter[str]] = {}
    bitmaps = 0
    for case in cases:
        for device, spent in case.nanoseconds.items():
            nanoseconds.setdefault(device, Counter()).update(spent)
        unfinished.update(case.unfinished)
        flows += case.flows
        bitmaps += case.bitmaps
        for change, answers in case.changes.items():
            changes.setdefault(change, Counter()).update(answers)
    return Measures(nanoseconds, tuple(flows), unfinished, changes, bitmaps)


def _between(earlier: int, later: int) -> float:
    """Seconds, never negative, even if the journal contradicts itself."""
    return max(later - earlier, 0) / _SECOND
