# SPDX-License-Identifier: GPL-2.0-only
"""Finds steps that save or restore a state buffer by buffer, and combines them into one.

The registers are recognised by their names in the journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..results.registers import Registers
from .fault import Fault, NoneRefused, Refused, Simple, TooMuch, Unlike, steps_of
from .steps import Answer, Copied, Load, Open, Read, Reset, Save, Size, Step, Write

_PENDING, _OFFSET, _SIZE = "pending_bytes", "data_offset", "data_size"

#: A buffer in smaller pieces than this was split on purpose, and its pieces stay.
_PIECE: Final = 1 << 20

_WENT_WELL: Final = Answer()


@dataclass(frozen=True, slots=True)
class _Taken:
    """Replaces the steps that read a buffer: its number in the step that has taken their place."""

    save: int
    buffer: int
    #: The start of the step's bytes in the buffer.
    start: int
    #: Whether these are all of the buffer's bytes.
    whole: bool


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A buffer that is read: how often pending_bytes was read, its pieces, its size, the step after it."""

    reads: int
    parts: list[Read]
    size: int
    behind: int


class Buffers:
    """The steps of a program, with those of whole buffers combined."""

    def __init__(self, steps: Sequence[Step], fault: Fault, registers: Registers) -> None:
        self._steps = list(steps)
        self._registers = registers
        #: Steps that have to stay separate: their answers are looked at.
        self._kept = {each for look in (*fault.looks, *fault.given) for each in _deciding(look)}
        self._refused = {look.step for look in fault.looks if isinstance(look, Refused)}
        self._users: defaultdict[int, set[int]] = defaultdict(set)
        for step in steps:
            for used in step.uses:
                self._users[used].add(step.id)
        self._at = 0
        self._moved: dict[int, _Taken] = {}
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._whole: dict[int, bool] = {}
        self._loads: dict[int, int] = {}
        #: Steps that saved nothing, but may give data on another device: that is loaded with the rest.
        self._empty: list[Save] = []
        self._resuming = self._saving = False
        self.fault = fault

    def together(self) -> list[Step]:
        """The steps; ``fault`` refers to them afterwards."""
        done: list[Step] = []
        while self._at < len(self._steps):
            done += self._next()
        looks = tuple(map(self._renamed, self.fault.looks))
        self.fault = replace(self.fault, looks=looks)
        return done

    def _next(self) -> list[Step]:
        """The next step, with the steps that are added before or after it."""
        step = self._steps[self._at]
        if isinstance(step, (Reset, Open)):
            self._empty = [each for each in self._empty if each.device != step.device]
        if saved := self._save():
            self._empty += [saved] if not saved.sizes else []
            return [saved]
        if loaded := self._load():
            self._resuming = False
            behind = [] if loaded.id in self._loads.values() else self._load_empty(loaded, loaded.of)
            return [loaded, *behind]
        before: list[Step] = []
        if self._resuming and isinstance(step, Write) and self._state_of(step):
            before = [*self._load_empty(step, 0)]
        if isinstance(step, Write) and (state := self._state_of(step)):
            self._resuming, self._saving = state == "resuming", state in ("pre-copy", "stop-and-copy")
        return [*before, self._one()]

    def _load_empty(self, step: Write | Load, after: int) -> list[Load]:
        """Loads for states of which the recorded device gave nothing."""
        those, self._empty = [each for each in self._empty if each.id > after], []
        return [Load(-each.id, step.device, _WENT_WELL, step.region, each.mapped, each.id, 0, None) for each in those]

    def _state_of(self, step: Write) -> str:
        """The state that a write asks for, if any."""
        for each in self._registers.get(step.region, ()):
            if each.name == "device_state" and (each.offset, each.width) == (step.offset.plus, step.length):
                (data, *_) = step.data
                return each.values.get(int.from_bytes(data, "little"), "another") if isinstance(data, bytes) else ""
        return ""

    def _one(self) -> Step:
        step = self._steps[self._at]
        self._at += 1
        if not isinstance(step, Write):
            return step
        data = tuple(self._from(each) if isinstance(each, Copied) else each for each in step.data)
        number = step.number
        if number and (taken := self._moved.get(number.of)):
            number = Size(taken.save, taken.buffer) if taken.whole else None
        return replace(step, data=data, number=number)

    # -- saving -----------------------------------------------------------------------------------------------------

    def _save(self) -> Save | None:
        """Buffers from here on, each after a read of pending_bytes."""
        first, at, buffers = self._steps[self._at], self._at, list[_Buffer]()
        while (found := self._buffer(at)) is not None and (not buffers or _alike(found, buffers[0])):
            buffers.append(found)
            at = found.behind
        ended = self._register(at) == _PENDING and not self._steps[at].was.number
        nothing = ended and self._saving and not self._continues(at)
        if not isinstance(first, Read) or not (buffers or nothing):
            return None
        self._saving = self._saving and not ended
        self._at = at + ended
        for number, buffer in enumerate(buffers):
            start = 0
            for part in buffer.parts:
                self._moved[part.id] = _Taken(first.id, number, start, part.was.value == buffer.size)
                start += part.was.value
        sizes = tuple(buffer.size for buffer in buffers)
        self._sizes[first.id], self._whole[first.id] = sizes, ended
        mapped, reads = bool(buffers and buffers[0].parts[0].mapped), buffers[0].reads if buffers else 1
        endless = {look.step for look in self.fault.looks if isinstance(look, TooMuch)}
        ended = ended or any(part.id in endless for buffer in buffers for part in buffer.parts)
        many = None if ended else len(buffers)
        return Save(first.id, first.device, _WENT_WELL, first.region, mapped, many, reads, sizes)

    def _continues(self, at: int) -> bool:
        """Whether a buffer is nevertheless asked for in this state."""
        for place in range(at, len(self._steps)):
            step = self._steps[place]
            if isinstance(step, (Reset, Open, Write)):
                return False
            if self._register(place, even_kept=True) in (_OFFSET, _SIZE):
                return True
        return False

    def _buffer(self, at: int) -> _Buffer | None:
        steps, reads = self._steps, 0
        while self._register(at) == _PENDING and steps[at].was.number:
            reads += steps[at].was.times
            at += 1
        if not reads or self._register(at) != _OFFSET or self._register(at + 1) != _SIZE:
            return None
        place, size = steps[at], steps[at + 1].was.number
        asked = {place.id, steps[at + 1].id}
        at, done, parts = at + 2, 0, list[Read]()
        while done < size and at < len(steps):
            part = steps[at]
            if not isinstance(part, Read) or part.offset.of != place.id or part.offset.plus != done or not part.whole:
                return None
            if part.was.times > 1 or part.id in self._kept:
                return None
            if done + part.was.value < size and part.was.value < _PIECE:
                return None
            parts.append(part)
            done += part.was.value
            at += 1
        mine = asked | {part.id for part in parts}
        if done != size or not size or any(self._users[each] - mine for each in asked):
            return None
        return _Buffer(reads, parts, size, at)

    # -- resuming ---------------------------------------------------------------------------------------------------

    def _load(self) -> Load | None:
        """Buffers from here on that one step saved, one after the other."""
        first, number, at = self._steps[self._at], 0, self._at
        begun: _Taken | None = None
        refused = 0
        while not refused and (found := self._given(at)) is not None:
            taken, size = found
            if begun and (taken.save, taken.buffer) != (begun.save, begun.buffer + number):
                break
            begun, number, at = begun or taken, number + 1, self._steps.index(size) + 1
            refused = size.id if size.id in self._refused else 0
        if begun is None or not isinstance(first, Read):
            return None
        self._at = at
        last = begun.buffer + number == len(self._sizes[begun.save])
        whole = self._whole[begun.save] and begun.buffer == 0 and (last or bool(refused))
        given = self._steps[at - 2]
        mapped = isinstance(given, Write) and given.mapped
        if refused:
            self._loads[refused] = first.id
        was = self._steps[at - 1].was if refused else _WENT_WELL
        many = None if whole else number
        return Load(first.id, first.device, was, first.region, mapped, begun.save, begun.buffer, many)

    def _given(self, at: int) -> tuple[_Taken, Write] | None:
        """A whole buffer that is written as it was saved, and the write of data_size after it."""
        steps = self._steps
        if self._register(at) != _OFFSET:
            return None
        place, done, taken = steps[at], 0, None
        mine = {place.id}
        at += 1
        while at < len(steps):
            step = steps[at]
            if not isinstance(step, Write) or step.offset.of != place.id or step.offset.plus != done:
                break
            if step.was.times > 1:
                return None
            (piece, *more) = step.data or (b"",)
            if more or not isinstance(piece, Copied) or piece.of not in self._moved or not step.whole:
                return None
            now = self._moved[piece.of]
            if now.start + piece.start != done or (taken and (now.save, now.buffer) != (taken.save, taken.buffer)):
                return None
            if done + step.length < self._sizes[now.save][now.buffer] and step.length < _PIECE:
                return None
            mine.add(step.id)
            taken, done, at = now, done + step.length, at + 1
        size = steps[at] if at < len(steps) else None
        if taken is None or not isinstance(size, Write) or done != self._sizes[taken.save][taken.buffer]:
            return None
        deciding = size.id in self._refused
        if self._register(at, deciding) != _SIZE or not (size.whole or deciding) or self._users[place.id] - mine:
            return None
        return (taken, size) if size.data == (done.to_bytes(8, "little"),) else None

    # -- names ------------------------------------------------------------------------------------------------------

    def _register(self, at: int, even_kept: bool = False) -> str:
        """The name of the register that a step reads or writes as a whole, unless its answer is looked at."""
        step = self._steps[at] if at < len(self._steps) else None
        if not isinstance(step, (Read, Write)) or step.offset.of or (step.id in self._kept and not even_kept):
            return ""
        if isinstance(step, Read) and not step.whole:
            return ""
        length = step.length.plus if isinstance(step, Read) else step.length
        if step.was.times > 1 and step.offset.plus != self._offset(step.region, _PENDING):
            return ""
        known = self._registers.get(step.region, ())
        return next((each.name for each in known if (each.offset, each.width) == (step.offset.plus, length)), "")

    def _offset(self, region: int, name: str) -> int:
        return next((each.offset for each in self._registers.get(region, ()) if each.name == name), -1)

    def _from(self, piece: Copied) -> Copied:
        taken = self._moved.get(piece.of)
        if taken is None:
            return piece
        whole = piece.whole and taken.whole
        return Copied(taken.save, taken.start + piece.start, piece.length, taken.buffer, whole)

    def _renamed(self, look: Simple) -> Simple:
        if isinstance(look, Refused) and look.step in self._loads:
            return Refused(self._loads[look.step])
        if isinstance(look, TooMuch) and (taken := self._moved.get(look.step)):
            return TooMuch(taken.save, look.most)
        if isinstance(look, Unlike) and (taken := self._moved.get(look.other)):
            return Unlike(look.step, taken.save, taken.start + look.start, taken.buffer)
        return look


def _alike(one: _Buffer, other: _Buffer) -> bool:
    return (one.reads, one.parts[0].mapped) == (other.reads, other.parts[0].mapped)


def _deciding(look: Simple) -> list[int]:
    """The steps that have to stay separate."""
    if isinstance(look, (NoneRefused, TooMuch)):
        return []
    return [look.step] if isinstance(look, Unlike) else [*steps_of(look)]


def put_together(steps: Sequence[Step], fault: Fault, registers: Registers) -> tuple[list[Step], Fault]:
    """The steps, with one for each run of whole buffers, and the fault that refers to them."""
    buffers = Buffers(steps, fault, registers)
    return buffers.together(), buffers.fault
