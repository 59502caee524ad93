# SPDX-License-Identifier: GPL-2.0-only
"""The migration region of version 1: its registers, device_state, and moving data through it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from ..model.client_v1 import Access, access_verb
from ..model.states_v1 import name
from ..transport import Call, Outcome
from ..uapi.migration_v1 import (
    DATA_OFFSET,
    DATA_SIZE,
    DEVICE_STATE,
    HEADER_SIZE,
    PENDING_BYTES,
    VFIO_DEVICE_STATE_MASK,
    DeviceState,
    Register,
    state_is_error,
)
from .errors import DeviceError, Unreachable
from .region import Area, Region, tell


class MigrationRegion:
    """Access to the registers, as a well-behaved client makes it unless the verb says otherwise."""

    def __init__(self, region: Region) -> None:
        self.region = region

    # -- registers ------------------------------------------------------------------------------------------------

    def try_read(self, register: Register) -> tuple[Outcome, bytes]:
        """Read ``register`` at its width; what the driver answered, and the bytes that came."""
        return self.region.try_read(register.offset, register.width)

    def try_write(self, register: Register, value: int) -> Outcome:
        """Write ``value``, modulo the register's width, to ``register``; what the driver answered."""
        bits = value & (1 << 8 * register.width) - 1
        return self.region.try_write(register.offset, bits.to_bytes(register.width, "little"))

    def read(self, register: Register) -> int:
        """The value of ``register``. Raises DeviceError."""
        outcome, data = self.try_read(register)
        if outcome.value != register.width:
            raise DeviceError(f"reading {register.name}", f"{register.width} bytes", tell(outcome))
        return int.from_bytes(data, "little")

    def write(self, register: Register, value: int) -> None:
        """Set ``register``. Raises DeviceError when the driver refuses or takes a part only."""
        outcome = self.try_write(register, value)
        if outcome.value != register.width:
            raise DeviceError(f"writing 0x{value:x} to {register.name}", f"{register.width} bytes taken", tell(outcome))

    # -- device_state ---------------------------------------------------------------------------------------------

    def state(self) -> int:
        """device_state, all 32 bits. Raises DeviceError."""
        return self.read(DEVICE_STATE)

    def try_set_state(self, state: int) -> Outcome:
        """Ask for ``state``, keeping bits 3-31 as they are read first (kabi v23, lines 87-89).

        After a failure device_state is read again, as the text wants of a user (lines 64-67).
        Raises DeviceError when device_state cannot be read.
        """
        kept = self.state() & ~VFIO_DEVICE_STATE_MASK
        outcome = self.try_write(DEVICE_STATE, kept | state)
        if outcome.value != DEVICE_STATE.width:
            self.state()
        return outcome

    def set_state(self, state: int) -> None:
        """Ask for ``state`` and see that it is there. Raises DeviceError."""
        outcome = self.try_set_state(state)
        now = self.state()
        if outcome.value != DEVICE_STATE.width or now & VFIO_DEVICE_STATE_MASK != state:
            raise DeviceError(
                f"changing device_state to {name(state)}",
                f"4 bytes taken, then {name(state)}",
                f"{tell(outcome)}, then {name(now)}",
            )

    def enter(self, *states: DeviceState) -> None:
        """Bring the device into each of ``states`` in turn, as the way to what a test is about. Raises Unreachable.

        From RUNNING a single drawn transition leads to each of the five states; the present state is not written again.
        """
        try:
            for state in states:
                if self.state() & VFIO_DEVICE_STATE_MASK != state:
                    self.set_state(state)
        except DeviceError as error:
            raise Unreachable(error.what, error.expected, error.seen) from None

    def in_error(self) -> bool:
        """Whether device_state reads the error state. Raises DeviceError."""
        return state_is_error(self.state())

    # -- data -----------------------------------------------------------------------------------------------------

    def wait_for_data(self, seconds: float) -> int:
        """pending_bytes, read until it is not zero or ``seconds`` have passed. Raises DeviceError."""
        end = time.monotonic() + seconds
        while not (pending := self.read(PENDING_BYTES)) and time.monotonic() < end:
            self.region.pause(seconds / 100)
        return pending

    def buffer(self) -> Area:
        """Steps b and c of saving: read data_offset, then data_size; where the current buffer lies.

        Raises DeviceError when the driver refuses, or the buffer overlaps the registers or leaves the region.
        """
        area = Area(self.read(DATA_OFFSET), self.read(DATA_SIZE))
        self._inside(area)
        return area

    def save(self, most: int) -> list[bytes]:
        """Read buffers until pending_bytes is 0 (steps a to f, kabi v23 lines 196-218); each buffer's bytes.

        Raises DeviceError when the driver refuses a step, offers an empty buffer while bytes are pending, or
        more than ``most`` bytes in all.
        """
        buffers: list[bytes] = []
        total = 0
        while self.read(PENDING_BYTES):
            area = self.buffer()
            total += area.size
            if not area.size:
                raise DeviceError("reading data_size while bytes are pending", "more than 0", "0")
            if total > most:
                raise DeviceError("saving the state", f"at most {most} bytes (limits.largest_state)", f"{total} so far")
            buffers.append(self.region.read_bytes(area.offset, area.size))
        return buffers

    def load(self, buffers: Iterable[bytes]) -> None:
        """Give a saved state to a device in resuming, buffer by buffer (kabi v23, lines 230-237).

        Raises DeviceError when the driver refuses a step or offers no room for a buffer.
        """
        for data in buffers:
            area = Area(self.read(DATA_OFFSET), len(data))
            self._inside(area)
            self.region.write_bytes(area.offset, data)
            self.write(DATA_SIZE, len(data))

    def _inside(self, area: Area) -> None:
        room = Area(HEADER_SIZE, self.region.size - HEADER_SIZE)
        if area.offset < room.offset or area.offset + area.size > self.region.size:
            raise DeviceError("taking the place of the data", f"a buffer inside {room}", str(area))

    # -- the client's side ----------------------------------------------------------------------------------------

    def accesses(self, calls: Iterable[Call]) -> Iterator[Access]:
        """The calls of a trace that tell of a client's use of this region, as a judge of clients wants them."""
        target = f"region {self.region.index}"
        for number, call in enumerate(calls, 1):
            data = call.sent if call.verb == "write" else call.received
            if verb := access_verb(call.verb, call.target, call.number, target):
                yield Access(verb, call.number, call.length, call.value, data, call.digest, number)
