# SPDX-License-Identifier: GPL-2.0-only
"""Makes recorded calls on another device, and finds the first that it answers differently.

What may differ between two good devices is not a difference: descriptors, addresses, the place, size and content of a
state's pieces, the content of the device's own registers, time.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ..common.words import counted
from ..device import Container, DmaMap
from ..device.dma import unmap_request
from ..device.errors import DeviceError
from ..results.registers import Registers
from ..transport import GuardedBuffer, Outcome, Target, Transport
from ..uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_UNMAP_DMA
from ..uapi.vfio import VFIO_DEVICE_RESET
from .steps import (
    Answer,
    Close,
    Copied,
    Dirty,
    Filled,
    MapMemory,
    Number,
    Open,
    Read,
    Request,
    Reset,
    Step,
    Unmap,
    Write,
)

#: Registers whose values a good device may choose; for some it matters whether they are zero.
_ITS_OWN = ("data_offset",)
_ANYTHING_OR_NOTHING = ("pending_bytes", "data_size")


class Difference(NamedTuple):
    """A step with a different answer: the recorded and the present one, in words."""

    step: Step
    recorded: str
    now: str


class Played(NamedTuple):
    """How many steps were answered alike, the first with a different answer, and how many could not be made."""

    alike: int
    difference: Difference | None
    left_out: int


class Player:
    """Plays steps on open devices: the first of ``transports``, and the second, if there is one."""

    def __init__(self, transports: Sequence[Transport], registers: Registers, regions: Mapping[int, int]) -> None:
        """``registers`` are by their region's index in the recording; ``regions`` maps that to the devices' index."""
        self._transports, self._registers, self._regions = transports, registers, regions
        self._answers: dict[int, Answer] = {}
        self._memory = ExitStack()
        self._mapped: dict[int, DmaMap] = {}

    def play(self, steps: Iterable[Step]) -> Played:
        """Play until an answer differs. Raises TransportError."""
        alike = left_out = 0
        with self._memory:
            for step in steps:
                if step.device >= len(self._transports) or not self._can(step):
                    left_out += 1
                    continue
                now = self._answers[step.id] = self._make(step)
                if found := self._differ(step, now):
                    return Played(alike, Difference(step, *found), left_out)
                alike += 1
        return Played(alike, None, left_out)

    def _can(self, step: Step) -> bool:
        kinds = (Open, Close, Reset, Read, Write, MapMemory, Unmap, Dirty, Request)
        if isinstance(step, (Read, Write)) and step.mapped:
            return False
        return isinstance(step, kinds) and self._answers.keys() >= {*step.uses}

    # -- calls ------------------------------------------------------------------------------------------------------

    def _make(self, step: Step) -> Answer:
        transport = self._transports[step.device]
        match step:
            case Open():
                if not transport.is_open:
                    transport.open()
                return Answer()
            case Close():
                transport.close()
                return Answer()
            case Reset():
                return _of(transport.ioctl(Target.DEVICE, VFIO_DEVICE_RESET))
            case Read():
                outcome, data = transport.read(self._region(step), self._number(step.offset), self._number(step.length))
                return Answer(outcome.value, outcome.errno, data)
            case Write():
                return _of(transport.write(self._region(step), self._number(step.offset), self._bytes(step)))
            case MapMemory():
                return self._map(step, transport)
            case Unmap():
                return self._unmap(step, transport)
            case Dirty():
                return self._dirty(step, transport)
            case Request():
                argument = bytearray(step.argument.ljust(step.size, b"\0"))
                outcome = transport.ioctl(Target(step.target), step.number, argument if step.size else None)
                return Answer(outcome.value, outcome.errno, bytes(argument))
        raise AssertionError(step)

    def _region(self, step: Read | Write) -> int:
        return self._regions.get(step.region, step.region)

    def _number(self, number: Number) -> int:
        return number.plus + (self._answers[number.of].number if number.of else 0)

    def _bytes(self, step: Write) -> bytes:
        pieces = []
        for piece in step.data:
            if isinstance(piece, Copied):
                whole = self._answers[piece.of].data
                pieces.append(whole if piece.whole else whole[piece.start : piece.start + piece.length])
            else:
                pieces.append(bytes([piece.byte]) * piece.length if isinstance(piece, Filled) else piece)
        if step.number:
            return len(self._answers[step.number.of].data).to_bytes(step.length, "little")
        return b"".join(pieces)

    def _map(self, step: MapMemory, transport: Transport) -> Answer:
        memory = DmaMap(transport, step.iova, step.size, readonly=not step.flags & 2)
        try:
            self._mapped[step.iova] = self._memory.enter_context(memory)
        except DeviceError as error:
            return Answer(-1, error.errno or 0)
        return Answer()

    def _unmap(self, step: Unmap, transport: Transport) -> Answer:
        with GuardedBuffer(step.memory or 8) as bitmap:
            argument = unmap_request(
                *(step.iova, step.size),
                flags=step.flags,
                argsz=step.argsz,
                page=step.pgsize,
                bitmap=bitmap if step.memory else None,
                bitmap_size=step.bitmap_size,
            )
            outcome = transport.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, argument)
            if outcome.ok and (memory := self._mapped.pop(step.iova, None)):
                memory.mapped = False
            return _with_bits(outcome, bytes(bitmap.view) if step.memory else b"")

    def _dirty(self, step: Dirty, transport: Transport) -> Answer:
        with GuardedBuffer(step.memory or 8) as bitmap:
            argument = Container.dirty_request(
                step.flags,
                argsz=step.argsz,
                iova=step.iova,
                size=step.size,
                page=step.pgsize,
                bitmap=bitmap if step.memory else None,
                bitmap_size=step.bitmap_size,
            )
            outcome = transport.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument)
            return _with_bits(outcome, bytes(bitmap.view) if step.memory else b"")

    # -- answers ----------------------------------------------------------------------------------------------------

    def _differ(self, step: Step, now: Answer) -> tuple[str, str] | None:
        was = step.was
        if was.ok != now.ok or (not was.ok and was.errno != now.errno):
            return _described(was), _described(now)
        if not was.ok:
            return None
        if isinstance(step, (Read, Write)):
            return self._moved(step, now)
        has_bitmap = isinstance(step, (Dirty, Unmap)) and step.memory and (was.data or was.digest)
        return (_bits(was), _bits(now)) if has_bitmap and (was.bits, was.first) != (now.bits, now.first) else None

    def _moved(self, step: Read | Write, now: Answer) -> tuple[str, str] | None:
        symbolic = isinstance(step, Read) and step.length.of
        if step.was.value != now.value and not symbolic:
            return counted(step.was.value, "byte"), counted(now.value, "byte")
        register = next(
            (each for each in self._registers.get(step.region, ()) if each.offset == step.offset.plus), None
        )
        if register is None or isinstance(step, Write) or register.name in _ITS_OWN or step.offset.of:
            return None
        was, is_now = step.was.number, now.number
        if register.name in _ANYTHING_OR_NOTHING:
            was, is_now = bool(was), bool(is_now)
        if was == is_now:
            return None
        seen = [register.values.get(each.number, hex(each.number)) for each in (step.was, now)]
        return seen[0], seen[1]


def _of(outcome: Outcome) -> Answer:
    return Answer(outcome.value, outcome.errno)


def _with_bits(outcome: Outcome, bitmap: bytes) -> Answer:
    number = int.from_bytes(bitmap, "little")
    first = tuple(bit for bit in range(number.bit_length()) if number >> bit & 1)[:8] if len(bitmap) < 1 << 16 else ()
    return Answer(outcome.value, outcome.errno, bitmap, bits=number.bit_count(), first=first)


def _described(answer: Answer) -> str:
    if answer.ok:
        return "success"
    return errno.errorcode.get(answer.errno, f"errno {answer.errno}") if answer.errno else "an error without an errno"


def _bits(answer: Answer) -> str:
    first = ", ".join(map(str, answer.first))
    return f"{counted(answer.bits, 'bit')} set" + (f": {first}" if first else "")
