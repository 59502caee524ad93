# SPDX-License-Identifier: GPL-2.0-only
"""The steps of a walk as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import SearchStrategy

from ...run.exploring import Part
from ...uapi.migration_v1 import HEADER_SIZE, REGISTERS
from ..profile import MigrationStimulus
from ..states import STATES, UNWRITABLE
from .shorten import Step

#: Walks of one round, which has its own seed, and steps of a walk.
_WALKS: Final = 20
_STEPS: Final = 40

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
_no_state = strategies.sampled_from(UNWRITABLE)
_state = strategies.sampled_from(STATES)
_odd = strategies.sampled_from([place for place in _ODD_PLACES if place[0] in _STARTS]) | strategies.sampled_from(
    _ODD_PLACES
)
_place = strategies.integers(0, 3)
_few = strategies.integers(0, 3)
_near = strategies.integers(0, 4)
_pieces = strategies.integers(1, 5)
_reads = strategies.integers(1, 3)
_length = strategies.sampled_from([1, 2, 4, 8, 3, 16, 100, 4096])
_data = strategies.binary(min_size=1, max_size=16)


#: Begins a walk, and returns what takes a step of it.
Begin = Callable[[], Callable[[Step], None]]


def draw(
    number: int, begin: Begin, stimulus: MigrationStimulus, parts: Sequence[type[Part]], two_devices: bool
) -> None:
    """One round of walks, all from the seed ``number``. What is raised while a step is taken ends it."""
    added = {  # each of them twice, since they are few beside those of the device
        f"{verb}{another}": _step(verb, **{key: strategies.sampled_from(values) for key, values in arguments.items()})
        for part in parts
        for verb, arguments in part.steps.items()
        for another in ("", "_another")
    }
    held = {"begin": staticmethod(begin), "stimulus": stimulus}
    machine = type("Device", (_Machine,), {**held, **added, **({"send": _SEND} if two_devices else {})})
    seed(number)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=_WALKS,
            stateful_step_count=_STEPS,
            deadline=None,  # a device takes the time that it takes; the supervisor watches
            database=None,  # a seed says it all, and nothing is to be left in the checkout
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),  # slow devices are no fault of the strategy
            verbosity=Verbosity.quiet,
        ),
    )


def _step(verb: str, **arguments: SearchStrategy[Any]) -> Any:
    """A rule that takes the step ``verb`` of a walk."""

    def taken(machine: _Machine, **drawn: Any) -> None:
        machine.take(verb, drawn)

    taken.__name__ = verb
    made: Any = rule
    return made(**arguments)(taken)


_SEND: Final = _step("send", which=_choice, back=strategies.integers(0, 1))


def _where(ability: str, step: Any) -> Any:
    """The rule only if the profile says how."""
    return precondition(lambda machine: getattr(machine.stimulus, ability) is not None)(step)


class _Machine(RuleBasedStateMachine):
    """The steps. The last one is a reset: a walk answers for what it leaves behind."""

    begin: Begin
    stimulus: MigrationStimulus

    def __init__(self) -> None:
        super().__init__()
        self._take = self.begin()
        self._over = False

    def take(self, verb: str, arguments: dict[str, Any]) -> None:
        """Take a step, and note when it was the last."""
        try:
            self._take((verb, arguments))
        except BaseException:
            self._over = True
            raise

    def teardown(self) -> None:
        if not self._over:
            self.take("reset", {})

    move = _step("move", choice=_choice)
    enter = _step("enter", state=_state)
    enter_another = _step("enter", state=_state)
    write_state = _step("write_state", value=_states)
    write_no_state = _step("write_state", value=_no_state)
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
    save_rest = _step("save_rest", reads=_reads)
    load_buffer = _step("load_buffer", pieces=_pieces)
    load_rest = _step("load_rest")
    save_whole = _step("save_whole", reads=_reads)
    save_live = _step("save_live", value=_numbers, buffers=_choice)
    save_changed = _where("visible_state", _step("save_changed", value=_numbers))
    leave_saving = _step("leave_saving", buffers=_few, how=_choice)
    leave_resuming = _step("leave_resuming", buffers=_few, how=_choice)
    choose = _step("choose", which=_choice)
    migrate = _step("migrate")

    put = _where("visible_state", _step("put", value=_numbers))
    show = _where("visible_state", _step("show"))
    sample = _where("running", _step("sample"))
    halt = _where("running", _step("halt", choice=_choice))
