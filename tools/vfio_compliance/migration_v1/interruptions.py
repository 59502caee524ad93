# SPDX-License-Identifier: GPL-2.0-only
"""What a client may do in the middle of moving a buffer, after which the rest continues as if nothing had happened.

Other rules judge the answer to an odd access, and a buffer that differs when it is read again a few times: in these
cases, what follows cannot be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from ..device.region import Area
from ..run.checks import NotApplicable, Unjudged, equal, same_bytes
from ..uapi.migration_v1 import (
    DATA_OFFSET,
    DATA_SIZE,
    DEVICE_STATE,
    PENDING_BYTES,
    REGISTERS,
    RESERVED,
    DeviceState,
    Register,
)
from .region import MigrationRegion, Moment

#: How many times `many times` is.
MANY: Final = 30

#: How many times the rules about a single buffer read it again: a difference up to then is judged by them.
FEW: Final = 3


class Buffer(NamedTuple):
    """The buffer being moved: its place, and the beginning of its data once that has been moved."""

    area: Area
    data: bytes = b""


Do: TypeAlias = Callable[[MigrationRegion, Buffer], None]


class Interruption(NamedTuple):
    """Something that is done at one moment of a buffer."""

    words: str
    moment: Moment
    do: Do

    def __str__(self) -> str:
        return f"{self.words} {self.moment.value}"


def _offset_again(region: MigrationRegion, buffer: Buffer) -> None:
    equal("reading data_offset again", region.read(DATA_OFFSET), buffer.area.offset, hex)


def _size_again(region: MigrationRegion, buffer: Buffer) -> None:
    equal("reading data_size again", region.read(DATA_SIZE), buffer.area.size)


def _size_after(region: MigrationRegion, _buffer: Buffer) -> None:
    region.try_read(DATA_SIZE)  # the answer is left open; data_offset would ask for the next buffer


def _data_again(region: MigrationRegion, buffer: Buffer) -> None:
    same_bytes("reading the data again", region.read_data(buffer.area.offset, len(buffer.data)), buffer.data)


def _last_byte_again(region: MigrationRegion, buffer: Buffer) -> None:
    last = len(buffer.data) - 1
    equal("reading the last byte again", region.read_data(buffer.area.offset + last, 1), buffer.data[last:], bytes.hex)


def _state_again(region: MigrationRegion, _buffer: Buffer) -> None:
    region.state()


def _offset_to_give(region: MigrationRegion, buffer: Buffer) -> None:
    if region.read(DATA_OFFSET) != buffer.area.offset:
        raise NotApplicable("data_offset moves while a buffer is written, which the specification leaves open")


def _written_again(region: MigrationRegion, buffer: Buffer) -> None:
    region.write_data(buffer.area.offset, buffer.data)


def _half_written_again(region: MigrationRegion, buffer: Buffer) -> None:
    region.write_data(buffer.area.offset, buffer.data[: max(len(buffer.data) // 2, 1)])


def _refused(taken: bool) -> None:
    if taken:
        raise Unjudged("the access is carried out, which another rule judges")


def _read_oddly(offset: int, width: int, region: MigrationRegion, _buffer: Buffer) -> None:
    _refused(region.region.try_read(offset, width)[0].ok)


def _write_oddly(offset: int, width: int, region: MigrationRegion, _buffer: Buffer) -> None:
    _refused(region.region.try_write(offset, bytes(width)).ok)


def _write_state(state: DeviceState, region: MigrationRegion, _buffer: Buffer) -> None:
    before = region.state()
    change = region.change_to(state)
    _refused(change.outcome.ok)
    if change.now == DeviceState.ERROR:
        raise NotApplicable("the device reports the error state after it")
    if change.now != before:
        raise Unjudged("device_state has changed after it, which another rule judges")


def _write_size(region: MigrationRegion, _buffer: Buffer) -> None:
    if region.try_write(DATA_SIZE, 8).ok:
        raise NotApplicable("the device accepts a data_size while it is saved, which the specification leaves open")


def _write(register: Register, number: int, region: MigrationRegion, _buffer: Buffer) -> None:
    region.try_write(register, number)  # ignored or, if the register is read-only, refused


def _pending_again(region: MigrationRegion, _buffer: Buffer) -> None:
    some = region.read(PENDING_BYTES) > 0
    equal("reading pending_bytes again", some, True, lambda some: "more than 0" if some else "0")


#: What a client that saves may do again.
READ_AGAIN: Final = (
    Interruption("data_offset read again", Moment.OFFSET, _offset_again),
    Interruption("data_size read again", Moment.PLACED, _size_again),
    Interruption("data_size read again", Moment.MOVED, _size_after),
    Interruption("the data read again", Moment.MOVED, _data_again),
    Interruption("the last byte read again", Moment.MOVED, _last_byte_again),
    Interruption("device_state read", Moment.MOVED, _state_again),
)

#: The same for an access that has its own rule.
PENDING_AGAIN: Final = Interruption("pending_bytes read again", Moment.PENDING, _pending_again)

#: What a client that resumes may do again.
WRITTEN_AGAIN: Final = (
    Interruption("data_offset read again", Moment.PLACED, _offset_to_give),
    Interruption("data_offset read again", Moment.MOVED, _offset_to_give),
    Interruption("the data written again", Moment.MOVED, _written_again),
    Interruption("half of the data written again", Moment.MOVED, _half_written_again),
    Interruption("device_state read", Moment.MOVED, _state_again),
)

_HALVES = [(f"half of {each.name}", each.offset, each.width // 2) for each in REGISTERS if each != RESERVED]
_ODD = [*_HALVES, ("two registers at once", PENDING_BYTES.offset, 16), ("a byte of data_size", DATA_SIZE.offset, 1)]
_WRONG_STATES = (DeviceState.INVALID_5, DeviceState.ERROR, DeviceState.INVALID_7)

_REFUSED: dict[str, Do] = {
    **{f"{words} read": partial(_read_oddly, at, width) for words, at, width in _ODD},
    **{f"{words} written": partial(_write_oddly, at, width) for words, at, width in _ODD},
    **{f"{state:03b}b written to {DEVICE_STATE.name}": partial(_write_state, state) for state in _WRONG_STATES},
    "reserved written": partial(_write, RESERVED, 0xFFFF_FFFF),
    "pending_bytes written": partial(_write, PENDING_BYTES, 0),
    "data_offset written": partial(_write, DATA_OFFSET, 0x40),
}


def _all_moments(does: dict[str, Do]) -> tuple[Interruption, ...]:
    return tuple(Interruption(words, moment, do) for words, do in does.items() for moment in Moment)


#: What is refused or ignored while a state is resumed, and while it is saved.
REFUSED_RESUMING: Final = _all_moments(_REFUSED)
REFUSED_SAVING: Final = _all_moments({**_REFUSED, "data_size written": _write_size})


#: The index of a buffer, from the number of buffers.
Place: TypeAlias = Callable[[int], int]

PLACES: Final[dict[str, Place]] = {
    "first": lambda number: 0,
    "middle": lambda number: number // 2,
    "last": lambda number: number - 1,
}


def by_words(whats: Iterable[Interruption]) -> dict[str, list[Interruption]]:
    """Interruptions that differ only in their moment, together."""
    found: dict[str, list[Interruption]] = {}
    for what in whats:
        found.setdefault(what.words, []).append(what)
    return found


class Interrupting:
    """Makes interruptions in some of the buffers that a region moves."""

    def __init__(self, whats: Sequence[Interruption], times: int, buffers: Collection[int]) -> None:
        """``times``: how many times each is made; ``buffers``: the numbers of the buffers, from 0."""
        self._whats, self._times, self._buffers = whats, times, buffers
        self._number = -1
        #: Whether one was made.
        self.made = False

    @contextmanager
    def on(self, region: MigrationRegion) -> Iterator[None]:
        """Make them on ``region`` until the block ends."""
        region.between = partial(self._meet, region)
        try:
            yield
        finally:
            region.between = None

    def _meet(self, region: MigrationRegion, moment: Moment, area: Area, beginning: bytes) -> None:
        self._number += moment == Moment.PENDING
        if self._number not in self._buffers:
            return
        for what in self._whats:
            if what.moment == moment:
                for _ in range(self._times):
                    what.do(region, Buffer(area, beginning))
                self.made = True
