# SPDX-License-Identifier: GPL-2.0-only
"""The migration region of version 1: its registers, device_state, and moving data through it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple, TypeAlias

from ..common.moment import latest_call
from ..common.words import counted
from ..device.errors import DeviceError, StepFailed, Unreachable, given
from ..device.region import Area, Region, described
from ..device.stream import PIECE, Stream
from ..run.client import Access, access_verb
from ..transport import Call, Outcome
from ..uapi.migration_v1 import (
    DATA_OFFSET,
    DATA_SIZE,
    DEVICE_STATE,
    HEADER_SIZE,
    PENDING_BYTES,
    VFIO_DEVICE_STATE_MASK,
    VFIO_REGION_SUBTYPE_MIGRATION,
    VFIO_REGION_TYPE_MIGRATION,
    DeviceState,
    Register,
)
from .states import name

#: A buffer that comes more times than this in a row, with the same number of bytes pending, comes forever.
_ENOUGH_OF_THE_SAME = 64


#: Bytes of a buffer that are passed to what is done in the middle of it.
_SHOWN = 1 << 16

#: Type and subtype by which a region announces itself as the migration region (kabi v23, lines 38 and 47).
REGION_TYPE = (VFIO_REGION_TYPE_MIGRATION, VFIO_REGION_SUBTYPE_MIGRATION)


class Moment(Enum):
    """When something else is done in the middle of moving a buffer."""

    #: It is pending; none of it has been requested yet.
    PENDING = "before it is asked for"
    #: data_offset was read, and nothing else.
    OFFSET = "behind data_offset"
    #: Its place is known; its data is not moved yet.
    PLACED = "before its data"
    #: Its data was moved; data_size has not been written yet, or pending_bytes read.
    MOVED = "behind its data"


#: What is done at a moment of each buffer: it gets its place and the beginning of its data, as far as known.
Between: TypeAlias = Callable[[Moment, Area, bytes], None]

_NOWHERE = Area(0, 0)


def _errno(outcome: Outcome) -> int | None:
    """The errno of a refusal; None for an answer that is not a refusal."""
    return outcome.errno if outcome.value < 0 else None


class Change(NamedTuple):
    """How a write of device_state was answered, the state that was read after it, and the number of that call."""

    outcome: Outcome
    now: DeviceState
    call: int

    @property
    def answer(self) -> str:
        """``accepted`` or ``refused``."""
        return "accepted" if self.outcome.ok else "refused"

    def insist(self, what: str, state: int) -> None:
        """Raises DeviceError unless the write was accepted in full and led to ``state``."""
        if self.outcome.value != DEVICE_STATE.width or self.now != state:
            wanted, seen = f"4 bytes taken, then {name(state)}", f"{described(self.outcome)}, then {name(self.now)}"
            raise DeviceError(what, wanted, seen, _errno(self.outcome))

    def __str__(self) -> str:
        return f"{self.answer}, reads {name(self.now)}"


class MigrationRegion:
    """Access to the registers, in the way of a well-behaved client unless the verb says otherwise."""

    def __init__(self, region: Region, largest: int) -> None:
        self.region = region
        #: Most bytes of a state, and so of a buffer; a driver that claims more is not believed.
        self.largest = largest
        #: Data goes through a mapping of the section if it can be mapped, not through read() and write().
        self.mapped = False
        #: A mapping replaces a read() or write() of data that is refused.
        self.falls_back = True
        #: The next time data goes through a mapping, read() or write() is also tried, to see whether it works.
        self.tries_both = False
        #: The first read() or write() of data that was refused and replaced by a mapping.
        self.refused: DeviceError | None = None
        #: Called in the middle of each buffer.
        self.between: Between | None = None

    # -- registers ------------------------------------------------------------------------------------------------

    def try_read(self, register: Register) -> tuple[Outcome, bytes]:
        """Read ``register`` at its width; return the driver's answer and the bytes."""
        return self.region.try_read(register.offset, register.width)

    def try_write(self, register: Register, value: int) -> Outcome:
        """Write ``value``, modulo the register's width, to ``register``; return the driver's answer."""
        bits = value & (1 << 8 * register.width) - 1
        if register is DEVICE_STATE and bits & VFIO_DEVICE_STATE_MASK == DeviceState.RESUMING:
            self.region.changes_for_good()  # whatever it receives stays with it
        return self.region.try_write(register.offset, bits.to_bytes(register.width, "little"))

    def read(self, register: Register) -> int:
        """The value of ``register``. Raises DeviceError."""
        outcome, data = self.try_read(register)
        if outcome.value != register.width:
            what, wanted = f"reading {register.name}", counted(register.width, "byte")
            raise DeviceError(what, wanted, described(outcome), _errno(outcome))
        return int.from_bytes(data, "little")

    def glance(self, register: Register) -> int | None:
        """The value of ``register``; None if it cannot be read, for any reason, which is judged by another rule."""
        try:
            with given():
                return self.read(register)
        except Unreachable:
            return None

    def write(self, register: Register, value: int) -> None:
        """Set ``register``. Raises DeviceError if the driver refuses or accepts only a part."""
        outcome = self.try_write(register, value)
        if outcome.value != register.width:
            taken = f"{counted(register.width, 'byte')} taken"
            raise DeviceError(f"writing 0x{value:x} to {register.name}", taken, described(outcome), _errno(outcome))

    # -- device_state ---------------------------------------------------------------------------------------------

    def state(self) -> DeviceState:
        """The three low bits of device_state; the others are reserved, and may read as anything. Raises DeviceError."""
        return DeviceState(self.read(DEVICE_STATE) & VFIO_DEVICE_STATE_MASK)

    def watch_state(self, seconds: float) -> DeviceState:
        """device_state, read until it has changed or ``seconds`` have passed. Raises DeviceError."""
        end = time.monotonic() + seconds
        first = now = self.state()
        while now == first and time.monotonic() < end:
            self.region.pause(seconds / 10)
            now = self.state()
        return now

    def try_set_state(self, state: int) -> Outcome:
        """Ask for ``state``, keeping bits 3-31 as they are read first (kabi v23, lines 87-89).

        After a failure, device_state is read again, as the specification requires of a user (lines 64-67).
        Raises DeviceError if device_state cannot be read.
        """
        kept = self.read(DEVICE_STATE) & ~VFIO_DEVICE_STATE_MASK
        outcome = self.try_write(DEVICE_STATE, kept | state)
        if outcome.value != DEVICE_STATE.width:
            self.state()
        return outcome

    def set_state(self, state: int) -> None:
        """Ask for ``state`` and check that it is reached. Raises DeviceError."""
        self.change_to(state).insist(f"changing device_state to {name(state)}", state)

    def change_to(self, state: int) -> Change:
        """Ask for ``state``, keeping bits 3-31, whatever the outcome. Raises DeviceError."""
        outcome = self.try_set_state(state)
        return Change(outcome, self.state(), latest_call())

    def attempt(self, value: int) -> Change:
        """Write ``value`` to device_state, all 32 bits of it, whatever the outcome. Raises DeviceError."""
        outcome = self.try_write(DEVICE_STATE, value)
        return Change(outcome, self.state(), latest_call())

    def enter(self, *states: DeviceState) -> None:
        """Bring the device into each of ``states`` in turn, as the way to what a test is about. Raises Unreachable.

        From RUNNING, one drawn transition leads to each of the five states; the present state is not written again.
        """
        with given():
            for state in states:
                if self.state() != state:
                    self.set_state(state)

    def run(self) -> None:
        """Bring a device that is not RUNNING there. Raises Unreachable."""
        self.enter(DeviceState.RUNNING)

    def in_error(self) -> bool:
        """Whether device_state reads the error state. Raises DeviceError."""
        return self.state() == DeviceState.ERROR

    # -- data -----------------------------------------------------------------------------------------------------

    def wait_for_data(self, seconds: float) -> int:
        """pending_bytes, read until it is not zero or ``seconds`` have passed. Raises StepFailed."""
        end = time.monotonic() + seconds
        while not (pending := self._step(PENDING_BYTES)) and time.monotonic() < end:
            self.region.pause(seconds / 100)
        return pending

    def place(self, size: int | None = None) -> Area:
        """Where the data is or goes: data_offset, and ``size``, or else data_size, which is read after it.

        Raises StepFailed if the driver refuses, or the place overlaps the registers, leaves the region, or is larger
        than the largest state.
        """
        offset = self._step(DATA_OFFSET)
        self._meet(Moment.OFFSET, Area(offset, 0))
        area = Area(offset, self._step(DATA_SIZE) if size is None else size)
        if area.offset < HEADER_SIZE or area.offset + area.size > self.region.size:
            room = Area(HEADER_SIZE, self.region.size - HEADER_SIZE)
            raise StepFailed("place", "taking the place of the data", f"a buffer inside {room}", str(area))
        self._believe(area.size)
        return area

    def _believe(self, total: int) -> None:
        """Raises StepFailed for more bytes than the largest state has."""
        if total > self.largest:
            limit = f"at most {counted(self.largest, 'byte')} (limits.largest_state)"
            raise StepFailed("end", "saving the state", limit, f"{total} so far")

    def save(
        self,
        into: Stream | None = None,
        reads: int = 1,
        enough: Callable[[int], bool] | None = None,
        patience: float = 0.0,
        within: float = math.inf,
        limit: str = "a third of limits.test",
    ) -> Stream:
        """Read buffers until pending_bytes is 0 (steps a to f, kabi v23 lines 196-218).

        The state goes ``into`` a stream, which keeps what was read before a failure. pending_bytes is read ``reads``
        times before each buffer, which must make no difference. In pre-copy, a running device may offer data forever:
        ``enough`` decides by the number of bytes whether to stop; and the first data may come late: it is waited for
        up to ``patience`` seconds. A state must come to its end ``within`` the given time, which ``limit`` names in
        words. Raises StepFailed if the driver refuses a step, offers an empty buffer while bytes are pending, the same
        one forever, or more than the largest state, in total or in one buffer.
        """
        stream = Stream() if into is None else into
        before, end = stream.total, time.monotonic() + within
        pending = self.wait_for_data(patience)
        while pending and not (enough and enough(stream.total - before)):
            for _ in range(reads - 1):
                self._step(PENDING_BYTES)
            self.read_buffer(stream)
            if not enough:
                self._believe(stream.total - before)
            before_it, pending = pending, self._step(PENDING_BYTES)
            if not enough and time.monotonic() > end:
                self._is_it_endless(stream, before_it == pending, limit)
        # What is read in pre-copy is only a part of the state, and may be out of date even if it was read to its end.
        if stream.total > before and self.state() == DeviceState.STOP_AND_COPY:
            self.region.count_pass()
        return stream

    def _is_it_endless(self, stream: Stream, stands: bool, time_limit: str) -> None:
        """Out of time. Raises StepFailed: at step ``end`` if the same buffer comes repeatedly, else ``time``."""
        again = stream.same_at_end() if stands else 1
        if again > _ENOUGH_OF_THE_SAME:
            seen = f"the same buffer {counted(again, 'time')}"
            raise StepFailed("end", "reading the state to its end", "an end", seen)
        limit = f"within {time_limit}, at limits.largest_state of {counted(self.largest, 'byte')}"
        seen = f"{counted(stream.total, 'byte')} so far"
        raise StepFailed("time", "reading the state to its end", f"an end {limit}", seen)

    def read_buffer(self, into: Stream | None = None) -> None:
        """Read the buffer that is offered to its last byte (steps b to d); it goes ``into`` a stream, if anywhere.

        Raises StepFailed, also for an empty buffer.
        """
        self._meet(Moment.PENDING, _NOWHERE)
        area = self.place()
        if not area.size:
            raise StepFailed("size", "reading data_size while bytes are pending", "more than 0", "0")
        self._meet(Moment.PLACED, area)
        stream = Stream() if into is None else into
        buffer = stream.add(area.offset, self._data(area))
        if self.between:
            self._meet(Moment.MOVED, area, next(stream.pieces(buffer, _SHOWN)))

    def load(self, stream: Stream) -> None:
        """Write a saved state to a device in resuming, buffer by buffer (kabi v23, lines 230-237).

        Raises StepFailed if the driver refuses a step or offers no room for a buffer.
        """
        for buffer in stream.buffers:
            self.load_buffer(buffer.size, stream.pieces(buffer))

    def load_buffer(self, size: int, pieces: Iterable[bytes]) -> None:
        """Steps a to c of resuming for one buffer of ``size`` bytes, written as it arrives. Raises StepFailed."""
        self._meet(Moment.PENDING, _NOWHERE)
        area = self.place(size)
        self._meet(Moment.PLACED, area)
        place, beginning = area.offset, b""
        for piece in pieces:
            self.write_data(place, piece)
            place += len(piece)
            beginning = beginning or piece[:_SHOWN]
        self._meet(Moment.MOVED, area, beginning)
        outcome = self.try_write(DATA_SIZE, size)
        if outcome.value != DATA_SIZE.width:
            what, taken = f"writing {size} to data_size", "8 bytes taken"
            raise StepFailed("data_size", what, taken, described(outcome), _errno(outcome))

    def _meet(self, moment: Moment, area: Area, beginning: bytes = b"") -> None:
        if self.between:
            self.between(moment, area, beginning)

    def write_data(self, offset: int, data: bytes) -> None:
        """Write a part of a buffer, in whichever way the device allows. Raises StepFailed."""
        try:
            self._try(lambda: self.region.write_bytes(offset, data))
            if self.mapped and self.region.fill(offset, data):
                return
            try:
                self.region.write_bytes(offset, data)
            except DeviceError as error:
                if not self.falls_back or not self.region.fill(offset, data):
                    raise
                self._map_from_now_on(error)
        except DeviceError as error:
            raise StepFailed("data", error.what, error.expected, error.seen, error.errno) from None

    def read_data(self, offset: int, length: int) -> bytes:
        """Read a part of a buffer, in whichever way the device allows. Raises StepFailed."""
        with memoryview(self._piece(offset, length)) as view:
            return bytes(view)

    def peek(self, offset: int, length: int) -> bytes:
        """What can be seen of ``length`` bytes of the section, part of a buffer or not; empty if that is refused."""
        if not self.mapped:
            outcome, data = self.region.try_read(offset, length)
            if outcome.ok:
                return data
        if view := self.region.view(offset, length):
            with view:
                return bytes(view)
        return self.region.try_read(offset, length)[1]

    def _data(self, area: Area) -> Iterator[bytes | memoryview]:
        for start in range(0, area.size, PIECE):
            piece = self._piece(area.offset + start, min(PIECE, area.size - start))
            if isinstance(piece, memoryview):
                with piece:
                    yield piece
            else:
                yield piece

    def _piece(self, offset: int, length: int) -> bytes | memoryview:
        """A view of a mapping, which the caller releases, or what read() gave. Raises StepFailed."""
        try:
            self._try(lambda: self.region.read_bytes(offset, length))
            if self.mapped and (view := self.region.view(offset, length)):
                return view
            try:
                return self.region.read_bytes(offset, length)
            except DeviceError as error:
                if not (view := self.region.view(offset, length)):
                    raise
                self._map_from_now_on(error)
                return view
        except DeviceError as error:
            raise StepFailed("data", error.what, error.expected, error.seen, error.errno) from None

    def _try(self, move: Callable[[], object]) -> None:
        if self.tries_both:
            self.tries_both = False
            try:
                move()
            except DeviceError as error:
                self.refused = error.with_traceback(None)

    def _map_from_now_on(self, refusal: DeviceError) -> None:
        """On this device, read() or write() does not move data, but a mapping does.

        The refusal is kept without its traceback, whose frames hold a view of the mapping and so keep the device open.
        """
        self.mapped, self.refused = True, self.refused or refusal.with_traceback(None)

    def _step(self, register: Register) -> int:
        try:
            return self.read(register)
        except DeviceError as error:
            raise StepFailed(register.name, error.what, error.expected, error.seen, error.errno) from None

    # -- the client's side ----------------------------------------------------------------------------------------

    def accesses(self, calls: Iterable[Call]) -> Iterator[Access]:
        """The calls of a trace that show a client's use of this region, in the form for a judge of clients.

        If data moves through mappings that were made before, these come first.
        """
        if self.mapped:
            yield from (Access("map", area.offset, area.size) for area in self.region.mapped)
        target = f"region {self.region.index}"
        for call in calls:
            if verb := access_verb(call.verb, call.target, call.number, target):
                yield Access(verb, call.number, call.length, call.value, *call.moved, call.serial)
