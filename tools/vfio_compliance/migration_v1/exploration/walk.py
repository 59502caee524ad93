# SPDX-License-Identifier: GPL-2.0-only
"""One walk: takes steps on a device and lets the model judge each answer."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from ...common.words import counted
from ...device import Device, DeviceError
from ...run.exploring import Line, Part, Strayed, told
from ...transport import Outcome
from ...uapi.migration_v1 import (
    DATA_OFFSET,
    DATA_SIZE,
    DEVICE_STATE,
    HEADER_SIZE,
    PENDING_BYTES,
    RESERVED,
    DeviceState,
    Register,
)
from ..actor import Hidden, MigrationActor
from ..migration import Destination
from ..model import Answer, Deviation, DeviceModel, Layout, Saved
from ..region import MigrationRegion
from ..states import drawn_from, name

T = TypeVar("T")

#: A state of more buffers or bytes than these is not read to its end.
_MOST_BUFFERS, _MOST_BYTES = 64, 4 << 20

#: Prefix for steps on the second device.
SECOND = "second: "

#: Where an access behind the registers is tried: this many bytes from a significant place.
_NEAR = (-8, -1, 0, 1, 8)


class Walk:
    """Steps on a device that is RUNNING. Each public verb from ``move`` on is a step, which can be taken at any time.

    Raises Strayed for an answer that the specification forbids, TransportError if none came.
    """

    #: What other interfaces add to the walk.
    parts: Sequence[Part] = ()
    #: Opens the device on which states are restored, if there is another one.
    second: Callable[[], AbstractContextManager[Destination]] | None = None

    def __init__(
        self, device: Device, migration: MigrationRegion, actor: MigrationActor, source: Walk | None = None
    ) -> None:
        """``source``: the walk that a device goes along with as the second one; its lines and states are shared.

        Raises DeviceError if the device does not describe the parts of its migration region.
        """
        self._device = device
        self._migration = migration
        self._actor = actor
        region = migration.region
        areas = [(area.offset, area.size) for area in region.areas]
        self.model = DeviceModel(Layout(region.size, areas, mmap.PAGESIZE), source.saved if source else None)
        #: Prefix for the lines of the steps.
        self._on = SECOND if source else ""
        #: Held while the device is not open, to keep a second thread away.
        self.closed = threading.Lock()
        #: The steps up to now.
        self.lines: list[Line] = source.lines if source else []

    def take(self, verb: str, drawn: dict[str, Any]) -> None:
        """Take a step of its own or of a part."""
        taker = next((part for part in self.parts if verb in part.steps), self)
        getattr(taker, verb)(**drawn)

    @property
    def saved(self) -> list[Saved]:
        """The whole states that are known."""
        return self.model.saved

    @property
    def works(self) -> bool:
        """The device runs, and nothing was done to it that leaves its state unspecified."""
        return self.model.works

    @property
    def interruptions(self) -> int:
        """How many times it was reset, stopped, failed, or left by its user."""
        return self.model.interruptions

    def disturbed(self) -> None:
        """A part made the device do something, which may be visible."""
        if self.model.visible is not None:
            self.model.visible = self._stimulate("look at the visible state", self._actor.show)

    # -- device_state ---------------------------------------------------------------------------------------------

    def move(self, choice: int) -> None:
        """Take one of the transitions that are drawn from the present state; from stop and error, reset."""
        targets = drawn_from(self.model.state)
        if targets:
            self.write_state(targets[choice % len(targets)])
        else:
            self.reset()

    def enter(self, state: DeviceState) -> None:
        """Go to a state by a drawn transition, after a reset if none leads there from the present one."""
        if state not in drawn_from(self.model.state):
            self.reset()
        if state != self.model.state:
            self.write_state(state)

    def write_state(self, value: int) -> None:
        """Write any value to device_state."""
        self._write_state(value, provoked=False)

    def fail(self, choice: int) -> None:
        """Take a drawn transition after the device was made to fail, if nothing else could prevent it."""
        if self.model.sure_to_move:
            targets = drawn_from(self.model.state)
            self._stimulate("make the device fail", self._actor.provoke_error)
            self._write_state(targets[choice % len(targets)], provoked=True)

    def _write_state(self, value: int, provoked: bool) -> None:
        did = f"{name(self.model.state)} -> {name(value)}" + (", made to fail" if provoked else "")
        self._write(did, DEVICE_STATE, value, lambda answer: self.model.write_state(value, answer, provoked))

    def read_state(self) -> None:
        """Read device_state."""
        outcome, data = self._migration.try_read(DEVICE_STATE)
        seen = told(outcome, name(int.from_bytes(data, "little")) if data else "")
        self._judge("read device_state", seen, self.model.read_state, outcome, data)

    def reset(self) -> None:
        """Reset the device, and read device_state."""
        if not self._device.announces_reset:
            return self.reopen()
        outcome = self._device.try_reset()
        self._conclude("reset", told(outcome, "success"), lambda: self.model.reset(_answer(outcome)))
        return self._read_state_too()

    def reopen(self) -> None:
        """Close the device, whatever is under way, open it again for the next user, and read device_state."""
        with self.closed:
            self._device.reopen()
        self.model.reopened()
        self._add(Line("close and open", "success", "success"))
        self._read_state_too()
        for part in self.parts:
            part.user_gone()

    def _read_state_too(self) -> None:
        """Read device_state, and add it to the line of the step before if it is as expected."""
        self.read_state()
        state = self.lines.pop()
        self.lines[-1] = self.lines[-1]._replace(seen=f"{self.lines[-1].seen}, reads {state.seen}")

    # -- the other registers --------------------------------------------------------------------------------------

    def read_reserved(self) -> None:
        """Read the reserved register."""
        self._read(RESERVED, self.model.read_reserved)

    def write_reserved(self, value: int) -> None:
        """Write the reserved register."""
        self._write(f"write 0x{value:x} to reserved", RESERVED, value, self.model.write_reserved)

    def read_pending(self) -> int:
        """Read pending_bytes."""
        return self._read(PENDING_BYTES, self.model.read_pending)

    def read_offset(self) -> int:
        """Read data_offset."""
        return self._read(DATA_OFFSET, self.model.read_offset)

    def read_size(self) -> int:
        """Read data_size."""
        return self._read(DATA_SIZE, self.model.read_size)

    def write_pending(self, value: int) -> None:
        """Write pending_bytes, which is read-only; read it before and after if that is in order."""
        in_order = self.model.saving and not self.model.saving.place
        if in_order:
            self.read_pending()
        self._write(f"write 0x{value:x} to pending_bytes", PENDING_BYTES, value, self.model.write_read_only)
        if in_order:
            self.read_pending()

    def write_offset(self, value: int) -> None:
        """Write data_offset, which is read-only; read it if that is in order."""
        self._write(f"write 0x{value:x} to data_offset", DATA_OFFSET, value, self.model.write_read_only)
        if self.model.resuming or (self.model.saving and self.model.saving.place):
            self.read_offset()

    def write_size(self, value: int) -> None:
        """Write data_size, in any state."""
        did = f"write 0x{value:x} to data_size"
        self._write(did, DATA_SIZE, value, lambda answer: self.model.write_size(value, answer))

    def read_oddly(self, place: tuple[int, int]) -> None:
        """Read a part of the header, offset and length, that is not one register."""
        offset, width = place
        outcome, data = self._migration.region.try_read(offset, width)
        self._judge(f"read {counted(width, 'byte')} at {offset}", told(outcome), self.model.access_oddly, outcome, data)

    def write_oddly(self, place: tuple[int, int], value: int) -> None:
        """Write a part of the header, offset and length, that is not one register."""
        offset, width = place
        data = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        outcome = self._migration.region.try_write(offset, data)
        did = f"write 0x{value:x}, {counted(width, 'byte')} at {offset}"
        self._judge(did, told(outcome), self.model.access_oddly, outcome)

    # -- the data section -----------------------------------------------------------------------------------------

    def peek(self, place: int, near: int, length: int) -> None:
        """Read behind the registers, near the start or end of the region or of the present buffer."""
        self._read_data(self._offset(place, near), length)

    def _read_data(self, offset: int, length: int) -> int:
        """Bytes read."""
        outcome, data = self._migration.region.try_read(offset, length)

        def judge(answer: Answer) -> str:
            return self.model.read_data(offset, length, answer)

        self._judge(f"read {counted(length, 'byte')} at 0x{offset:x}", told(outcome), judge, outcome, data)
        return len(data)

    def poke(self, place: int, near: int, data: bytes) -> None:
        """Write behind the registers, in the same places."""
        self._write_data(self._offset(place, near), data)

    def _write_data(self, offset: int, data: bytes) -> int:
        """Bytes taken."""
        outcome = self._migration.region.try_write(offset, data)

        def judge(answer: Answer) -> str:
            return self.model.write_data(offset, data, answer)

        self._judge(f"write {counted(len(data), 'byte')} at 0x{offset:x}", told(outcome), judge, outcome)
        return max(outcome.value, 0)

    def _offset(self, place: int, near: int) -> int:
        """Where to peek and poke: never at a register."""
        size = self._migration.region.size
        places = [HEADER_SIZE, size]
        if self.model.saving and self.model.saving.place:
            start, length = self.model.saving.place
            places = [start, start + (length or 0), *places]
        if self.model.resuming and self.model.resuming.place:
            places = [self.model.resuming.place, *places]
        return max(places[place % len(places)] + _NEAR[near % len(_NEAR)], HEADER_SIZE)

    # -- whole buffers --------------------------------------------------------------------------------------------

    def save_buffer(self, pieces: int = 1) -> int:
        """Steps a to e of saving: pending_bytes, and if there is data, data_offset, data_size and the data.

        A device that does not save goes to pre-copy or stop-and-copy first. Gives the size of the buffer, 0 for none.
        """
        if self.model.saving is None or self.model.failed:
            self.enter(DeviceState.PRE_COPY if pieces % 2 else DeviceState.STOP_AND_COPY)
        return self._read_buffer(pieces) if self.read_pending() else 0

    def read_again(self, pieces: int = 1) -> None:
        """Read the present buffer again, registers and data."""
        saving = self.model.saving
        if saving and saving.place and not self.model.failed:
            self._read_buffer(pieces)

    def _read_buffer(self, pieces: int) -> int:
        offset, size = self.read_offset(), self.read_size()
        if self.model.saving is None or self.model.saving.undefined or size > _MOST_BYTES:
            return 0
        length = -(-size // pieces)
        for start in range(0, size, length):
            self._fetch(offset + start, min(length, size - start))
        return size

    def _fetch(self, offset: int, length: int) -> None:
        """Read a number of bytes of a buffer, in as many reads as the device needs."""
        while length:
            done = self._read_data(offset, length)
            offset, length = offset + done, length - done

    def save_rest(self, reads: int = 1) -> None:
        """Read buffers until nothing is pending, in stop-and-copy unless that happens in pre-copy; one line for all.

        pending_bytes is read ``reads`` times before each.
        """
        if self.model.saving is None or self.model.failed:
            self.enter(DeviceState.STOP_AND_COPY)
        if self.model.saving is None:
            return
        often = f", asking {counted(reads, 'time')}" if reads > 1 else ""
        with _Folded(self, f"read the rest of the state{often}") as folded:
            total = 0
            for number in range(_MOST_BUFFERS):
                pending = [self.read_pending() for _ in range(reads)]
                if not pending[-1] or self.model.saving.undefined or total > _MOST_BYTES:
                    break
                total += self._read_buffer(1)
                folded.done(f"{counted(total, 'byte')}, buffers: {number + 1}")

    def load_buffer(self, pieces: int = 1) -> None:
        """Steps a to c of resuming, with the next buffer of the state that was saved on this walk."""
        if self.model.stream and (self.model.resuming is None or self.model.failed):
            self.enter(DeviceState.RESUMING)
        resuming = self.model.resuming
        if resuming is None or self.model.failed or (buffer := resuming.next_buffer) is None:
            return
        place = self.read_offset()
        length = -(-len(buffer) // pieces)
        for start in range(0, len(buffer), length):
            if resuming.undefined:
                return
            self._store(place + start, buffer[start : start + length])
        self.write_size(len(buffer))

    def _store(self, offset: int, data: bytes) -> None:
        while data and (done := self._write_data(offset, data)):
            offset, data = offset + done, data[done:]

    def load_rest(self) -> None:
        """Write the rest of the state that was saved on this walk; one line for all of it."""
        resuming = self.model.resuming
        if resuming is None or self.model.failed or resuming.next_buffer is None:
            return
        with _Folded(self, "write the rest of the saved state") as folded:
            before = resuming.taken
            while not (resuming.undefined or self.model.failed) and resuming.next_buffer is not None:
                self.load_buffer()
                folded.done(f"buffers: {resuming.taken - before}")

    # -- whole states ---------------------------------------------------------------------------------------------

    def save_whole(self, reads: int = 1) -> None:
        """Stop the device, and read its state to the end."""
        self.enter(DeviceState.STOP_AND_COPY)
        self.save_rest(reads)

    def save_live(self, value: int, buffers: int) -> None:
        """Read some buffers in pre-copy, change the device, and read the rest of its state in stop-and-copy."""
        self.enter(DeviceState.PRE_COPY)
        with _Folded(self, f"read as many as {counted(buffers, 'buffer')}") as folded:
            total = 0
            for number in range(buffers):
                total += self.save_buffer()
                folded.done(f"{counted(total, 'byte')}, buffers: {number + 1}")
        self.put(value)
        if self.model.saving and not self.model.saving.undefined:
            self.read_pending()
        self.write_state(DeviceState.STOP_AND_COPY)
        self.save_rest()

    def save_changed(self, value: int) -> None:
        """Change the device, stop it, and read its state to the end."""
        self.put(value)
        self.save_whole()

    def leave_saving(self, buffers: int, how: int) -> None:
        """Start saving, read some buffers, and end early."""
        if self.model.saving is None or self.model.failed:
            self.enter(DeviceState.PRE_COPY if buffers % 2 else DeviceState.STOP_AND_COPY)
        for _ in range(buffers):
            self.save_buffer()
        self._give_up(how)

    def leave_resuming(self, buffers: int, how: int) -> None:
        """Start resuming, write some buffers of a state, and end early."""
        if self.model.stream:
            self.enter(DeviceState.RESUMING)
            for _ in range(buffers):
                self.load_buffer()
            self._give_up(how)

    def _give_up(self, how: int) -> None:
        """By a reset, by the loss of the user, or by device_state."""
        if how % 3 == 0:
            self.reset()
        elif how % 3 == 1:
            self.reopen()
        else:
            self.write_state(DeviceState.RUNNING)

    def choose(self, which: int) -> None:
        """Restore another of the saved states from now on."""
        if len(self.model.saved) > 1:
            self.model.choose(which)
            which = which % len(self.model.saved)
            self._add(Line(f"take the state saved {counted(which, 'time')} before the last", "", ""))

    def send(self, which: int, back: int) -> None:
        """Restore a saved state on the second device, let it run there, and save it there, to bring it back."""
        if self.second is None or not self.model.saved:
            return
        try:
            with self.second() as there:
                walk = Walk(there.device, there.migration, there.actor, self)
                walk.model.choose(which)
                walk.migrate()
                if back:
                    walk.save_whole()
                    self.model.choose(0)
        except DeviceError as error:
            raise Strayed(self.lines, Line(f"{SECOND}{error.what}", error.expected, error.seen)) from None
        if back:
            self.migrate()

    def migrate(self) -> None:
        """Restore a state that was saved on this walk, let the device run, and look at it."""
        if self.model.stream:
            self.enter(DeviceState.RESUMING)
            self.load_rest()
            self.write_state(DeviceState.RUNNING)
            self.show()

    # -- what the profile knows -----------------------------------------------------------------------------------

    def put(self, value: int) -> None:
        """Put a number into the device's visible state while it runs, and look at it."""
        if self.model.failed or not self.model.runs or not self._actor.can_put:
            return
        did = f"put 0x{value:x} into the state"
        self._stimulate(did, lambda: self._actor.put(value))
        self._add(Line(did, "success", "success"))
        self.model.visible = self._stimulate("look at the visible state", self._actor.show)

    def show(self) -> None:
        """Look at the visible state, while the device runs."""
        if not self.model.failed and self.model.runs and self.model.visible is not None and self._actor.can_put:
            seen = self._stimulate("look at the visible state", self._actor.show)
            self._conclude("look at the visible state", _hexes(seen), lambda: self.model.shown(seen))

    def sample(self) -> None:
        """Look at what changes while the device runs; twice if it must not change."""
        self._look()
        if not self.model.runs:
            self._look()

    def _look(self) -> None:
        with suppress(Hidden):
            value = self._stimulate("look at the running sample", self._actor.counter().sample)
            self._conclude("look at the running sample", hex(value), lambda: self.model.sampled(value))

    def halt(self, choice: int) -> None:
        """Stop a device that runs, and look at what changes while it runs."""
        if self.model.runs and not self.model.failed:
            self.write_state((DeviceState.STOP, DeviceState.STOP_AND_COPY)[choice % 2])
            self.sample()

    # -- carrying out ---------------------------------------------------------------------------------------------

    def _stimulate(self, did: str, act: Callable[[], T]) -> T:
        try:
            return act()
        except DeviceError as error:
            raise self._strayed(Line(did, error.expected, error.seen)) from None

    def _read(self, register: Register, judge: Callable[[Answer], str]) -> int:
        outcome, data = self._migration.try_read(register)
        number = int.from_bytes(data, "little")
        shown = hex(number) if register in (RESERVED, DATA_OFFSET) else str(number)
        seen = told(outcome, shown if outcome.value == register.width else "")
        self._judge(f"read {register.name}", seen, judge, outcome, data)
        return number

    def _write(self, did: str, register: Register, value: int, judge: Callable[[Answer], str]) -> None:
        outcome = self._migration.try_write(register, value)
        self._judge(did, told(outcome, "success" if outcome.value == register.width else ""), judge, outcome)

    def _judge(self, did: str, seen: str, judge: Callable[[Answer], str], outcome: Outcome, data: bytes = b"") -> None:
        """Let the model judge an answer. After a refusal, device_state is read, as a client must."""
        self._conclude(did, seen, lambda: judge(_answer(outcome, data)))
        if not outcome.ok:
            self._read_state_too()

    def _conclude(self, did: str, seen: str, judge: Callable[[], str]) -> None:
        try:
            self._add(Line(did, judge(), seen))
        except Deviation as deviation:
            raise self._strayed(Line(did, deviation.expected, deviation.seen or seen)) from None

    def _add(self, line: Line) -> None:
        self.lines.append(line._replace(did=self._on + line.did))

    def _strayed(self, line: Line) -> Strayed:
        return Strayed(self.lines, line._replace(did=self._on + line.did))


class _Folded:
    """Shows the buffers that are moved in its block as one line."""

    def __init__(self, walk: Walk, did: str) -> None:
        self._lines = walk.lines
        self._did = walk._on + did
        self._before = self._done = len(walk.lines)
        self._seen = "nothing"

    def done(self, seen: str) -> None:
        """One more buffer was moved, which makes ``seen`` in total."""
        self._done, self._seen = len(self._lines), seen

    def __enter__(self) -> _Folded:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        line = Line(self._did, "all steps taken", self._seen)
        if isinstance(error, Strayed):
            error.lines[self._before : self._done] = [line] if self._done > self._before else []
        else:
            self._lines[self._before :] = [line]


def _answer(outcome: Outcome, data: bytes = b"") -> Answer:
    return Answer(outcome.value if outcome.ok else -1, data)


def _hexes(values: list[int]) -> str:
    return " ".join(map(hex, values))
