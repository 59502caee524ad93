# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes of a run: how long a device was in each state, what each flow moved and took; changes of state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

LIVE, STOPPED, RESUME = "live save", "stopped save", "resume"
KINDS: Final = (LIVE, STOPPED, RESUME)

#: What came of a change of state that was asked for.
ACCEPTED, REFUSED = "accepted", "refused"

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
    #: Each time that pending_bytes was read: the time since ``begun``, bytes pending, and bytes moved by then; of very
    #: many, some of them, as far apart as each other.
    course: tuple[tuple[int, int, int], ...] = ()

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
    #: How often each change of state was asked for, by "FROM -> TO" and by ACCEPTED or REFUSED.
    changes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: How many dirty bitmaps were asked for.
    bitmaps: int = 0

    def of(self, kind: str) -> list[Flow]:
        """The whole flows of a kind."""
        return [flow for flow in self.flows if flow.kind == kind]


def total(cases: Iterable[Measures]) -> Measures:
    """What those of all cases come to."""
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
    """Seconds; a journal that contradicts itself makes them no less than none."""
    return max(later - earlier, 0) / _SECOND
