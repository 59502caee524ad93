# SPDX-License-Identifier: GPL-2.0-only
"""The body of a program, statement by statement, in what C and Python have in common: calls of helpers.

The helpers have the same names and arguments in both languages; ``preludes`` has their code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..results.calls import request_name
from .checks import Checks, answers_of
from .fault import Like, NoneRefused, TooMuch, Unlike, Wrong
from .naming import Names, constant, quoted, shown
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

#: Milliseconds for which a value that may change is watched.
_WATCH = 200

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
    #: The variable for the answer; empty if it is not needed.
    name: str = ""
    #: The name of the call in messages about an unexpected result.
    what: str = ""
    #: It has to succeed; it succeeded when it was recorded; it failed then.
    how: str = ""
    times: int = 1
    #: Milliseconds for which its answer is watched.
    watch: int = 0
    comment: str = ""
    #: The kind of result: an answer, saved buffers, a device, combined data.
    kind: str = "answer"


class Body:
    """The statements of a program, and its checks."""

    def __init__(self, program: Program) -> None:
        self._program = program
        fault = program.fault
        self._used = {each for step in program.steps for each in step.uses}
        self._used |= {each for look in (*fault.looks, *fault.given) for each in answers_of(look, others=True)}
        self._deciding = {each for look in (*fault.looks, *fault.given) for each in answers_of(look)}
        self._open_from = next((look.first for look in fault.looks if isinstance(look, NoneRefused)), None)
        self._names = Names(program)
        self._done: set[tuple[str, ...]] = set()
        before = [each for step in program.steps if not program.is_round(step) for each in self._step(step)]
        if not before or before[0].kind != "device":
            before.insert(0, Statement("opened", ("1",), "device", kind="device"))
        #: The repeated part, if the fault does not show each time; the checks are repeated with it.
        self.round = [each for step in program.steps if program.is_round(step) for each in self._step(step)]
        self.statements = before
        for look in fault.looks:
            if isinstance(look, TooMuch):
                self.statements.insert(1, Statement("save_at_most", (str(look.most),), kind="nothing"))
        self.checks = [*Checks(self._names).all]

    @property
    def an_error_is_right(self) -> bool:
        """Whether the failure of any call is expected."""
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
            if self._program.is_round(step):
                yield Statement("pause_up_to", (str(2 * step.milliseconds),), kind="nothing")
            else:
                yield Statement("pause_for", (str(step.milliseconds),), kind="nothing")
            return
        function, arguments, what, name = self._call(step, device)
        if isinstance(step, Write):
            yield from self._put_together(step)
        kind = "saved" if isinstance(step, Save) else "answer"
        how = "" if kind == "saved" or watch else self._how(step, (function, *arguments))
        called = self._names.give(step, name) if step.id in self._used else ""
        if step.id in self._deciding:
            comment = f"call {step.id} of the run"
        readonly = isinstance(step, (Dirty, Unmap)) and step.readonly
        if readonly:
            yield Statement("bitmaps_are_readonly", ("1",), kind="nothing")
        yield Statement(function, arguments, called, what if how else "", how, times, watch, comment, kind)
        if readonly:
            yield Statement("bitmaps_are_readonly", ("0",), kind="nothing")

    def _watched(self, id_: int) -> bool:
        """Whether a call is repeated, to see whether its answer changes."""
        looks = self._program.fault.looks
        waits = any(isinstance(look, Wrong) and look.place.in_time and look.place.step == id_ for look in looks)
        return waits or any(isinstance(look, (Like, Unlike)) and look.step == look.other == id_ for look in looks)

    def _how(self, step: Step, call: tuple[str, ...]) -> str:
        """How a step has to end for the fault to be shown or ruled out."""
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
        if isinstance(step, Read) and self._names.register(step.region, step.offset, step.length):
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
                place = (self._names.region(step.region), hex(step.offset), hex(step.length))
                return "map_region", (device, *place), "mapping the region", "mapping"
            case Save():
                many = "ALL" if step.buffers is None else str(step.buffers)
                function = "save_mapped" if step.mapped else "save"
                return function, (device, self._names.region(step.region), many, str(step.reads)), "saving", "saved"
            case Load():
                many = "ALL" if step.buffers is None else str(step.buffers)
                source = self._names.called[step.of]
                function = "load_mapped" if step.mapped else "load"
                arguments = (device, self._names.region(step.region), source, str(step.first), many)
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
                    return "changed", (*place, self._names.called[step.before]), "a change of memory", "memory"
                return "look", place, "looking at memory", "memory"
            case Interrupt():
                return "enable_interrupt", (device, str(step.index), str(step.vector)), "the interrupt", "enabled"
            case CountInterrupt():
                return "count_interrupt", (device, str(step.index), str(step.vector)), "the interrupt", "came"
            case File():
                return (
                    "write_file",
                    (quoted(step.path), quoted((step.text or b"").decode())),
                    "writing a file",
                    "written",
                )
            case Request():
                name = request_name(step.number)
                if step.place:
                    where = (quoted(step.place), quoted(step.argument.hex()))
                    return "request_bad_pointer", (device, name, *where), name, "info"
                return "request", (device, name, quoted(step.argument.hex())), name, "info"
        raise AssertionError(step)

    def _read(self, step: Read, device: str) -> tuple[str, tuple[str, ...], str, str]:
        region, register = self._names.region(step.region), self._names.register(step.region, step.offset, step.length)
        function = "read_mapped" if step.mapped else "read_at"
        if register:
            place = (region, register.name.upper(), str(register.width))
            return function, (device, *place), f"reading {register.name}", register.name
        offset, length = self._names.number(step.offset), self._names.number(step.length)
        return function, (device, region, offset, length), f"reading {self._names.spoken(step.region)}", "data"

    def _write(self, step: Write, device: str) -> tuple[str, tuple[str, ...], str, str]:
        region = self._names.region(step.region)
        register = self._names.register(step.region, step.offset, Number(step.length))
        offset = register.name.upper() if register else self._names.number(step.offset)
        what = f"writing {register.name if register else self._names.spoken(step.region)}"
        place = (device, region, offset)
        if len(step.data) == 1 and not step.mapped:
            (piece,) = step.data
            if isinstance(piece, Copied):
                return "write_copy", (*place, *self._names.piece(piece)), what, "written"
            if isinstance(piece, Filled):
                return "write_fill", (*place, hex(piece.byte), str(piece.length)), what, "written"
            if step.number:
                size = f"{self._names.buffer_of(step.number.of, step.number.buffer)}.size"
                return "write_number", (*place, str(len(piece)), size), what, "written"
            if 0 < len(piece) <= 8:
                value = int.from_bytes(piece, "little")
                words = register.values.get(value) if register else None
                written = constant(words) if words else shown(value)
                return "write_number", (*place, str(len(piece)), written), what, "written"
            return "write_hex", (*place, quoted(piece.hex())), what, "written"
        (piece, *more) = step.data
        if isinstance(piece, Copied) and not more:
            return "write_mapped", (*place, f"part({', '.join(self._names.piece(piece))})"), what, "written"
        return ("write_mapped" if step.mapped else "write_data"), (*place, "data"), what, "written"

    def _put_together(self, step: Write) -> Iterator[Statement]:
        if len(step.data) == 1 and (not step.mapped or isinstance(step.data[0], Copied)):
            return
        yield Statement("no_data", (), "data", kind="data")
        for piece in step.data:
            if isinstance(piece, Copied):
                yield Statement("add_copy", ("data", *self._names.piece(piece)), kind="add")
            elif isinstance(piece, Filled):
                yield Statement("add_fill", ("data", hex(piece.byte), str(piece.length)), kind="add")
            else:
                yield Statement("add_hex", ("data", quoted(piece.hex())), kind="add")

    def _dirty(self, step: Dirty, device: str) -> tuple[str, tuple[str, ...], str, str]:
        flags = _DIRTY_FLAGS.get(step.flags, hex(step.flags))
        if not step.memory and not step.bitmap_size:
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
