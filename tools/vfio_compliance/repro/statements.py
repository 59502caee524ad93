# SPDX-License-Identifier: GPL-2.0-only
"""The body of a program, statement by statement, in what C and Python have in common: calls of helpers.

The helpers have the same names and arguments in both languages; what they do stands in ``preludes``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..common.registers import Register
from ..results.calls import request_name
from .fault import AsSeen, Bits, Gone, Like, NoneRefused, Place, Refused, SameData, Simple, Taken, Unlike, Wrong
from .program import Program
from .steps import (
    Close,
    Copied,
    CountInterrupt,
    Dirty,
    File,
    Filled,
    Interrupt,
    Load,
    Look,
    Map,
    MapMemory,
    Number,
    Open,
    Pause,
    Read,
    Request,
    Reset,
    Save,
    Step,
    Unmap,
    Write,
)

_NAMES = ("device", "second")

#: Milliseconds for which something is watched that may change.
_WATCH = 200

#: Runs of bits that a check looks at.
_MOST_RUNS = 4

_DIRTY = "VFIO_IOMMU_DIRTY_PAGES_FLAG_"
_DIRTY_FLAGS = {1: f"{_DIRTY}START", 2: f"{_DIRTY}STOP", 4: f"{_DIRTY}GET_BITMAP"}
_GET_DIRTY_BITMAP = "VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP"
_READ, _WRITE = "VFIO_DMA_MAP_FLAG_READ", "VFIO_DMA_MAP_FLAG_WRITE"
_MAP_FLAGS = {1: _READ, 2: _WRITE, 3: f"{_READ} | {_WRITE}"}


@dataclass(frozen=True)
class Statement:
    """A call of a helper: ``name = how(function(arguments), what)``."""

    function: str
    arguments: tuple[str, ...]
    #: What gets the answer; nothing where nobody needs it.
    name: str = ""
    #: What is said where it does not go as it is to.
    what: str = ""
    #: It has to go well; it went well when it was recorded; it failed then.
    how: str = ""
    times: int = 1
    #: Milliseconds for which it is watched.
    watch: int = 0
    comment: str = ""
    #: What the answer is: an answer, saved buffers, a device, data that is put together.
    kind: str = "answer"


@dataclass(frozen=True)
class Check:
    """A line that tells whether the fault shows."""

    #: Alternatives, by any of which it does: words of a condition.
    shows: str
    what: str
    expected: str
    seen: str


class Body:
    """The statements of a program, and its checks."""

    def __init__(self, program: Program) -> None:
        self._program = program
        fault = program.fault
        self._used = {each for step in program.steps for each in step.uses}
        self._used |= {each for look in (*fault.looks, *fault.given) for each in _of(look, others=True)}
        self._deciding = {each for look in (*fault.looks, *fault.given) for each in _of(look)}
        self._open_from = next((look.first for look in fault.looks if isinstance(look, NoneRefused)), None)
        self._counts: Counter[str] = Counter()
        self._done: set[tuple[str, ...]] = set()
        self._called: dict[int, str] = {}
        self._steps = {step.id: step for step in program.steps}
        self.statements = [each for step in program.steps for each in self._step(step)]
        if not self.statements or self.statements[0].kind != "device":
            self.statements.insert(0, Statement("opened", ("1",), "device", kind="device"))

    @property
    def an_error_is_right(self) -> bool:
        """Whether any call that fails is what is expected."""
        return self._open_from is not None

    # -- steps ------------------------------------------------------------------------------------------------------

    def _step(self, step: Step) -> Iterator[Statement]:
        device, comment = _NAMES[step.device], ""
        times, watch = step.was.times, 0
        if self._watched(step.id):
            times, watch = 1, _WATCH
        if isinstance(step, Open):
            number = _NAMES.index(device) + 1
            yield Statement("opened", (str(number),), device, kind="device")
            return
        if isinstance(step, Pause):
            yield Statement("pause_for", (str(step.milliseconds),), kind="nothing")
            return
        function, arguments, what, name = self._call(step, device)
        if isinstance(step, Write):
            yield from self._put_together(step)
        kind = "saved" if isinstance(step, Save) else "answer"
        how = "" if kind == "saved" or watch else self._how(step, (function, *arguments))
        called = self._name(step, name) if step.id in self._used else ""
        if step.id in self._deciding:
            comment = f"call {step.id} of the run"
        yield Statement(function, arguments, called, what if how else "", how, times, watch, comment, kind)

    def _watched(self, id_: int) -> bool:
        """Whether an answer is asked for again and again, to see whether it changes."""
        looks = self._program.fault.looks
        waits = any(isinstance(look, Wrong) and look.place.in_time and look.place.step == id_ for look in looks)
        return waits or any(isinstance(look, (Like, Unlike)) and look.step == look.other == id_ for look in looks)

    def _how(self, step: Step, call: tuple[str, ...]) -> str:
        """How a step has to go, for the fault to be shown or ruled out."""
        if step.id in self._deciding:
            return ""
        if self.an_error_is_right:
            return "no_error"
        again = call in self._done
        self._done.add(call)
        if not step.whole:
            return "refused"
        if isinstance(step, Load):
            return "must" if step.buffers is None else "taken"
        judged = isinstance(step, (Read, Write)) and self._program.registers.get(step.region)
        if isinstance(step, Read) and self._register(step.region, step.offset, step.length):
            judged = False
        return "taken" if judged or again or isinstance(step, (Dirty, Unmap, Request, Look)) else "must"

    def _call(self, step: Step, device: str) -> tuple[str, tuple[str, ...], str, str]:
        """Function, arguments, what it does in words, and a name for its answer."""
        match step:
            case Close():
                return "close_device", (device,), "closing the device", "closed"
            case Reset():
                return "reset", (device,), "the reset", "reset_answer"
            case Read():
                return self._read(step, device)
            case Write():
                return self._write(step, device)
            case Map():
                place = (self._region(step.region), hex(step.offset), hex(step.length))
                return "map_region", (device, *place), "mapping the region", "mapping"
            case Save():
                many = "ALL" if step.buffers is None else str(step.buffers)
                function = "save_mapped" if step.mapped else "save"
                return function, (device, self._region(step.region), many, str(step.reads)), "saving", "saved"
            case Load():
                many = "ALL" if step.buffers is None else str(step.buffers)
                source = self._called[step.of]
                function = "load_mapped" if step.mapped else "load"
                arguments = (device, self._region(step.region), source, str(step.first), many)
                return function, arguments, "giving it the state", "loaded"
            case MapMemory():
                flags = _MAP_FLAGS.get(step.flags, hex(step.flags))
                return "map_memory", (device, hex(step.iova), hex(step.size), flags), "mapping memory", "mapped"
            case Unmap():
                return self._unmap(step, device)
            case Dirty():
                return self._dirty(step, device)
            case Look():
                place = (device, hex(step.iova), hex(step.length))
                if step.before:
                    return "changed", (*place, self._called[step.before]), "a change of memory", "memory"
                return "look", place, "looking at memory", "memory"
            case Interrupt():
                return "enable_interrupt", (device, str(step.index), str(step.vector)), "the interrupt", "enabled"
            case CountInterrupt():
                return "count_interrupt", (device, str(step.index), str(step.vector)), "the interrupt", "came"
            case File():
                return "write_file", (_quoted(step.path), _quoted((step.text or b"").decode())), step.path, "written"
            case Request():
                name = request_name(step.number)
                if not step.size:
                    return "request_nowhere", (device, name), name, "info"
                return "request", (device, name, _quoted(step.argument.hex())), name, "info"
        raise AssertionError(step)

    def _read(self, step: Read, device: str) -> tuple[str, tuple[str, ...], str, str]:
        region, register = self._region(step.region), self._register(step.region, step.offset, step.length)
        function = "read_mapped" if step.mapped else "read_at"
        if register:
            place = (region, register.name.upper(), str(register.width))
            return function, (device, *place), f"reading {register.name}", register.name
        offset, length = self._number(step.offset), self._number(step.length)
        return function, (device, region, offset, length), f"reading {self._spoken(step.region)}", "data"

    def _write(self, step: Write, device: str) -> tuple[str, tuple[str, ...], str, str]:
        region = self._region(step.region)
        register = self._register(step.region, step.offset, Number(step.length))
        offset = register.name.upper() if register else self._number(step.offset)
        what = f"writing {register.name if register else self._spoken(step.region)}"
        place = (device, region, offset)
        if len(step.data) == 1 and not step.mapped:
            (piece,) = step.data
            if isinstance(piece, Copied):
                return "write_copy", (*place, *self._piece(piece)), what, "written"
            if isinstance(piece, Filled):
                return "write_fill", (*place, hex(piece.byte), str(piece.length)), what, "written"
            if step.number:
                size = f"{self._buffer_of(step.number.of, step.number.buffer)}.size"
                return "write_number", (*place, str(len(piece)), size), what, "written"
            if 0 < len(piece) <= 8:
                value = int.from_bytes(piece, "little")
                words = register.values.get(value) if register else None
                written = constant(words) if words else _shown(value)
                return "write_number", (*place, str(len(piece)), written), what, "written"
            return "write_hex", (*place, _quoted(piece.hex())), what, "written"
        (piece, *more) = step.data
        if isinstance(piece, Copied) and not more:
            return "write_mapped", (*place, f"part({', '.join(self._piece(piece))})"), what, "written"
        return ("write_mapped" if step.mapped else "write_data"), (*place, "data"), what, "written"

    def _put_together(self, step: Write) -> Iterator[Statement]:
        if len(step.data) == 1 and (not step.mapped or isinstance(step.data[0], Copied)):
            return
        yield Statement("no_data", (), "data", kind="data")
        for piece in step.data:
            if isinstance(piece, Copied):
                yield Statement("add_copy", ("data", *self._piece(piece)), kind="add")
            elif isinstance(piece, Filled):
                yield Statement("add_fill", ("data", hex(piece.byte), str(piece.length)), kind="add")
            else:
                yield Statement("add_hex", ("data", _quoted(piece.hex())), kind="add")

    def _dirty(self, step: Dirty, device: str) -> tuple[str, tuple[str, ...], str, str]:
        flags = _DIRTY_FLAGS.get(step.flags, hex(step.flags))
        if not step.memory:
            if step.argsz == 8 and step.flags in _DIRTY_FLAGS:
                return "dirty_pages", (device, flags), "dirty tracking", "tracking"
            return "dirty_request", (device, str(step.argsz), flags, *"00000"), "dirty tracking", "tracking"
        where = (hex(step.iova), hex(step.size), hex(step.pgsize))
        plain = step.argsz == 48 and step.flags == 4 and step.bitmap_size == step.memory
        if plain:
            return "get_bitmap", (device, *where, str(step.memory)), "the bitmap", "bitmap"
        room = (str(step.bitmap_size), str(step.memory))
        return "dirty_request", (device, str(step.argsz), flags, *where, *room), "the bitmap", "bitmap"

    def _unmap(self, step: Unmap, device: str) -> tuple[str, tuple[str, ...], str, str]:
        where = (hex(step.iova), hex(step.size))
        if step.argsz == 24 and not step.flags and not step.memory:
            return "unmap_memory", (device, *where), "unmapping", "unmapped"
        if step.argsz == 48 and step.flags == 1 and step.memory == step.bitmap_size:
            return "unmap_with_bitmap", (device, *where, hex(step.pgsize), str(step.memory)), "unmapping", "unmapped"
        flags = _GET_DIRTY_BITMAP if step.flags == 1 else hex(step.flags)
        rest = (hex(step.pgsize), str(step.bitmap_size), str(step.memory))
        return "unmap_request", (device, str(step.argsz), flags, *where, *rest), "unmapping", "unmapped"

    # -- checks -----------------------------------------------------------------------------------------------------

    @property
    def checks(self) -> Iterator[Check]:
        """What is looked at in the end."""
        fault = self._program.fault
        given = [self._check(look, "", "").shows for look in fault.given]
        for look in fault.looks:
            check = self._check(look, fault.what, fault.expected)
            shows = " AND ".join([*given, f"({check.shows})" if given and " OR " in check.shows else check.shows])
            yield Check(shows, check.what, check.expected, check.seen)

    def _check(self, look: Simple, what: str, expected: str) -> Check:
        match look:
            case Refused(step):
                return Check(f"{self._called[step]}.failed", what, expected, f"told({self._called[step]})")
            case Taken(step):
                return Check(f"{self._called[step]}.value >= 0", what, expected, f"told({self._called[step]})")
            case Gone(step):
                return Check(f"gone({self._called[step]})", what, expected, f"told({self._called[step]})")
            case Wrong(place, allowed):
                number = self._of(place)
                if isinstance(self._steps[place.step], Read) and not place.name and what:
                    what, expected = f"{self._place(place)}, {what}", hex(allowed[0])
                words = " AND ".join(f"{number} != {self._value(place, value)}" for value in allowed)
                return Check(self._came(place, words), what, expected, self._tell(place, number))
            case AsSeen(place, value):
                number = self._of(place)
                words = f"{number} == {self._value(place, value)}"
                return Check(self._came(place, words), what, expected, self._tell(place, number))
            case Unlike(step, other, start, buffer):
                if step == other:
                    name = self._called[step]
                    return Check(f"NOT same({name}_first, {name})", what, expected, f"told_data({name})")
                first = self._buffer_of(other, buffer)
                call = f"differ({self._called[step]}, {first}, {start})"
                return Check(call, what, expected, f"difference({self._called[step]}, {first}, {start})")
            case Like(step, _):
                name = self._called[step]
                return Check(f"same({name}_first, {name})", what, expected, f"told_data({name})")
            case SameData(step, data):
                name = self._called[step]
                return Check(f"is_hex({name}, {_quoted(data.hex())})", what, expected, f"told_data({name})")
            case Bits(step, to_be_set, to_be_clear):
                name = self._called[step]
                wrong = [
                    *(f"NOT {each}" for each in _runs("all_bits", name, to_be_set)),
                    *_runs("any_bit", name, to_be_clear),
                ]
                words = wrong[0] if len(wrong) == 1 else f"({' OR '.join(wrong[:_MOST_RUNS])})"
                return Check(f"{name}.value >= 0 AND {words}", what, expected, f"bits({name})")
            case NoneRefused():
                return Check("TRUE", what, expected, '"no error"')
        raise AssertionError(look)

    def _came(self, place: Place, words: str) -> str:
        return f"NOT {self._called[place.step]}.failed AND " + (f"({words})" if " OR " in words else words)

    def _of(self, place: Place) -> str:
        name = self._called[place.step]
        if isinstance(self._steps[place.step], Unmap) and place.name == "size":
            return f"{name}.unmapped"
        number = f"field({name}, {place.offset}, {place.width})" if place.width else f"{name}.number"
        return f"({number} & {place.mask})" if place.mask else number

    def _value(self, place: Place, value: int) -> str:
        register = self._register_named(place)
        words = register.values.get(value) if register else None
        return constant(words) if words else _shown(value)

    def _tell(self, place: Place, number: str) -> str:
        register = self._register_named(place)
        return f"{register.name}_name({number})" if register and register.values else f"hexadecimal({number})"

    def _place(self, place: Place) -> str:
        step = self._steps[place.step]
        if isinstance(step, Read) and not place.name:
            return f"{self._spoken(step.region)} at {hex(step.offset.plus)}"
        return place.name

    # -- names ------------------------------------------------------------------------------------------------------

    def _name(self, step: Step, name: str) -> str:
        self._counts[name] += 1
        called = name if self._counts[name] == 1 else f"{name}_{self._counts[name]}"
        self._called[step.id] = called
        return called

    def _region(self, region: int) -> str:
        return "MIGRATION" if region == self._program.migration else str(region)

    def _spoken(self, region: int) -> str:
        return "the migration region" if region == self._program.migration else f"region {region}"

    def _register(self, region: int, offset: Number, length: Number) -> Register | None:
        if offset.of or length.of:
            return None
        known = self._program.registers.get(region, ())
        return next((each for each in known if (each.offset, each.width) == (offset.plus, length.plus)), None)

    def _register_named(self, place: Place) -> Register | None:
        known = (each for registers in self._program.registers.values() for each in registers)
        return next((each for each in known if each.name == place.name and not place.width), None)

    def _number(self, number: Number) -> str:
        if not number.of:
            return _shown(number.plus)
        plus = f" + {_shown(number.plus)}" if number.plus else ""
        return f"{self._called[number.of]}.number{plus}"

    def _piece(self, piece: Copied) -> tuple[str, str, str]:
        """What is copied: the buffer, where in it, and how much."""
        buffer = self._buffer_of(piece.of, piece.buffer)
        return buffer, str(piece.start), f"{buffer}.size" if piece.whole else str(piece.length)

    def _buffer_of(self, id_: int, buffer: int) -> str:
        name = self._called[id_]
        return f"buffer_of({name}, {buffer})" if isinstance(self._steps[id_], Save) else name


def _runs(function: str, name: str, bits: Sequence[int]) -> Iterator[str]:
    """A bit by itself, or from a first to a last one."""
    for _, run in groupby(enumerate(bits), key=lambda placed: placed[1] - placed[0]):
        first, *others = (bit for _, bit in run)
        yield f"{function}({name}, {first}, {others[-1]})" if others else f"bit({name}, {first})"


def _of(look: Simple, *, others: bool = False) -> Iterator[int]:
    """The steps that it is about, and with ``others`` those that they are compared with."""
    if isinstance(look, (Wrong, AsSeen)):
        yield look.place.step
    elif not isinstance(look, NoneRefused):
        yield look.step
        if others and isinstance(look, (Unlike, Like)):
            yield look.other


def _shown(value: int) -> str:
    return str(value) if value < 10 else hex(value)


def constant(words: str) -> str:
    return re.sub(r"\W+", "_", words).upper()


def _quoted(text: str) -> str:
    return '"' + re.sub(r'["\\]|[^ -~]', lambda found: f"\\{ord(found[0]):03o}", text) + '"'


def offsets(program: Program) -> dict[str, int]:
    """The names by which the body speaks of registers and their values."""
    found: dict[str, int] = {}
    for registers in program.registers.values():
        for register in registers:
            found[register.name.upper()] = register.offset
    return found


def values(program: Program) -> Iterator[tuple[str, dict[str, int]]]:
    """Each register whose values have names, with those."""
    for registers in [*program.registers.values()][:1]:
        for register in registers:
            if register.values:
                yield register.name, {words: value for value, words in register.values.items()}
