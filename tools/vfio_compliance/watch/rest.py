# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a run once a test process has ended early."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from ..results.events import Broken, End, Event, Hang, Lost, Plan, Process, Way
from ..results.handover import Handover
from ..results.verdict import Verdict


class Rest:
    """Follows the events of a run. A case is done when it ended, hung, or ended its process."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        #: Rule by case; None until the plan is known.
        self._planned: dict[str, str] | None = None
        self._done: set[str] = set()
        self._cut: Counter[str] = Counter()
        #: The number of the present test process, and how many cases were done when it began.
        self._number, self._before = 1, 0
        #: Which round of the cases this is.
        self.round = 1
        #: The way to the device, counted from 0, and how many ways there are.
        self._way, self._ways = 0, 1

    @property
    def planned(self) -> bool:
        """Whether the run got as far as a plan."""
        return self._planned is not None

    @property
    def left(self) -> bool:
        """Whether a case is left, and a way to the device."""
        return bool((self._planned or {}).keys() - self._done) and self._way < self._ways

    @property
    def smooth(self) -> bool:
        """Whether one test process was enough, on the device itself."""
        return self._number == 1 and not self._way

    def take(self, event: Event) -> None:
        """Take note of an event of the test process."""
        match event:
            case Plan():
                self._planned = dict(event.cases)
            case End():
                self._done.add(event.case)
                self._cut[event.rule] += event.verdict is Verdict.HANG
            case Way():
                self._way, self._ways = event.way, event.ways
            case Lost():
                self._way += 1

    def resume(self, events: Iterable[Event]) -> None:
        """Take note of all events of a run that ended early, which now continues with a new test process.

        Every way to the device is tried again, and the time for a run starts again.
        """
        for event in events:
            match event:
                case Plan() | End():
                    self.take(event)
                case Hang(case=str(case)) | Broken(case=str(case)):
                    self.cut_off(case)
                case Process():
                    self._number = max(self._number, event.number)
                    if event.round > self.round:
                        self._begin_round(event.round)
        self._before = len(self._done)

    @property
    def cases_left(self) -> int:
        """How many cases have no verdict."""
        return len((self._planned or {}).keys() - self._done)

    def cut_off(self, case: str | None) -> None:
        """The test process ended in ``case``. If it ended before any case, the way to the device did not work."""
        if case is not None:
            self._done.add(case)
            self._cut[(self._planned or {}).get(case, "")] += 1
        elif len(self._done) == self._before:
            self._way += 1

    def hand_over(self, why: str) -> Handover:
        """What the next test process must know; from here on, it is the present one."""
        self._number, self._before = self._number + 1, len(self._done)
        seconds = time.monotonic() - self._began
        done, cut = frozenset(self._done), dict(self._cut)
        return Handover(self._number, why, done, cut, self._way, seconds, self.round)

    def once_more(self, why: str) -> Handover:
        """Begin another round, in which all cases are run again; what the next test process must know."""
        self._begin_round(self.round + 1)
        self._began = time.monotonic()
        return self.hand_over(why)

    def _begin_round(self, number: int) -> None:
        self.round = number
        self._done.clear()
        self._cut.clear()
