# SPDX-License-Identifier: GPL-2.0-only
"""A device that refuses a transition on command by FAULT, or fails while saving or resuming, and does that wrongly."""

from __future__ import annotations

from errno import EIO

from ...device.machine import CONTROL, FAULT, LOAD_FAULT, SAVE_FAULT, Machine
from ...overlays import defect, part_of
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import ERROR, RUNNING_BIT, STATE_BITS
from ..stream import Image, Incoming, Outgoing
from .state import Latching

#: The value of FAULT by which the next write of device_state is refused.
_REFUSE = 2


def _register(machine: Machine, offset: int) -> int:
    return int.from_bytes(machine.read(offset, 4), "little")


class Commanded(MigrationRegion):
    """Notes the writes of device_state that FAULT has it refuse, and may do more then."""

    #: Whether the last write was one of them.
    _commanded = False

    def write_state(self, value: int) -> None:
        self._commanded = _register(self._machine, FAULT) == _REFUSE
        try:
            super().write_state(value)
        except Refusal:
            if self._commanded:
                self._has_refused_on_command(value)
            raise

    def _has_refused_on_command(self, value: int) -> None:
        """A write of this value was refused."""

    def _force(self, state: int) -> None:
        super()._force(state)
        self._commanded = False


@defect("refusal-silent", "a requested refusal of a transition answers success; the state is kept")
class RefusalSilent(Commanded):
    def _write_state(self, value: int) -> int:
        try:
            return super()._write_state(value)
        except Refusal:
            if self._commanded:
                return 4
            raise


@defect("refusal-moves-state", "a requested refusal of a transition answers an error, but the transition is made")
class RefusalMovesState(Commanded):
    def _has_refused_on_command(self, value: int) -> None:
        super()._has_refused_on_command(value)
        self._move(value & STATE_BITS)


@defect("refusal-becomes-error", "a requested refusal of a transition leads to the error state")
class RefusalBecomesError(Commanded):
    def _has_refused_on_command(self, value: int) -> None:
        super()._has_refused_on_command(value)
        self._move(ERROR)


@defect(
    "refusal-sets-error-bits",
    "after a requested refusal, the bits of the error state are set in the state that was kept",
)
class RefusalSetsErrorBits(Commanded):
    def read_state(self) -> int:
        return super().read_state() | (ERROR if self._commanded else 0)


@defect("refusal-latches", "after a requested refusal, every write of device_state is refused until reset")
class RefusalLatches(Latching, Commanded):
    def _has_refused_on_command(self, value: int) -> None:
        super()._has_refused_on_command(value)
        self._latched = True


@defect("refusal-freezes", "after a requested refusal in a state in which it runs, the device is stopped")
class RefusalFreezes(Commanded):
    def _has_refused_on_command(self, value: int) -> None:
        super()._has_refused_on_command(value)
        if self.state & RUNNING_BIT:
            self._machine.halt()


@defect("refusal-ends-dma", "after a requested refusal in a state in which it runs, the device ends its DMA stream")
class RefusalEndsDma(Commanded):
    def _has_refused_on_command(self, value: int) -> None:
        super()._has_refused_on_command(value)
        self._machine.write(CONTROL, bytes(4))


@defect("refusal-wakes", "after a requested refusal in a state in which it is stopped, the device runs")
class RefusalWakes(Commanded):
    def _has_refused_on_command(self, value: int) -> None:
        super()._has_refused_on_command(value)
        if not self.state & RUNNING_BIT:
            self._machine.run()


# A device that fails while resuming.


class Faulty(MigrationRegion):
    """Knows when it has to fail."""

    def _fault_is_due(self) -> bool:
        """Whether the device has to fail at the next buffer written to it."""
        return self._incoming is not None and _register(self._machine, LOAD_FAULT) == 1


class Overlooking(Faulty):
    """Does not report a fault while resuming."""

    def write_size(self, size: int) -> None:
        incoming = self._incoming
        if incoming is not None and self._fault_is_due() and self._is_overlooked(incoming):
            self._machine.count_down(LOAD_FAULT)
            self._overlook(incoming, size)
        else:
            super().write_size(size)

    def _is_overlooked(self, incoming: Incoming) -> bool:
        return True

    def _overlook(self, incoming: Incoming, size: int) -> None:
        """Instead of failing, count the buffer and lose its content."""
        assert isinstance(incoming, Losing)
        incoming.loses = True
        super().write_size(size)
        incoming.loses = False


class Losing(Incoming):
    """May lose data written to it."""

    loses = False

    def _store(self, content: memoryview, image: Image, start: int, checksum: int) -> int:
        if self.loses:
            image, start = Image(memoryview(b""), bytearray(len(content))), 0
        return super()._store(content, image, start, checksum)


@defect("resume-fault-loses-buffer", "a fault while resuming is not reported, and the buffer is lost")
class FaultLosesBuffer(Overlooking):
    pass


@defect("resume-fault-loses-later-buffer", "a fault after the first buffer is not reported, and the buffer is lost")
class FaultLosesLaterBuffer(Overlooking):
    def _is_overlooked(self, incoming: Incoming) -> bool:
        return bool(incoming.number)


part_of("resume-fault-loses-buffer", "resume-fault-loses-later-buffer")(Losing)


@defect(
    "resume-fault-keeps-old", "a fault while resuming is not reported, and the device runs with the registers it had"
)
class FaultKeepsOld(Overlooking):
    def _overlook(self, incoming: Incoming, size: int) -> None:
        assert isinstance(incoming, Deaf)
        incoming.deaf = True
        super(Overlooking, self).write_size(size)


@part_of("resume-fault-keeps-old")
class Deaf(Incoming):
    """May accept any buffer and ignore it."""

    deaf = False

    def take(self, buffer: memoryview) -> None:
        if not self.deaf:
            super().take(buffer)

    def registers(self) -> bytes | None:
        return None if self.deaf else super().registers()


@defect("resume-fault-short", "at a fault while resuming, the write of data_size answers 0 bytes instead of an error")
class FaultShort(Faulty):
    def _write_size(self, value: int) -> int:
        due = self._fault_is_due()
        try:
            return super()._write_size(value)
        except Refusal:
            if due:
                return 0
            raise


class Struck(Faulty):
    """Remembers that it has failed while resuming."""

    _struck = False

    def open(self) -> None:
        super().open()
        self._struck = False

    def write_size(self, size: int) -> None:
        due = self._fault_is_due()
        try:
            super().write_size(size)
        except Refusal:
            self._struck |= due
            raise


@defect("resume-fault-wedges", "once the device has failed while resuming, every reset fails")
class FaultWedges(Struck):
    def reset(self) -> None:
        if self._struck:
            raise Refusal(EIO)
        super().reset()


@defect(
    "resume-fault-outlives-reset", "once the device has failed while resuming, no data is accepted, even after a reset"
)
class FaultOutlivesReset(Struck):
    def _take(self, incoming: Incoming, size: int) -> None:
        if self._struck:
            raise Refusal(EIO)
        super()._take(incoming, size)


@defect("save-fault-wedges", "once the device has failed while saving, every reset fails")
class SaveFaultWedges(MigrationRegion):
    _struck = False

    def open(self) -> None:
        super().open()
        self._struck = False

    def _offer(self, outgoing: Outgoing) -> None:
        due = _register(self._machine, SAVE_FAULT) == 1
        try:
            super()._offer(outgoing)
        except Refusal:
            self._struck |= due
            raise

    def reset(self) -> None:
        if self._struck:
            raise Refusal(EIO)
        super().reset()
