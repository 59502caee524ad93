# SPDX-License-Identifier: GPL-2.0-only
"""Random walks, many of them, and the shortest one that a device does not survive."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import configuration

from ...device import DeviceError
from ...run.errors import Broken
from ...transport import CallTimeout, TransportError
from ..migration import Migration
from ..profile import MigrationStimulus
from ..states import name
from .path import Line, Strayed
from .shorten import Step, shorten
from .steps import draw
from .walk import Walk


@dataclass
class Finding:
    """A walk on which the device left what the text allows, or was lost."""

    steps: list[Step]
    #: All that was done, the last line being what went wrong.
    lines: list[Line]
    #: By which an exploration begins with the round in which it was found.
    seed: int
    #: The same steps went wrong once more.
    repeatable: bool = False


@dataclass
class Tally:
    """What was done: rounds of walks, walks, and steps by the state in which they were taken."""

    rounds: int = 0
    walks: int = 0
    states: Counter[str] = field(default_factory=Counter)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.states.total()


class _Ended(BaseException):
    """There is no more to do. Not an exception that hypothesis would look into."""


class Explorer:
    """Explores one device for a time. ``tell`` is told before each step how many there were."""

    def __init__(self, migration: Migration, seed: int, tell: Callable[[int], None]) -> None:
        self._migration = migration
        self._session = migration.session
        self._seed = seed
        self._tell = tell
        self.tally = Tally()
        self.finding: Finding | None = None
        self._end = 0.0
        self._ended = False
        #: Why it cannot go on.
        self._failure: TransportError | DeviceError | Broken | None = None

    def explore(self, seconds: float, shortening: float) -> Finding | None:
        """Walk for ``seconds``; what was found, made as short as ``shortening`` seconds allow, or None.

        Raises CallTimeout where the device hung, and what Session.prepare() raises where it cannot be had.
        """
        self._end = time.monotonic() + seconds
        try:
            with tempfile.TemporaryDirectory(prefix="vfio-") as scratch:
                configuration.set_hypothesis_home_dir(Path(scratch))
                while not self._ended:
                    self._round(self._seed + self.tally.rounds)
        finally:
            configuration.set_hypothesis_home_dir(None)
        if self._failure is not None:
            raise self._failure
        if self.finding is not None:
            self._make_short(self.finding, shortening)
        return self.finding

    def _round(self, seed: int) -> None:
        self.tally.rounds += 1
        try:
            draw(seed, lambda: self._begin(seed), self._session.profile.stimulus_of(MigrationStimulus))
        except (_Ended, Exception):
            if not self._ended:  # else it is only that hypothesis does not like to be cut short
                raise

    def _begin(self, seed: int) -> Callable[[Step], None]:
        """A new walk: what takes a step of it."""
        self._in_time()
        try:
            walk = self._new_walk()
        except (TransportError, DeviceError, Broken) as error:
            self._failure = error
            raise self._end_it() from None
        steps: list[Step] = []

        def step(step: Step) -> None:
            self._in_time()
            steps.append(step)
            if lines := self._take(walk, step):
                self.finding = Finding(steps, lines, seed)
                raise self._end_it()

        return step

    def _new_walk(self) -> Walk:
        """Raises what Session.prepare() raises."""
        self.tally.walks += 1
        self._session.transport.tracer.take()  # of many walks only the last one can be of interest
        self._session.plain()
        return Walk(self._session.device, self._migration.prepare(), self._migration.actor)

    def _take(self, walk: Walk, step: Step) -> list[Line]:
        """The lines of the walk if it goes wrong with this step."""
        self.tally.states[name(walk.model.state)] += 1
        verb, told = step
        try:
            getattr(walk, verb)(**told)
        except Strayed as strayed:
            return strayed.lines
        except TransportError as error:
            self._session.lost = True
            if isinstance(error, CallTimeout):
                self._failure = error  # to try that again would cost its deadline each time
            words = [verb.replace("_", " "), *(f"{key}={value}" for key, value in told.items())]
            return [*walk.lines, Line(" ".join(words), "an answer", error.message)]
        return []

    def _make_short(self, finding: Finding, seconds: float) -> None:
        """Shorten it, then take its steps once more, so that their calls are the last ones in the trace."""
        self._end = time.monotonic() + seconds
        with suppress(_Ended, TransportError, DeviceError, Broken):
            shorten(finding.steps, lambda steps: self._goes_wrong(finding, steps, times=2))
        self._end = time.monotonic() + seconds
        with suppress(_Ended, TransportError, DeviceError, Broken):
            finding.repeatable = self._goes_wrong(finding, finding.steps, times=1)

    def _goes_wrong(self, finding: Finding, steps: list[Step], times: int) -> bool:
        """Whether walks of these steps go wrong, so many times; then the last one is the finding."""
        for _ in range(times):
            walk = self._new_walk()
            for count, step in enumerate(steps, 1):
                self._in_time()
                if lines := self._take(walk, step):
                    wrong = steps[:count]
                    break
            else:
                return False
        finding.steps, finding.lines = wrong, lines
        return True

    def _in_time(self) -> None:
        if time.monotonic() > self._end:
            raise self._end_it()
        self._tell(self.tally.steps)

    def _end_it(self) -> _Ended:
        self._ended = True
        return _Ended()
