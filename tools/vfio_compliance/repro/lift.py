# SPDX-License-Identifier: GPL-2.0-only
"""From recorded calls to the steps of a program. Values that a device may choose are taken from its earlier answers."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Final

from ..common.calls import COUNT, LOOK, MAPPED_READ, MAPPED_WRITE, NO_CALLS, SECOND, Call
from ..common.words import counted
from ..results.registers import Registers
from ..uapi import type1, vfio
from .contents import Contents
from .copies import Copies, Section
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
from .structures import RANGE_REQUEST
from .trace import UnknownData

_MAP: Final = Struct("<IIQQQ")
#: argsz, flags, index, start, count.
_SET_IRQS: Final = Struct("<IIIII")

#: Requests that only query the device or its container.
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

#: Milliseconds without a call that may be on purpose.
_LONG: Final = 5

#: Data of up to this many bytes is written out in a program.
_GIVEN: Final = 4096


@dataclass
class Lifting:
    """Turns calls into steps, one after the other."""

    registers: Registers
    contents: Contents
    #: Calls whose answers are looked at: they are always kept.
    kept: Collection[int] = ()
    #: The fault does not show each time: it depends on timing.
    in_rounds: bool = False
    _sections: dict[str, Section] = field(default_factory=dict)
    #: Looks after this call are judged.
    _judged_from: int = sys.maxsize
    _copies: Copies = field(init=False)
    #: The verb of the previous record.
    _before: str = ""
    #: The last look at a piece of memory, and what it held then.
    _looked: dict[tuple[int, int], tuple[int, tuple[bytes, str]]] = field(default_factory=dict)

    def steps(self, calls: Sequence[Call]) -> list[Step]:
        """The steps. Raises NoProgram."""
        judged = max(self.kept, default=0)
        if any(call.verb == LOOK and call.serial == judged for call in calls):
            before_it = (call.serial for call in calls if call.verb not in NO_CALLS and call.serial < judged)
            self._judged_from = max(before_it, default=0)
        self._copies = Copies(calls, self.registers, self.contents)
        made: list[Step] = []
        for call, before in zip(calls, [None, *calls], strict=False):
            if before and (waited := self._waited(before, call)):
                made.append(Pause(-call.serial, 0, Answer(), waited))
            made += self._step(call)
            self._before = call.verb
        counted = {(step.device, step.index, step.vector): step for step in made if isinstance(step, CountInterrupt)}
        enabled = {(step.device, step.index, step.vector) for step in made if isinstance(step, Interrupt)}
        # An interrupt that an earlier case enabled is reported until the device is closed.
        missing = [
            Interrupt(-each.id, each.device, Answer(), *key[1:]) for key, each in counted.items() if key not in enabled
        ]
        return [*missing, *made]

    def _waited(self, before: Call, call: Call) -> int:
        """Milliseconds between two calls, if nothing was done for a while."""
        polled = before.times > 1 and before.verb != "read"
        if call.serial != before.last + 1 or polled or (before.verb == LOOK and not self.in_rounds):
            return 0
        waited = max(call.started_ns - before.started_ns - before.duration_ns, 0) // 1_000_000
        return waited if waited >= _LONG or self.in_rounds else 0

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

    def _read(self, call: Call, device: int, region: int, was: Answer) -> Read:
        register, section = self._copies.register(region, call), self._sections.setdefault(call.target, Section())
        offset, length = Number(call.number), Number(call.length)
        if register is None:
            offset, inside = self._placed(region, call.number, section)
            if inside == 0 and section.size and section.size[1] == call.length:
                length = Number(of=section.size[0])
            if was.ok and call.value and region in self.registers:
                self._copies.read(call)
        elif was.value == call.length:
            if register.name == "data_offset":
                section.offset, section.size, section.written = (call.serial, was.number), None, ()
            elif register.name == "data_size":
                section.size = (call.serial, was.number)
        return Read(call.serial, device, was, region, offset, length, call.verb == "mapped-read")

    def _write(self, call: Call, device: int, region: int, was: Answer) -> Write:
        register, section = self._copies.register(region, call), self._sections.setdefault(call.target, Section())
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

    def _placed(self, region: int, offset: int, section: Section) -> tuple[Number, int]:
        """An offset in a region, relative to the device's last data_offset; and how far after that."""
        if section.offset and region in self.registers:
            id_, start = section.offset
            if 0 <= offset - start < 1 << 32:
                return Number(offset - start, id_), offset - start
        return Number(offset), -1

    def _data(self, call: Call, region: int) -> Data:
        """The data of a write: bytes that the device gave before, or bytes written out in the program."""
        data = self.contents.of(call)
        moved_before = call.length > 8 or (region in self.registers and call.length > 0)
        if moved_before and (copied := self._copies.of(call, self._sections[call.target])) is not None:
            return (copied,)
        if data is None:
            size = counted(call.length, "byte")
            what = f"the journal has only the beginning of the {size} that were written (call {call.serial})"
            raise UnknownData(f"{what}: run it with --keep-data", call)
        if len(data) > 8 and len(set(data)) == 1:
            return (Filled(data[0], len(data)),)
        if len(data) > _GIVEN:
            size = counted(len(data), "byte")
            raise UnknownData(f"the data of a write was not read before, and is too much for a program: {size}", call)
        return (data,)

    def _look(self, call: Call, was: Answer) -> Iterator[Look]:
        """A look at memory, if it shows a change, or a later look is compared with it."""
        place, now = (call.number, call.length), (was.data, was.digest)
        id_, before = self._looked.get(place, (0, now))
        judged = call.serial in self.kept or self._at_end(call)
        waited = self._before == LOOK if self.in_rounds else not judged
        was = replace(was, times=1)
        if before != now and waited:
            yield Look(call.serial, 0, was, call.number, call.length, id_)
        elif not id_ or call.serial in self.kept or self._before != LOOK:
            yield Look(call.serial, 0, was, call.number, call.length, 0)
        else:
            return
        self._looked[place] = call.serial, now

    def _at_end(self, call: Call) -> bool:
        """Whether there are only looks between a look and the judged one: then it is part of that."""
        return call.serial > self._judged_from

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
            argsz, flags, iova, size, page, room, _ = RANGE_REQUEST.unpack(
                call.sent[: RANGE_REQUEST.size].ljust(RANGE_REQUEST.size, b"\0")
            )
            if call.behind is None:
                page = room = 0
            memory, readonly = (call.behind.size, call.behind.readonly) if call.behind else (0, False)
            yield Unmap(call.serial, device, was, argsz, flags, iova, size, page, room, memory, readonly)
        elif call.number == vfio.VFIO_DEVICE_SET_IRQS and call.length:
            yield from self._interrupts(call, device, was)
        elif (
            target == "container" and call.number == type1.VFIO_IOMMU_DIRTY_PAGES and call.length >= RANGE_REQUEST.size
        ):
            argsz, flags, iova, size, page, room, _ = RANGE_REQUEST.unpack(call.sent[: RANGE_REQUEST.size])
            if call.behind is None and flags != type1.DirtyPagesFlags.GET_BITMAP:
                yield Dirty(call.serial, device, was, argsz, flags)
            else:
                memory, readonly = (call.behind.size, call.behind.readonly) if call.behind else (room, False)
                yield Dirty(call.serial, device, was, argsz, flags, iova, size, page, room, memory, readonly)
        elif not call.length:
            there = call.behind.data if call.behind else b""
            place = "unmapped" if any(call.sent) else "NULL"
            if there:
                place = "cut" if len(there) % 4 else "read-only"
            yield Request(call.serial, device, was, target, call.number, there, 0, place)
        else:
            yield Request(call.serial, device, was, target, call.number, call.sent, call.length)

    def _interrupts(self, call: Call, device: int, was: Answer) -> Iterator[Interrupt]:
        """Vectors that are each reported by a descriptor."""
        _, flags, index, start, count = _SET_IRQS.unpack(call.sent[: _SET_IRQS.size])
        if flags & vfio.IrqSetFlags.DATA_EVENTFD:
            files = memoryview(call.sent[_SET_IRQS.size : _SET_IRQS.size + 4 * count]).cast("i")
            for vector, file in enumerate(files, start):
                if file >= 0:
                    yield Interrupt(call.serial + vector - start, device, was, index, vector)


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
