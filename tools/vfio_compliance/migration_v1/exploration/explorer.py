# SPDX-License-Identifier: GPL-2.0-only
"""Random walks, many of them, and the shortest ones that a device does not survive, each in a way of its own."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import configuration

from ...common.moment import latest_call
from ...device import DeviceError
from ...profiles import VfioUserDevice
from ...run.errors import Broken
from ...run.exploring import Line, Part, Strayed
from ...transport import CallTimeout, SetupError, TransportError
from ..migration import Migration
from ..profile import MigrationStimulus
from ..states import STATES, name
from .shorten import Step, shorten
from .steps import draw
from .walk import SECOND, Walk

#: An exploration ends with this many findings.
MOST_FINDINGS = 8

#: How many of the walks before may be what a device remembers: none, the last one, and so on.
_WALKS_BEFORE = (0, 1, 3, 8)

#: What is expected where the transport failed.
_AN_ANSWER = "an answer"

_STATES = re.compile(rf"\b({'|'.join(map(name, sorted(STATES, key=name, reverse=True)))})\b")
_NUMBERS = re.compile(r"(?:0x)?\b[0-9a-f]*\d[0-9a-fx]*\b(?:(?:-|, )(?:0x)?\b[0-9a-f]*\d[0-9a-fx]*\b)*")


@dataclass
class Finding:
    """A walk on which the device did what the specification forbids, or was lost."""

    steps: list[Step]
    #: All that was done, the last line being what went wrong.
    lines: list[Line]
    #: By which an exploration begins with the round in which it was found.
    seed: int
    #: Running number of the call that shows the finding.
    call: int = 0
    #: The same steps failed once more.
    repeatable: bool = False

    @property
    def kind(self) -> str:
        """The kind of failure: the last step, what was expected and seen, without numbers and states."""
        did, expected, seen = self.lines[-1]
        did = "write device_state" if " -> " in did else did.removeprefix(SECOND)
        if expected == _AN_ANSWER:
            did = "a call"  # what was seen says which
        answer = _STATES.sub("a state", f"{expected}, {seen}".replace("dirty: none", "dirty: 0"))
        return re.sub(r"\b(byte|page|bit)s\b", r"\1", _NUMBERS.sub("N", f"{did}: {answer}"))

    def comes_with(self, before: Sequence[Step], step: Step, exactly: bool) -> bool:
        """Whether ``step`` after those ``before`` would complete its steps; not ``exactly``: only their verbs count."""

        def same(one: Step, other: Step) -> bool:
            return one == other if exactly else one[0] == other[0]

        *first, last = self.steps
        taken = iter(before)
        return same(step, last) and all(any(same(each, wanted) for each in taken) for wanted in first)


@dataclass
class Tally:
    """What was done: rounds of walks, walks, and steps by the state in which they were taken."""

    rounds: int = 0
    walks: int = 0
    states: Counter[str] = field(default_factory=Counter)

    @property
    def steps(self) -> int:
        """The total number of steps."""
        return self.states.total()


class _Ended(BaseException):
    """There is no more to do. Not an exception that hypothesis would examine."""


class Explorer:
    """Explores one device for a time. ``report`` is called before each step with the number of steps."""

    def __init__(self, migration: Migration, seed: int, report: Callable[[int], None]) -> None:
        self._migration = migration
        self._session = migration.session
        self._seed = seed
        self._report = report
        self.tally = Tally()
        #: The findings, each of a different kind.
        self.findings: list[Finding] = []
        self._kinds: set[str] = set()
        self._end = 0.0
        #: Seconds left for shortening findings, and the deadline for the present one.
        self._shortening = self._limit = 0.0
        self._ended = False
        self._walk: Walk | None = None
        #: The steps of the walks since the device was started, without those taken for shortening.
        self._walks: deque[list[Step]] = deque(maxlen=_WALKS_BEFORE[-1] + 1)
        self._begun = 0
        #: Why it cannot continue.
        self._failure: TransportError | DeviceError | Broken | None = None

    def explore(self, seconds: float, shortening: float, most: int = MOST_FINDINGS) -> list[Finding]:
        """Walk for ``seconds``, past findings, until there are ``most``; return the findings, in order.

        It is shortened as far as ``shortening`` seconds in total allow. Raises CallTimeout if the device hung, and what
        Migration.require_running() raises where it cannot be had, and nothing was found that may be the reason.
        """
        self._end = time.monotonic() + seconds
        self._shortening = shortening
        try:
            with tempfile.TemporaryDirectory(prefix="vfio-") as scratch:
                configuration.set_hypothesis_home_dir(Path(scratch))
                parts = self._parts()
                while not self._ended:
                    self._round(self._seed + self.tally.rounds, parts, most)
            self._show_first()
        finally:
            configuration.set_hypothesis_home_dir(None)
            self._end_walk()
        if self._failure is not None and (isinstance(self._failure, CallTimeout) or not self.findings):
            raise self._failure
        return self.findings

    def _parts(self) -> list[type[Part]]:
        """What other interfaces add to walks on this device."""
        try:
            return [type(part) for part in self._new_walk().parts]
        except (TransportError, DeviceError, Broken) as error:
            self._fail(error)
            return []

    def _round(self, seed: int, parts: Sequence[type[Part]], most: int) -> None:
        self.tally.rounds += 1
        stimulus = self._session.profile.stimulus_of(MigrationStimulus)
        try:
            draw(seed, lambda: self._begin(seed, most), stimulus, parts, bool(self._session.second_name))
        except (_Ended, Exception):
            if not self._ended:  # else it is only that hypothesis does not like to be cut short
                raise

    def _begin(self, seed: int, most: int) -> Callable[[Step], None]:
        """A new walk: what takes a step of it. A failed walk takes no more steps, and the round continues."""
        self._in_time()
        try:
            walk = self._new_walk()
        except (TransportError, DeviceError, Broken) as error:
            raise self._fail(error) from None
        steps: list[Step] = []
        self._walks.append(steps)
        over = False
        self._begun += 1
        exactly = bool(self._begun % 2)  # of the other walks more is left out than must be

        def step(step: Step) -> None:
            nonlocal over
            if over or any(finding.comes_with(steps, step, exactly) for finding in self.findings):
                return
            self._in_time()
            before = len(walk.lines)
            steps.append(step)
            if lines := self._take(walk, step):
                over = True
                self._found(Finding(steps, lines, seed, latest_call()))
                if len(self.findings) == most or self._failure is not None:
                    raise self._end_it()
            elif len(walk.lines) == before:
                steps.pop()  # there was nothing to do

        return step

    def _new_walk(self) -> Walk:
        """Raises what Migration.require_running() raises."""
        self._end_walk()
        self.tally.walks += 1
        self._session.transport.tracer.forget()  # of many walks only the last one can be of interest
        self._session.as_after_reset()
        self._walk = walk = Walk(self._session.device, self._migration.require_running(), self._migration.actor)
        walk.parts = [part for each in self._session.attachments if (part := each.part(walk))]
        walk.second = self._migration.destination if self._session.second_name else None
        return walk

    def _end_walk(self) -> None:
        if self._walk is not None:
            for part in self._walk.parts:
                part.end()
            self._walk = None

    def _take(self, walk: Walk, step: Step) -> list[Line]:
        """The lines of the walk if it fails with this step."""
        self.tally.states[name(walk.model.state)] += 1
        verb, arguments = step
        try:
            walk.take(verb, arguments)
        except Strayed as strayed:
            return strayed.lines
        except (SetupError, Broken) as error:
            raise self._fail(error) from None
        except TransportError as error:
            self._session.lost = True
            if isinstance(error, CallTimeout):
                self._fail(error)  # to try that again would cost its deadline each time
            words = [verb.replace("_", " "), *(f"{key}={value}" for key, value in arguments.items())]
            return [*walk.lines, Line(" ".join(words), _AN_ANSWER, error.message)]
        return []

    # -- what was found -------------------------------------------------------------------------------------------

    def _found(self, finding: Finding) -> None:
        """Shorten it, unless the same kind of failure was found before; this does not use up exploration time."""
        if finding.kind in self._kinds:
            return
        self._kinds.add(finding.kind)
        began, end = time.monotonic(), self._end
        if self._failure is None:
            self._make_short(finding)
        spent = time.monotonic() - began
        self._shortening -= spent
        self._end = end + spent
        self.findings.append(finding)
        self._kinds.add(finding.kind)

    def _make_short(self, finding: Finding) -> None:
        """In a part of the time that there is for all; what goes wrong in a way that is known is another one.

        A device may remember earlier walks. So the steps are taken once more on one that was started again, where that
        can be done. Where it does not go wrong then, it is made short on such ones alone, with walks before it.
        """
        known = self._kinds - {finding.kind}
        whole, lines, seconds = finding.steps, finding.lines, self._shortening / 4
        self._limit = time.monotonic() + 3 * seconds
        self._shorten(finding, known, seconds / 2, fresh=False)
        if not self._goes_wrong_again(finding, known, seconds):
            for count in _WALKS_BEFORE:
                before = [*self._walks][-1 - count : -1]
                finding.steps = [step for walk in before for step in (*walk, ("reset", {}))] + whole
                if self._goes_wrong_again(finding, known, seconds):
                    self._shorten(finding, known, 2 * seconds, fresh=True)
                    break
            else:
                finding.steps, finding.lines = whole, lines
        self._walks.clear()

    def _shorten(self, finding: Finding, known: set[str], seconds: float, *, fresh: bool) -> None:
        self._end = min(time.monotonic() + seconds, self._limit)
        with self._for_now():
            shorten(finding.steps, lambda steps: self._goes_wrong(finding, steps, known, times=2 - fresh, fresh=fresh))

    def _goes_wrong_again(self, finding: Finding, known: set[str], seconds: float) -> bool:
        self._end = min(time.monotonic() + seconds, self._limit)
        finding.repeatable = False
        with self._for_now():
            finding.repeatable = self._goes_wrong(finding, finding.steps, known, times=1, fresh=True)
        return finding.repeatable

    def _show_first(self) -> None:
        """Take the steps of the first finding again, so that their calls are the last ones in the trace."""
        if self.findings and self._failure is None:
            self._end = time.monotonic() + self._shortening
            with self._for_now():
                self._goes_wrong(self.findings[0], self.findings[0].steps, set(), times=1, fresh=True)

    @contextmanager
    def _for_now(self) -> Iterator[None]:
        """What ends in the block ends only there, unless the device is lost."""
        with suppress(_Ended, TransportError, DeviceError, Broken):
            yield
        self._ended = self._failure is not None

    def _goes_wrong(
        self, finding: Finding, steps: list[Step], known: set[str], times: int, *, fresh: bool = False
    ) -> bool:
        """Whether walks of these steps fail, every time, and not in a known way; then this is the finding."""
        for _ in range(times):
            if fresh:
                self._start_again()
            walk = self._new_walk()
            for count, step in enumerate(steps, 1):
                self._in_time()
                if lines := self._take(walk, step):
                    wrong = Finding(steps[:count], lines, finding.seed, latest_call())
                    break
            else:
                return False
            if wrong.kind in known:
                return False
        finding.steps, finding.lines, finding.call = wrong.steps, wrong.lines, wrong.call
        return True

    def _start_again(self) -> None:
        """Start with a fresh device, if a server can be started for it."""
        self._end_walk()
        device = self._session.profile.device
        if isinstance(device, VfioUserDevice) and device.command:
            for transport in self._session.transports:
                transport.shutdown()
            self._session.lost = True

    def _in_time(self) -> None:
        if time.monotonic() > self._end:
            raise self._end_it()
        self._report(self.tally.steps)

    def _end_it(self) -> _Ended:
        self._ended = True
        return _Ended()

    def _fail(self, error: TransportError | DeviceError | Broken) -> _Ended:
        self._failure = error
        return self._end_it()
