# SPDX-License-Identifier: GPL-2.0-only
"""How far a client gets in reading or writing a state before it does something else."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from ..device import Stream
from ..run.checks import NotApplicable
from ..uapi.migration_v1 import DATA_OFFSET, PENDING_BYTES
from .region import MigrationRegion


class Step(IntEnum):
    """The last step for a buffer that is not read or written to its end."""

    NONE = 0
    PENDING = 1
    OFFSET = 2
    SIZE = 3
    HALF = 4


#: All buffers of a state except the last one, and all of them.
BUT_ONE, ALL = -1, -2


class Progress(NamedTuple):
    """A number of whole buffers, and some steps of the next one."""

    words: str
    buffers: int
    last: Step = Step.NONE

    def of(self, number: int) -> int:
        """How many whole buffers, of a state of ``number``. Raises NotApplicable if it has no such buffer."""
        wanted = {BUT_ONE: number - 1, ALL: number}.get(self.buffers, self.buffers)
        if not 0 <= wanted <= number - (self.last > Step.PENDING):
            raise NotApplicable("the device offers no such buffer")
        return wanted


NOTHING: Final = Progress("nothing", 0)
OFFSET: Final = Progress("data_offset", 0, Step.OFFSET)
HALF: Final = Progress("half a buffer", 0, Step.HALF)
ONE: Final = Progress("a buffer", 1)
ONE_AND_HALF: Final = Progress("a buffer and a half", 1, Step.HALF)
TWO: Final = Progress("two buffers", 2)
ALL_BUT_ONE: Final = Progress("all but a buffer", BUT_ONE)
COMPLETE: Final = Progress("all", ALL)

#: Every point of the protocol at which a client may leave a saving state before its end.
POINTS: Final = (
    NOTHING,
    Progress("pending_bytes", 0, Step.PENDING),
    OFFSET,
    Progress("data_size", 0, Step.SIZE),
    HALF,
    ONE,
    Progress("a buffer and pending_bytes", 1, Step.PENDING),
    ONE_AND_HALF,
    TWO,
    ALL_BUT_ONE,
    Progress("all but a buffer and its data_size", BUT_ONE, Step.SIZE),
)


def read(region: MigrationRegion, far: Progress, number: int, into: Stream, patience: float) -> None:
    """Read a state of ``number`` buffers up to ``far``; whole buffers go ``into`` a stream. Raises DeviceError.

    Waits up to ``patience`` seconds for late data. Raises NotApplicable if the device offers less.
    """
    for _ in range(far.of(number)):
        _need(region.wait_for_data(patience))
        region.read_buffer(into)
    if far.last == Step.PENDING:
        region.read(PENDING_BYTES)
    if far.last < Step.OFFSET:
        return
    _need(region.wait_for_data(patience))
    if far.last == Step.OFFSET:
        region.read(DATA_OFFSET)
        return
    place = region.place()
    if far.last == Step.HALF:
        region.read_data(place.offset, max(place.size // 2, 1))


def give(region: MigrationRegion, far: Progress, stream: Stream) -> None:
    """Write a state up to ``far`` to a device in resuming; for a partial buffer, the bytes without data_size.

    Raises DeviceError, and NotApplicable if the state has no such buffer.
    """
    whole = far.of(len(stream.buffers))
    for buffer in stream.buffers[:whole]:
        region.load_buffer(buffer.size, stream.pieces(buffer))
    if far.last == Step.NONE:
        return
    buffer = stream.buffers[whole]
    place = region.place(buffer.size)
    if far.last == Step.HALF:
        half = max(buffer.size // 2, 1)
        region.write_data(place.offset, next(stream.pieces(buffer, half)))


def give_rest(region: MigrationRegion, stream: Stream, number: int) -> None:
    """Write the buffers of a state from this number on. Raises DeviceError."""
    for buffer in stream.buffers[number:]:
        region.load_buffer(buffer.size, stream.pieces(buffer))


def _need(pending: int) -> None:
    if not pending:
        raise NotApplicable("the device offers no such buffer")
