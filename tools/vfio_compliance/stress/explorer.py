# SPDX-License-Identifier: GPL-2.0-only
"""Random walks, many of them, and the shortest one that a device does not survive."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from hypothesis import HealthCheck, Phase, Verbosity, configuration, seed, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import SearchStrategy

from ..device import DeviceError
from ..model.states_v1 import STATES, name
from ..session import Broken, Session
from ..transport import CallTimeout, TransportError
from ..uapi.migration_v1 import HEADER_SIZE, REGISTERS
from .path import Line, Strayed
from .walk import Walk

#: Walks of one round, which has a seed of its own, and steps of a walk.
_WALKS: Final = 20
_STEPS: Final = 40

#: Seconds between two events that tell whoever watches that this goes on.
_SIGN_OF_LIFE: Final = 2.0

_NATIVE: Final = {(register.offset, register.width) for register in REGISTERS}
_STARTS: Final = {register.offset for register in REGISTERS}
_ODD_PLACES: Final = sorted(
    {(at, width) for width in (1, 2, 3, 4, 6, 8, 16, 32) for at in range(HEADER_SIZE - width + 1)} - _NATIVE
)

_choice = strategies.integers(0, 2)
_numbers = strategies.sampled_from([0, 1, 2, 0x1000, 1 << 32, 1 << 63, (1 << 64) - 1]) | strategies.integers(
    0, (1 << 64) - 1
)
_states = strategies.integers(0, 7) | strategies.integers(0, (1 << 32) - 1)
_state = strategies.sampled_from(STATES)
_odd = strategies.sampled_from([place for place in _ODD_PLACES if place[0] in _STARTS]) | strategies.sampled_from(
    _ODD_PLACES
)
_place = strategies.integers(0, 3)
_near = strategies.integers(0, 4)
_pieces = strategies.integers(1, 5)
_length = strategies.sampled_from([1, 2, 4, 8, 3, 16, 100, 4096])
_data = strategies.binary(min_size=1, max_size=16)

#: A step that was taken: its verb, and what it was told.
Step: TypeAlias = tuple[str, dict[str, Any]]


@dataclass
class Finding:
    """A walk on which the device left what the text allows, or was lost."""

    steps: list[Step]
    #: All steps, the last one being the one that went wrong.
    lines: list[Line]
    seed: int
    #: A repetition of just these steps went wrong as well.
    repeatable: bool = False


@dataclass
class Tally:
    """What was done."""

    walks: int = 0
    steps: int = 0
    rounds: int = 0
    #: Steps by the state in which they were taken.
    states: dict[str, int] = field(default_factory=dict)


class _Over(BaseException):
    """The time is up; nothing that hypothesis would catch."""


class Explorer:
    """Explores one device for a time. ``tell`` gets a sign of life now and then: steps so far."""

    def __init__(self, session: Session, first_seed: int, tell: Callable[[int], None]) -> None:
        self._session = session
        self._seed = first_seed
        self._tell = tell
        #: What the profile says how to do.
        self.stimulus = session.profile.stimulus
        self.tally = Tally()
        self.finding: Finding | None = None
        self._end = self._next_sign = 0.0
        #: The last walk came to its end, where the device is reset.
        self._clean = False
        #: Why there is nothing more to come.
        self._stopped: BaseException | None = None

    def explore(self, seconds: float, shrinking: float) -> Finding | None:
        """Walk for ``seconds``; what was found first, made as short as ``shrinking`` seconds allow, else None.

        Raises CallTimeout where the device hung, what Session.prepare() raises where it cannot be had, and
        NotApplicable.
        """
        self._end = time.monotonic() + seconds
        self._shrinking = shrinking
        try:
            with tempfile.TemporaryDirectory(prefix="vfio-") as scratch:
                configuration.set_hypothesis_home_dir(Path(scratch))
                while self.finding is None and self._stopped is None:
                    self._round(self._seed + self.tally.rounds)
                    self.tally.rounds += 1
        except _Over:
            pass
        finally:
            configuration.set_hypothesis_home_dir(None)
        if isinstance(self._stopped, CallTimeout):
            raise self._stopped
        if self.finding is not None:
            self._repeat(self.finding)
        return self.finding

    def _round(self, number: int) -> None:
        machine = type("Device", (_Machine,), {"explorer": self})
        seed(number)(machine)
        self._round_seed = number
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=_WALKS,
                    stateful_step_count=_STEPS,
                    deadline=None,  # a device takes the time that it takes; the supervisor watches
                    database=None,  # a seed says it all, and nothing is to be left in the checkout
                    phases=(Phase.generate, Phase.shrink),
                    suppress_health_check=list(HealthCheck),  # slow devices are no fault of the strategy
                    report_multiple_bugs=False,
                    print_blob=False,
                    verbosity=Verbosity.quiet,
                ),
            )
        except Exception:
            # What hypothesis says of a walk that was broken off, or could not be repeated, is of no interest.
            if self._stopped is None and self.finding is None:
                raise

    def begin(self) -> Walk:
        """A new walk."""
        self._in_time()
        self.tally.walks += 1
        self._session.transport.tracer.take()
        try:
            if not self._clean:
                self._session.plain()
            self._clean = False
            migration = self._session.prepare()
        except CallTimeout as error:
            self._stopped = error
            raise _Over from None
        return Walk(self._session.device, migration, self._session.actor)

    def ended(self) -> None:
        """A walk came to its end."""
        self._clean = True

    def step(self, walk: Walk, steps: list[Step], step: Step) -> None:
        """Take one step; a walk that ends by it is remembered if it is the shortest."""
        self._in_time()
        self.tally.steps += 1
        state = name(walk.model.state)
        self.tally.states[state] = self.tally.states.get(state, 0) + 1
        steps.append(step)
        try:
            take(walk, step)
        except Strayed as strayed:
            self._found(steps, strayed.lines)
            raise
        except CallTimeout as error:
            self._found(steps, [*walk.lines, _unanswered(step, error)])
            self._session.lost = True
            self._stopped = error
            raise _Over from None
        except TransportError as error:
            self._session.lost = True
            self._found(steps, [*walk.lines, _unanswered(step, error)])
            raise

    def _found(self, steps: list[Step], lines: list[Line]) -> None:
        if self.finding is None:
            self._end = time.monotonic() + self._shrinking
        if self.finding is None or (len(lines), len(steps)) < (len(self.finding.lines), len(self.finding.steps)):
            self.finding = Finding(list(steps), lines, self._round_seed)

    def _repeat(self, finding: Finding) -> None:
        """Take the shortest path once more, which also leaves its calls in the trace."""
        self._end = time.monotonic() + self._shrinking
        try:
            walk = self.begin()
            for step in finding.steps:
                take(walk, step)
        except Strayed as strayed:
            finding.repeatable = True
            finding.lines = strayed.lines
        except TransportError:
            self._session.lost = finding.repeatable = True
        except (Broken, DeviceError, _Over):
            return  # it does not come back, which whoever needs it next will be told

    def _in_time(self) -> None:
        now = time.monotonic()
        if now > self._end:
            self._stopped = _Over()
            raise self._stopped
        if now > self._next_sign:
            self._next_sign = now + _SIGN_OF_LIFE
            self._tell(self.tally.steps)


def take(walk: Walk, step: Step) -> None:
    """Take one step of a walk."""
    verb, told = step
    getattr(walk, verb)(**told)


def _unanswered(step: Step, error: TransportError) -> Line:
    verb, told = step
    words = [verb.replace("_", " "), *(f"{key}={value}" for key, value in told.items())]
    return Line(" ".join(words), "an answer", error.message)


def _step(verb: str, **told: SearchStrategy[Any]) -> Any:
    """A rule that takes the step ``verb`` of a walk."""

    def taken(machine: _Machine, **drawn: Any) -> None:
        machine.take(verb, drawn)

    taken.__name__ = verb
    made: Any = rule
    return made(**told)(taken)


def _where(ability: str, step: Any) -> Any:
    """The rule only where the profile says how."""
    return precondition(lambda machine: getattr(machine.explorer.stimulus, ability) is not None)(step)


class _Machine(RuleBasedStateMachine):
    """The steps, as hypothesis picks them. The last is a reset: a walk answers for what it leaves behind."""

    explorer: Explorer

    def __init__(self) -> None:
        super().__init__()
        self._walk = self.explorer.begin()
        self._steps: list[Step] = []
        self._over = False

    def take(self, verb: str, told: dict[str, Any]) -> None:
        """Take a step, and note when it was the last."""
        try:
            self.explorer.step(self._walk, self._steps, (verb, told))
        except BaseException:
            self._over = True
            raise

    def teardown(self) -> None:
        if not self._over:
            self.take("reset", {})
            self.explorer.ended()

    move = _step("move", choice=_choice)
    enter = _step("enter", state=_state)
    enter_another = _step("enter", state=_state)
    write_state = _step("write_state", value=_states)
    read_state = _step("read_state")
    reset = _step("reset")
    reopen = _step("reopen")
    fail = _where("error", _step("fail", choice=_choice))

    read_reserved = _step("read_reserved")
    read_pending = _step("read_pending")
    read_offset = _step("read_offset")
    read_size = _step("read_size")
    write_reserved = _step("write_reserved", value=_numbers)
    write_pending = _step("write_pending", value=_numbers)
    write_offset = _step("write_offset", value=_numbers)
    write_size = _step("write_size", value=_numbers)
    read_oddly = _step("read_oddly", place=_odd)
    write_oddly = _step("write_oddly", place=_odd, value=_numbers)

    peek = _step("peek", place=_place, near=_near, length=_length)
    poke = _step("poke", place=_place, near=_near, data=_data)
    save_buffer = _step("save_buffer", pieces=_pieces)
    read_again = _step("read_again", pieces=_pieces)
    save_rest = _step("save_rest")
    load_buffer = _step("load_buffer", pieces=_pieces)
    load_rest = _step("load_rest")
    save_whole = _step("save_whole")
    migrate = _step("migrate")

    put = _where("visible_state", _step("put", value=_numbers))
    show = _where("visible_state", _step("show"))
    sample = _where("running", _step("sample"))
    halt = _where("running", _step("halt", choice=_choice))
