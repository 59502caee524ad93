# SPDX-License-Identifier: GPL-2.0-only
"""Shortens a program: it finds, by trying on the device, which steps the fault does not need.

What the deciding answer is judged by is never left out, even if the fault still seems to show without it: a driver that
refuses data breaks a rule while it resumes, and keeps it at any other time. So the states that a device goes through
after its last reset, the data that it moves and the memory that is mapped for it stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from ..run.shorten import fewer
from .fault import Bits, Fault, Like, NoneRefused, Refused, Simple, TooMuch, Unlike, Wrong
from .live import SHOWS
from .program import Program
from .steps import Close, Dirty, Interrupt, Look, MapMemory, Open, Pause, Read, Request, Reset, Save, Step, Unmap, Write

#: How often a fault has to show, and in how many tries.
TWICE: Final = 2
TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """The effort for one program."""

    seconds: float = 10.0
    tries: int = 400


@dataclass(frozen=True, slots=True)
class Minimised:
    """The shortened program, and how often the recorded one showed the fault."""

    program: Program
    shown: int
    tried: int

    @property
    def reproducible(self) -> bool:
        """Whether the fault showed often enough to be reported."""
        return self.shown >= TWICE


def minimise(program: Program, play: Callable[[Program], int], limits: Limits = Limits()) -> Minimised:
    """The shortest program found within ``limits`` that shows the fault; ``play`` tries one on the device."""
    shown = tried = 0
    while tried < TRIES and shown < TWICE and shown + TRIES - tried >= TWICE:
        tried += 1
        shown += play(program) == SHOWS
    if shown < TWICE:
        return Minimised(program, shown, tried)
    return Minimised(_Minimiser(play, limits).shorten(program), shown, tried)


class _Minimiser:
    def __init__(self, play: Callable[[Program], int], limits: Limits) -> None:
        self._play = play
        self._left = limits.tries
        self._end = monotonic() + limits.seconds

    def shorten(self, program: Program) -> Program:
        """One kind of step after another, the largest cuts first."""
        program = self._fewer_parts(program)
        program = self._one_look(program)
        program = self._without(program, [step.id for step in program.steps if _is_noise(step, program)])
        program = self._without(program, [step.id for step in program.steps if _is_stimulus(step, program)])
        return self._plain(program)

    def _shows(self, program: Program) -> bool:
        """Whether it shows the fault; False once there is no time left to try."""
        if self._left <= 0 or monotonic() > self._end or not _is_whole(program):
            return False
        self._left -= 1
        return self._play(program) == SHOWS

    def _without(self, program: Program, ids: list[int]) -> Program:
        """As few of these steps as possible."""
        if not ids:
            return program
        if self._shows(none := _only(program, ids, [])):
            return none
        return _only(program, ids, fewer(ids, lambda kept: self._shows(_only(program, ids, kept))))

    def _fewer_parts(self, program: Program) -> Program:
        """Without what was done before the last reset, unless something later depends on it."""
        parts = _parts(program)
        needed = _needed(parts, program)
        others = [number for number in range(len(parts)) if number not in needed]

        def having(kept: Collection[int]) -> Program:
            steps = (step for number, part in enumerate(parts) if number in needed or number in kept for step in part)
            return replace(program, steps=tuple(steps))

        if not others or self._shows(having([])):
            return having([])
        return having(fewer(others, lambda kept: self._shows(having(kept))))

    def _one_look(self, program: Program) -> Program:
        """One of several conditions is enough."""
        fault = program.fault
        for look in fault.looks if len(fault.looks) > 1 else ():
            one = replace(program, fault=replace(fault, looks=(look,)))
            if self._shows(one):
                return one
        return program

    def _plain(self, program: Program) -> Program:
        """Steps that were repeated, only once."""
        steps = [*program.steps]
        for at, step in enumerate(steps):
            for plainer in _plainer(step):
                attempt = replace(program, steps=(*steps[:at], plainer, *steps[at + 1 :]))
                if self._shows(attempt):
                    steps[at], program = plainer, attempt
                    break
        return program


def _plainer(step: Step) -> Iterator[Step]:
    if isinstance(step, Read) and step.was.times > 1:
        yield replace(step, was=replace(step.was, times=1))
    if isinstance(step, Save) and step.reads > 1:
        yield replace(step, reads=1)


def _only(program: Program, ids: Collection[int], kept: Collection[int]) -> Program:
    """Without those of ``ids`` that are not kept, and without a second device that is no longer used."""
    steps = [step for step in program.steps if step.id not in ids or step.id in kept]
    if not any(step.device and not isinstance(step, (Open, Close, Reset)) for step in steps):
        steps = [step for step in steps if not step.device]
    return replace(program, steps=tuple(steps))


def _is_whole(program: Program) -> bool:
    """Whether each step comes after those whose answers it uses, and all the judged answers are there."""
    known: set[int] = set()
    for step in program.steps:
        if not known.issuperset(step.uses):
            return False
        known.add(step.id)
    return known.issuperset(program.fault.steps)


def _parts(program: Program) -> list[tuple[Step, ...]]:
    """The steps in parts, each of which begins by resetting or opening the device.

    A container's state, its mappings and its tracking, outlives a reset.
    """
    steps = program.steps
    of_container = any(isinstance(step, (Dirty, Unmap, MapMemory, Request)) for step in _looked_at(program))
    begins = (Open,) if of_container else (Open, Reset)
    starts = [at for at, step in enumerate(steps) if isinstance(step, begins) and not step.device]
    pairs = zip([0, *starts], [*starts, len(steps)], strict=True)
    return [steps[first:end] for first, end in pairs if first < end]


def _lasts(part: Sequence[Step]) -> bool:
    """Whether a part leaves something that a reset does not end: memory, tracking, an interrupt."""
    mapped = {step.iova for step in part if isinstance(step, MapMemory)}
    left = mapped - {step.iova for step in part if isinstance(step, Unmap)}
    return bool(left) or any(isinstance(step, (Dirty, Interrupt)) for step in part)


def _looked_at(program: Program) -> Iterator[Step]:
    looked = set(program.fault.steps)
    yield from (step for step in program.steps if step.id in looked)


def _needed(parts: Sequence[Sequence[Step]], program: Program) -> set[int]:
    """The numbers of the parts in which the fault is looked for, and of those that provide their data."""
    wanted, needed = set(program.fault.steps), set[int]()
    about_memory = _is_about_memory(program.fault)
    for number in range(len(parts) - 1, -1, -1):
        part = parts[number]
        if any(step.id in wanted for step in part) or (about_memory and _lasts(part)):
            needed.add(number)
            wanted |= {used for step in parts[number] for used in step.uses}
    return needed


# -- what may be left out -------------------------------------------------------------------------------------------


def _used(program: Program) -> set[int]:
    return {used for step in program.steps for used in step.uses} | set(program.fault.steps)


def _is_noise(step: Step, program: Program) -> bool:
    """Whether a step only looks, and its answer is not needed."""
    if step.id in _used(program):
        return False
    if isinstance(step, Pause):
        return True
    if isinstance(step, Look):
        return not _is_about_memory(program.fault)
    return isinstance(step, Read) and not _is_protocol(step, program)


def _is_protocol(step: Read, program: Program) -> bool:
    """Whether a read is a step of moving data, in the middle of which the fault shows."""
    known = program.registers.get(step.region, ())
    if not known or step.mapped:
        return False
    name = next((each.name for each in known if each.offset == step.offset.plus and not step.offset.of), "")
    if name in ("device_state", "reserved"):
        return False
    later = program.steps[program.steps.index(step) + 1 :]
    for each in later:
        if isinstance(each, (Reset, Open, Close)) and each.device == step.device:
            return False
        if isinstance(each, Write) and each.device == step.device and _is_state(each, program):
            return False
        if each.device == step.device and each.id in set(program.fault.steps):
            return True
    return False


def _is_state(step: Write, program: Program) -> bool:
    known = program.registers.get(step.region, ())
    return any(each.name == "device_state" and each.offset == step.offset.plus for each in known)


def _is_stimulus(step: Step, program: Program) -> bool:
    """Whether a write to one of the device's own registers may be left out: no judged answer depends on it.

    A write that makes the device fail or refuse counts, too: an answer that is wrong after it is right without it.
    """
    if not isinstance(step, Write) or program.registers.get(step.region) or _is_about_memory(program.fault):
        return False
    if not all(
        isinstance(look, (Refused, TooMuch, Unlike)) or _is_as_written(look, program) for look in program.fault.looks
    ):
        return False
    return (step.region, step.offset) not in {*_places(program)}


def _is_as_written(look: Simple, program: Program) -> bool:
    """Whether one of the device's own registers should hold what was written there before."""
    if not isinstance(look, Wrong) or look.place.name or look.place.in_time:
        return False
    read = next((step for step in program.steps if step.id == look.place.step), None)
    if not isinstance(read, Read):
        return False
    there = [step for step in program.steps if isinstance(step, Write) and step.region == read.region]
    written = [step.data[0] for step in there if step.offset == read.offset]
    return {int.from_bytes(each, "little") for each in written if isinstance(each, bytes)}.issuperset(look.allowed)


def _places(program: Program) -> Iterator[object]:
    """The places of the registers that are looked at in the end."""
    looked = set(program.fault.steps)
    for step in program.steps:
        if isinstance(step, Read) and step.id in looked:
            yield step.region, step.offset


def _is_about_memory(fault: Fault) -> bool:
    """Whether it is about what the device does by itself: then whatever made it do so is needed."""
    return any(isinstance(look, (Bits, Like, NoneRefused)) or _watches(look) for look in fault.looks)


def _watches(look: Simple) -> bool:
    return isinstance(look, Unlike) and look.step == look.other
