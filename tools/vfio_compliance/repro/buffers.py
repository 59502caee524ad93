# SPDX-License-Identifier: GPL-2.0-only
"""Finds in a row of steps where a state is saved or given back buffer by buffer, and makes one step of it.

The registers are known by the names that a journal has for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from ..results.registers import Registers
from .fault import Fault, Simple, Unlike
from .steps import Copied, Load, Read, Save, Step, Write

S = TypeVar("S", bound=Step)

_PENDING, _OFFSET, _SIZE = "pending_bytes", "data_offset", "data_size"

#: Buffers from which on it is worth a helper's name.
_WORTH: Final = 1


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of the steps that read a buffer: its number in the step that has taken their place."""

    save: int
    buffer: int
    #: Where in the buffer the bytes of the step begin.
    start: int


class Buffers:
    """The steps of a program, with those of whole buffers put together."""

    def __init__(self, steps: Sequence[Step], fault: Fault, registers: Registers) -> None:
        self._steps = list(steps)
        self._registers = registers
        self._kept = set(fault.steps)
        self._at = 0
        self._moved: dict[int, _Taken] = {}
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._whole: dict[int, bool] = {}
        self.fault = fault

    def together(self) -> list[Step]:
        """The steps; ``fault`` speaks of them afterwards."""
        done: list[Step] = []
        while self._at < len(self._steps):
            step = self._save() or self._load() or self._one()
            done.append(step)
        self.fault = replace(self.fault, looks=tuple(map(self._renamed, self.fault.looks)))
        return done

    def _one(self) -> Step:
        step = self._steps[self._at]
        self._at += 1
        if isinstance(step, Write):
            return replace(
                step, data=tuple(self._from(each) if isinstance(each, Copied) else each for each in step.data)
            )
        return step

    # -- saving -----------------------------------------------------------------------------------------------------

    def _save(self) -> Save | None:
        """Buffers from here on, each asked for by pending_bytes."""
        first, buffers, sizes, reads = self._steps[self._at], list[list[Read]](), list[int](), 1
        at = self._at
        while (found := self._buffer(at)) is not None:
            asked, parts, size, at = found
            if asked != reads and buffers:
                break
            reads = asked
            buffers.append(parts)
            sizes.append(size)
            self._at = at
        if not isinstance(first, Read) or len(buffers) < _WORTH:
            return None
        end = self._register(self._at)
        last = self._steps[self._at] if self._at < len(self._steps) else None
        whole = end == _PENDING and last is not None and not last.was.number and last.id not in self._kept
        if whole and last and last.device == first.device:
            self._at += 1
        for number, parts in enumerate(buffers):
            start = 0
            for part in parts:
                self._moved[part.id] = _Taken(first.id, number, start)
                start += part.was.value
        self._sizes[first.id], self._whole[first.id] = tuple(sizes), whole
        return Save(
            first.id, first.device, first.was, first.region, None if whole else len(buffers), reads, tuple(sizes)
        )

    def _buffer(self, at: int) -> tuple[int, list[Read], int, int] | None:
        """How often it was asked whether there is one, its pieces, its size, and where the next begins."""
        steps, reads = self._steps, 0
        while self._register(at) == _PENDING and steps[at].was.number:
            reads += steps[at].was.times
            at += 1
        if not reads or self._register(at) != _OFFSET or self._register(at + 1) != _SIZE:
            return None
        place, size = steps[at], steps[at + 1].was.number
        if place.was.times > 1 or steps[at + 1].was.times > 1:
            return None
        at, done, parts = at + 2, 0, list[Read]()
        while done < size and at < len(steps):
            part = steps[at]
            if not isinstance(part, Read) or part.offset.of != place.id or part.offset.plus != done or not part.whole:
                return None
            if part.was.times > 1:
                return None
            parts.append(part)
            done += part.was.value
            at += 1
        return (reads, parts, size, at) if done == size and size else None

    # -- resuming ---------------------------------------------------------------------------------------------------

    def _load(self) -> Load | None:
        """Buffers from here on that one step saved, one after the other."""
        first, number, start, at = self._steps[self._at], 0, -1, self._at
        source = 0
        while (found := self._given(at)) is not None:
            taken, at_next = found
            if start < 0:
                source, start = taken.save, taken.buffer
            elif (taken.save, taken.buffer) != (source, start + number):
                break
            number, at = number + 1, at_next
            self._at = at
        if start < 0 or not isinstance(first, Read):
            return None
        whole = self._whole[source] and start == 0 and number == len(self._sizes[source])
        return Load(first.id, first.device, first.was, first.region, source, start, None if whole else number)

    def _given(self, at: int) -> tuple[_Taken, int] | None:
        """A whole buffer that is given to the device as it was saved, and where the next step is."""
        steps = self._steps
        if self._register(at) != _OFFSET:
            return None
        place, done, taken = steps[at], 0, None
        at += 1
        while at < len(steps):
            step = steps[at]
            if not isinstance(step, Write) or step.offset.of != place.id or step.offset.plus != done:
                break
            (piece, *more) = step.data or (b"",)
            if more or not isinstance(piece, Copied) or piece.of not in self._moved or not step.whole:
                return None
            now = self._moved[piece.of]
            if now.start + piece.start != done or (taken and (now.save, now.buffer) != (taken.save, taken.buffer)):
                return None
            taken, done, at = now, done + step.length, at + 1
        if taken is None or self._register(at) != _SIZE or done != self._sizes[taken.save][taken.buffer]:
            return None
        told = steps[at]
        if not isinstance(told, Write) or told.id in self._kept or not told.whole:
            return None
        return (taken, at + 1) if told.data == (done.to_bytes(8, "little"),) else None

    # -- names ------------------------------------------------------------------------------------------------------

    def _register(self, at: int) -> str:
        """The name of the register that a step reads or writes whole, unless its answer is looked at."""
        step = self._steps[at] if at < len(self._steps) else None
        if not isinstance(step, (Read, Write)) or step.offset.of or step.id in self._kept:
            return ""
        if isinstance(step, Read) and not step.whole:
            return ""
        length = step.length.plus if isinstance(step, Read) else step.length
        known = self._registers.get(step.region, ())
        return next((each.name for each in known if (each.offset, each.width) == (step.offset.plus, length)), "")

    def _from(self, piece: Copied) -> Copied:
        taken = self._moved.get(piece.of)
        return replace(piece, of=taken.save, buffer=taken.buffer, start=taken.start + piece.start) if taken else piece

    def _renamed(self, look: Simple) -> Simple:
        if isinstance(look, Unlike) and (taken := self._moved.get(look.other)):
            return replace(look, other=taken.save, other_buffer=taken.buffer, start=taken.start + look.start)
        return look


def put_together(steps: Sequence[Step], fault: Fault, registers: Registers) -> tuple[list[Step], Fault]:
    """The steps with whole buffers as one each, and the fault that speaks of them."""
    buffers = Buffers(steps, fault, registers)
    return buffers.together(), buffers.fault


def unused(steps: Sequence[Step], fault: Fault, ids: Collection[int]) -> Iterator[Step]:
    """Of some steps those whose answers nobody needs."""
    used = {each for step in steps for each in step.uses} | set(fault.steps)
    yield from (step for step in steps if step.id in ids and step.id not in used)
