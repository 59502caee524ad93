# SPDX-License-Identifier: GPL-2.0-only
"""From recorded calls to the steps of a program: what is the device's own choice is taken from its earlier answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from ..common.calls import COUNT, LOOK, MAPPED_READ, MAPPED_WRITE, NO_CALLS, SECOND, Call
from ..common.registers import Register
from ..common.words import counted
from ..results.registers import Registers
from ..uapi import type1, vfio
from .contents import Contents
from .steps import (
    Answer,
    Close,
    Copied,
    CountInterrupt,
    Data,
    Dirty,
    File,
    Filled,
    Interrupt,
    Look,
    Map,
    MapMemory,
    Number,
    Open,
    Pause,
    Read,
    Request,
    Reset,
    Size,
    Step,
    Unmap,
    Write,
)
from .trace import NoProgram, UnknownData

_MAP: Final = Struct("<IIQQQ")
#: argsz, flags, address, size; then page size, size and address of a bitmap.
_RANGE: Final = Struct("<IIQQQQQ")

#: argsz, flags, index, start, count.
_SET_IRQS: Final = Struct("<IIIII")

#: Requests that say something of the device or its container, and change nothing.
_ASKING: Final = frozenset(
    (
        vfio.VFIO_GET_API_VERSION,
        vfio.VFIO_CHECK_EXTENSION,
        vfio.VFIO_GROUP_GET_STATUS,
        vfio.VFIO_DEVICE_GET_INFO,
        vfio.VFIO_DEVICE_GET_REGION_INFO,
        vfio.VFIO_DEVICE_GET_IRQ_INFO,
        type1.VFIO_IOMMU_GET_INFO,
    )
)

#: Requests by which a device is opened.
_OPENING: Final = frozenset(
    (
        vfio.VFIO_SET_IOMMU,
        vfio.VFIO_GROUP_SET_CONTAINER,
        vfio.VFIO_GROUP_UNSET_CONTAINER,
        vfio.VFIO_GROUP_GET_DEVICE_FD,
    )
)

#: So many milliseconds without a call may be on purpose.
_LONG: Final = 5

#: Data of up to so many bytes stands in a program as it is.
_GIVEN: Final = 4096


@dataclass
class _Section:
    """What a device last said of the place of data in one of its regions: the step, and the number."""

    offset: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    #: What was written there last.
    written: Data = ()
    #: For which reading of data_offset it was seen which source is given there; -1 for none.
    gives: tuple[int, int] = (0, -1)


@dataclass
class _Source:
    """Bytes that a step read."""

    id: int
    length: int
    data: bytes
    digest: str


@dataclass
class Lifting:
    """Makes steps of calls, one after the other."""

    registers: Registers
    contents: Contents
    #: Calls whose answers are looked at: they are kept whatever they ask.
    kept: Collection[int] = ()
    _sections: dict[str, _Section] = field(default_factory=dict)
    _last_call: int = 0
    #: Where the last part that was copied ended: the step that read it, and the place behind it.
    _copied_to: tuple[int, int] = (0, 0)
    #: What is written that is no register: length, first bytes and digest of each, and where each call stands in that.
    _given: list[tuple[int, bytes, str]] = field(default_factory=list)
    _coming: dict[int, int] = field(default_factory=dict)
    #: All calls, and where each is among them.
    _calls: Sequence[Call] = ()
    _places: dict[int, int] = field(default_factory=dict)
    #: The verb of the record before.
    _before: str = ""
    _sources: list[_Source] = field(default_factory=list)
    #: The last look at a piece of memory, and what it held then.
    _looked: dict[tuple[int, int], tuple[int, tuple[bytes, str]]] = field(default_factory=dict)

    def steps(self, calls: Sequence[Call]) -> list[Step]:
        """The steps. Raises NoProgram."""
        self._last_call = max((call.serial for call in calls if call.verb not in NO_CALLS), default=0)
        written = [call for call in calls if call.verb in ("write", MAPPED_WRITE) and not self._is_named(call)]
        self._coming = {call.serial: at for at, call in enumerate(written)}
        self._given = [(call.length, *call.moved) for call in written]
        self._calls, self._places = calls, {call.serial: at for at, call in enumerate(calls)}
        made: list[Step] = []
        for call, before in zip(calls, [None, *calls], strict=False):
            if before and (waited := _waited(before, call)):
                made.append(Pause(-call.serial, 0, Answer(), waited))
            made += self._step(call)
            self._before = call.verb
        counted = {(step.device, step.index, step.vector): step for step in made if isinstance(step, CountInterrupt)}
        enabled = {(step.device, step.index, step.vector) for step in made if isinstance(step, Interrupt)}
        # One that an earlier case has enabled is reported until the device is closed.
        missing = [
            Interrupt(-each.id, each.device, Answer(), *key[1:]) for key, each in counted.items() if key not in enabled
        ]
        return [*missing, *made]

    def _step(self, call: Call) -> Iterator[Step]:
        target, device = call.target.removeprefix(SECOND), int(call.target.startswith(SECOND))
        was = _answer(call)
        if call.verb == LOOK:
            yield from self._look(call, was)
        elif call.verb == COUNT:
            if call.serial in self.kept:
                yield CountInterrupt(call.serial, device, was, int(target.removeprefix("interrupt ")), call.number)
        elif call.verb in ("read", "write", MAPPED_READ, MAPPED_WRITE):
            access = self._read if call.verb.endswith("read") else self._write
            yield access(call, device, int(target.removeprefix("region ")), was)
        elif call.verb == "map" and call.serial in self.kept:
            yield Map(call.serial, device, was, int(target.removeprefix("region ")), call.number, call.length)
        elif call.verb == "open" and target == "device":
            self._forget(device)
            yield Open(call.serial, device, was)
        elif call.verb == "close" and target == "device":
            yield Close(call.serial, device, was)
        elif call.verb == "ioctl":
            yield from self._request(call, device, target, was)
        elif call.verb in ("read-file", "write-file"):
            yield File(call.serial, 0, was, target, call.sent if call.verb == "write-file" else None)

    # -- registers and data ---------------------------------------------------------------------------------------

    def _is_named(self, call: Call) -> bool:
        region = call.target.removeprefix(SECOND).removeprefix("region ")
        return not region.isdecimal() or self._named(int(region), call) is not None or int(region) not in self.registers

    def _named(self, region: int, call: Call) -> Register | None:
        known = self.registers.get(region, ())
        return next((each for each in known if (each.offset, each.width) == (call.number, call.length)), None)

    def _read(self, call: Call, device: int, region: int, was: Answer) -> Read:
        register, section = self._named(region, call), self._sections.setdefault(call.target, _Section())
        offset, length = Number(call.number), Number(call.length)
        if register is None:
            offset, inside = self._placed(region, call.number, section)
            if inside == 0 and section.size and section.size[1] == call.length:
                length = Number(of=section.size[0])
            if was.ok and call.value and region in self.registers:
                self._sources.append(_Source(call.serial, call.value, was.data, was.digest))
        elif was.value == call.length:
            if register.name == "data_offset":
                section.offset, section.size, section.written = (call.serial, was.number), None, ()
            elif register.name == "data_size":
                section.size = (call.serial, was.number)
        return Read(call.serial, device, was, region, offset, length, call.verb == "mapped-read")

    def _write(self, call: Call, device: int, region: int, was: Answer) -> Write:
        register, section = self._named(region, call), self._sections.setdefault(call.target, _Section())
        offset = Number(call.number)
        if register is None:
            offset, _ = self._placed(region, call.number, section)
        data: Data = (call.sent,) if register else self._data(call, region)
        number = None
        if register is None:
            section.written = data
        elif register.name == "data_size" and len(section.written) == 1:
            (given,) = section.written
            if isinstance(given, Copied) and given.whole and given.length == int.from_bytes(call.sent, "little"):
                number = Size(given.of)
        mapped = call.verb == "mapped-write"
        return Write(call.serial, device, was, region, offset, data, call.length, mapped, number)

    def _placed(self, region: int, offset: int, section: _Section) -> tuple[Number, int]:
        """An offset in a region, counted from where the device last said that its data is; and how far behind that."""
        if section.offset and region in self.registers:
            id_, start = section.offset
            if 0 <= offset - start < 1 << 32:
                return Number(offset - start, id_), offset - start
        return Number(offset), -1

    def _data(self, call: Call, region: int) -> Data:
        """What a write moves: bytes that the device gave before, or bytes that stand in the program."""
        data = self.contents.of(call)
        moved_before = call.length > 8 or (region in self.registers and call.length > 0)
        if moved_before and (copied := self._whole(call) or self._in_place(call) or self._part(data)) is not None:
            return (copied,)
        if data is None:
            size = counted(call.length, "byte")
            what = f"the journal has the beginning alone of {size} that were written (call {call.serial})"
            raise UnknownData(f"{what}: run it with --keep-data", call)
        if len(data) > 8 and len(set(data)) == 1:
            return (Filled(data[0], len(data)),)
        if len(data) > _GIVEN:
            size = counted(len(data), "byte")
            raise UnknownData(f"data that no earlier call gave is too much for a program: {size}", call)
        return (data,)

    def _whole(self, call: Call) -> Copied | None:
        """All that a step read: of several the one that what is written from here on follows for the longest."""
        coming = self._coming.get(call.serial, len(self._given))

        def follows(at: int) -> int:
            length = 0
            while at + length < len(self._sources) and coming + length < len(self._given):
                source, given = self._sources[at + length], self._given[coming + length]
                if (source.length, source.data, source.digest) != given:
                    break
                length += 1
            return length

        sent = (call.length, *call.moved)
        known = [at for at, each in enumerate(self._sources) if (each.length, each.data, each.digest) == sent]
        if not known:
            return None
        source = self._sources[max(known, key=lambda at: (follows(at), at))]
        self._copied_to = source.id, source.length
        return Copied(source.id, 0, call.length, whole=True)

    def _in_place(self, call: Call) -> Copied | None:
        """A part of a buffer that is given in parts: where all of them are as in one that was read."""
        section = self._sections[call.target]
        if section.offset is None:
            return None
        id_, start = section.offset
        if section.gives[0] != id_:
            parts = [*self._parts(call, start)]
            last = next((at for at, each in enumerate(self._sources) if each.id == self._copied_to[0]), -1)
            order = [last + 1, *range(len(self._sources) - 1, -1, -1)]
            fitting = (at for at in order if at < len(self._sources) and self._holds(self._sources[at], parts))
            section.gives = id_, next(fitting, -1)
        at = section.gives[1]
        if at < 0 or call.number < start:
            return None
        source = self._sources[at]
        self._copied_to = source.id, source.length
        return Copied(source.id, call.number - start, call.length)

    def _parts(self, call: Call, start: int) -> Iterator[tuple[int, bytes | None]]:
        """What is written from here on to the buffer that begins at ``start``, until the device is told so."""
        region = int(call.target.removeprefix(SECOND).removeprefix("region "))
        for each in self._calls[self._places[call.serial] :]:
            if each.target == call.target and each.verb in ("write", MAPPED_WRITE):
                if self._named(region, each):
                    return
                yield each.number - start, self.contents.of(each)

    def _holds(self, source: _Source, parts: Sequence[tuple[int, bytes | None]]) -> bool:
        whole = self._content(source)
        return all(data and place >= 0 and whole[place : place + len(data)] == data for place, data in parts)

    def _part(self, data: bytes | None) -> Copied | None:
        """A part of what a step read: behind the last one, at the beginning of one that came later, or anywhere."""
        if data is None or len(set(data)) == 1:
            return None
        contents = [(source, self._content(source)) for source in self._sources]
        id_, end = self._copied_to
        last = next((at for at, (source, _) in enumerate(contents) if source.id == id_), -1)
        places = [(last, end), *((at, 0) for at in range(last + 1, len(contents)))]
        places += [(at, contents[at][1].find(data)) for at in range(len(contents) - 1, -1, -1)]
        for at, start in places:
            source, whole = contents[at] if at >= 0 else (None, b"")
            if source and start >= 0 and whole[start : start + len(data)] == data:
                self._copied_to = source.id, start + len(data)
                return Copied(source.id, start, len(data))
        return None

    def _content(self, source: _Source) -> bytes:
        """All that was read, as far as it was kept."""
        return (self.contents.by_digest(source.digest) or b"") if source.digest else source.data

    def _look(self, call: Call, was: Answer) -> Iterator[Look]:
        """A look at memory, where it shows a change, or another one does by it."""
        place, now = (call.number, call.length), (was.data, was.digest)
        id_, before = self._looked.get(place, (0, now))
        if before != now and call.serial not in self.kept and not self._at_end(call):
            yield Look(call.serial, 0, was, call.number, call.length, id_)
        elif not id_ or call.serial in self.kept or self._before != LOOK:
            yield Look(call.serial, 0, was, call.number, call.length, 0)
        else:
            return
        self._looked[place] = call.serial, now

    def _at_end(self, call: Call) -> bool:
        """Whether nothing but looks comes after a look: then they are what is judged."""
        return call.serial > self._last_call

    def _forget(self, device: int) -> None:
        for target in [*self._sections]:
            if target.startswith(SECOND) == bool(device):
                del self._sections[target]

    # -- requests -------------------------------------------------------------------------------------------------

    def _request(self, call: Call, device: int, target: str, was: Answer) -> Iterator[Step]:
        if target == "device" and call.number == vfio.VFIO_DEVICE_RESET:
            self._forget(device)
            yield Reset(call.serial, device, was)
        elif call.number in _OPENING or (call.number in _ASKING and call.serial not in self.kept):
            return
        elif target == "container" and call.number == type1.VFIO_IOMMU_MAP_DMA and _is_plain_map(call):
            _, flags, _, iova, size = _MAP.unpack(call.sent)
            yield MapMemory(call.serial, device, was, iova, size, flags)
        elif target == "container" and call.number == type1.VFIO_IOMMU_UNMAP_DMA and call.length >= _MAP.size - 8:
            argsz, flags, iova, size, page, room, _ = _RANGE.unpack(call.sent[: _RANGE.size].ljust(_RANGE.size, b"\0"))
            if call.behind is None:
                page = room = 0
            memory = call.behind.size if call.behind else 0
            yield Unmap(call.serial, device, was, argsz, flags, iova, size, page, room, memory)
        elif call.number == vfio.VFIO_DEVICE_SET_IRQS and call.length:
            yield from self._interrupts(call, device, was)
        elif target == "container" and call.number == type1.VFIO_IOMMU_DIRTY_PAGES and call.length >= _RANGE.size:
            argsz, flags, iova, size, page, room, _ = _RANGE.unpack(call.sent[: _RANGE.size])
            if call.behind is None and flags != type1.DirtyPagesFlags.GET_BITMAP:
                yield Dirty(call.serial, device, was, argsz, flags)
            else:
                memory = call.behind.size if call.behind else room
                yield Dirty(call.serial, device, was, argsz, flags, iova, size, page, room, memory)
        elif call.behind is not None and not call.length:
            raise NoProgram(f"call {call.serial} has its argument in memory that can be read or written in part only")
        else:
            yield Request(call.serial, device, was, target, call.number, call.sent, call.length)

    def _interrupts(self, call: Call, device: int, was: Answer) -> Iterator[Interrupt]:
        """Vectors that are reported by a descriptor each."""
        _, flags, index, start, count = _SET_IRQS.unpack(call.sent[: _SET_IRQS.size])
        if flags & vfio.IrqSetFlags.DATA_EVENTFD:
            files = memoryview(call.sent[_SET_IRQS.size : _SET_IRQS.size + 4 * count]).cast("i")
            for vector, file in enumerate(files, start):
                if file >= 0:
                    yield Interrupt(call.serial + vector - start, device, was, index, vector)


def _waited(before: Call, call: Call) -> int:
    """Milliseconds between two calls, where nothing was done for a while."""
    if call.serial != before.last + 1 or before.times > 1 or before.verb == LOOK:
        return 0
    waited = (call.started_ns - before.started_ns - before.duration_ns) // 1_000_000
    return waited if waited >= _LONG else 0


def _vector(step: CountInterrupt | Interrupt) -> tuple[int, int, int]:
    return step.device, step.index, step.vector


def _is_plain_map(call: Call) -> bool:
    return call.length == _MAP.size and _MAP.unpack(call.sent)[0] == _MAP.size


def _answer(call: Call) -> Answer:
    behind = call.behind
    data, digest = (call.received, call.received_digest) if call.verb != "write" else (b"", "")
    if behind is not None:
        data, digest = behind.data, behind.digest
    return Answer(
        call.value,
        call.errno,
        data,
        digest,
        behind.bits if behind else 0,
        behind.first if behind else (),
        call.times,
        call.duration_ns,
    )
