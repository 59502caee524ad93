# SPDX-License-Identifier: GPL-2.0-only
"""device_state: what it reads, what a write of it answers, and which values it accepts."""

from __future__ import annotations

from errno import EIO
from math import inf
from time import monotonic

from ...overlays import defect
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import ERROR, PRE_COPY, RESUMING, RUNNING, STATE_BITS, STATES, STOP, STOP_AND_COPY
from .history import Counting, History

_BIT_31 = 1 << 31


@defect("state-read-stale", "device_state reads the state before the last change")
class ReadStale(History):
    def read_state(self) -> int:
        return self._previous


@defect("state-read-stale-once", "after pre-copy -> stop-and-copy device_state reads pre-copy once more")
class ReadStaleOnce(MigrationRegion):
    _is_stale = False

    def _move(self, new: int) -> None:
        self._is_stale = (self.state, new) == (PRE_COPY, STOP_AND_COPY)
        super()._move(new)

    def read_state(self) -> int:
        if self._is_stale:
            self._is_stale = False
            return PRE_COPY
        return super().read_state()


@defect("state-write-short", "a successful write of device_state reports 0 bytes written")
class WriteShort(MigrationRegion):
    def _write_state(self, value: int) -> int:
        super()._write_state(value)
        return 0


@defect("state-write-returns-state", "a successful write of device_state reports as many bytes as the state's number")
class WriteReturnsState(MigrationRegion):
    def _write_state(self, value: int) -> int:
        super()._write_state(value)
        return value & STATE_BITS


@defect("state-write-short-from-pre-copy", "a successful write of device_state in pre-copy reports 0 bytes written")
class WriteShortFromPreCopy(MigrationRegion):
    def _write_state(self, value: int) -> int:
        old = self.state
        count = super()._write_state(value)
        return 0 if old == PRE_COPY else count


@defect("state-failure-silent", "a refused write of device_state answers success; the state is kept")
class FailureSilent(MigrationRegion):
    def _write_state(self, value: int) -> int:
        try:
            return super()._write_state(value)
        except Refusal:
            return 4


@defect("state-failure-short", "a refused write of device_state answers a short count (2) instead of an error")
class FailureShort(MigrationRegion):
    def _write_state(self, value: int) -> int:
        try:
            return super()._write_state(value)
        except Refusal:
            return 2


@defect("state-failure-silent-again", "the second of two refused writes of device_state in a row answers success")
class FailureSilentAgain(Counting):
    def _write_state(self, value: int) -> int:
        try:
            return super()._write_state(value)
        except Refusal:
            if self._in_a_row > 1:
                return 4
            raise


@defect("state-fault-silent", "a fault that leads to the error state is answered with success")
class FaultSilent(MigrationRegion):
    def _write_state(self, value: int) -> int:
        old = self.state
        try:
            return super()._write_state(value)
        except Refusal:
            if self.state != old:
                return 4
            raise


@defect("state-failure-stores", "a refused write of device_state stores the new bits nevertheless")
class FailureStores(Counting):
    def _has_refused(self, value: int) -> None:
        super()._has_refused(value)
        if value & STATE_BITS != self.state:
            self._move(value & STATE_BITS)


@defect("state-failure-ends-pre-copy", "a refused write of device_state in pre-copy leads back to RUNNING")
class FailureEndsPreCopy(Counting):
    def _has_refused(self, value: int) -> None:
        super()._has_refused(value)
        if self.state == PRE_COPY:
            self._move(RUNNING)


@defect("state-failure-reports-7", "after a refused write device_state reads 111b")
class FailureReports7(Counting):
    def read_state(self) -> int:
        return 0b111 if self._in_a_row else super().read_state()


@defect("state-fault-reports-7", "the error state reads 111b")
class FaultReports7(MigrationRegion):
    def read_state(self) -> int:
        return 0b111 if self.state == ERROR else super().read_state()


class Latching(MigrationRegion):
    """Refuses every write after the first one too many, until reset."""

    _latched = False

    def _go(self, new: int) -> None:
        if self._latched:
            raise Refusal(EIO)
        super()._go(new)

    def _force(self, state: int) -> None:
        super()._force(state)
        self._latched = False


@defect("state-latched-after-failure", "after one refused write every later one is refused as well, until reset")
class LatchedAfterFailure(Latching, Counting):
    def _has_refused(self, value: int) -> None:
        super()._has_refused(value)
        self._latched = True


@defect(
    "state-latched-after-second-failure", "after two refused writes every later one is refused as well, until reset"
)
class LatchedAfterSecondFailure(Latching, Counting):
    def _has_refused(self, value: int) -> None:
        super()._has_refused(value)
        self._latched |= self._refusals > 1


@defect(
    "state-latched-in-pre-copy", "after a refused write in pre-copy every later one is refused as well, until reset"
)
class LatchedInPreCopy(Latching, Counting):
    def _has_refused(self, value: int) -> None:
        super()._has_refused(value)
        self._latched |= self.state == PRE_COPY


def taking(value: int, *states: int) -> type[MigrationRegion]:
    """A region that accepts a value as a state, in some states."""

    class Taking(MigrationRegion):
        def _is_state(self, asked: int) -> bool:
            return (asked == value and self.state in states) or super()._is_state(asked)

    return Taking


defect("state-invalid-5-accepted", "101b is accepted and read back")(taking(0b101, *STATES))
defect("state-invalid-5-in-resuming", "in RESUMING 101b is accepted and read back")(taking(0b101, RESUMING))
defect("state-invalid-7-accepted", "111b is accepted and read back")(taking(0b111, *STATES))


@defect("state-invalid-7-as-pre-copy", "111b is accepted as pre-copy")
class Invalid7AsPreCopy(MigrationRegion):
    def _go(self, new: int) -> None:
        super()._go(PRE_COPY if new == 0b111 else new)


defect("state-error-accepted", "a user's write of 110b succeeds and is read back")(taking(ERROR, *STATES))
defect("state-error-accepted-in-resuming", "in RESUMING a user's write of 110b succeeds and is read back")(
    taking(ERROR, RESUMING)
)


@defect("state-changes-by-itself", "reading pending_bytes in stop-and-copy turns the state into STOP")
class ChangesByItself(MigrationRegion):
    def read_pending(self) -> int:
        pending = super().read_pending()
        if self.state == STOP_AND_COPY:
            self.state = STOP
        return pending


@defect("drained-stops", "stop-and-copy turns into STOP when pending_bytes reads 0")
class DrainedStops(MigrationRegion):
    def read_pending(self) -> int:
        pending = super().read_pending()
        if self.state == STOP_AND_COPY and self._outgoing is not None and not self._outgoing.left():
            self.state = STOP
        return pending


@defect("resuming-runs-by-itself", "RESUMING turns into RUNNING once the last buffer of a state has been taken")
class RunsByItself(MigrationRegion):
    def write_size(self, size: int) -> None:
        super().write_size(size)
        if self._incoming is not None and self._incoming.complete:
            self._make_transition(RUNNING)


@defect("stop-wears-off", "20 ms after running -> STOP the device is running again")
class WearsOff(MigrationRegion):
    _until = inf

    def _move(self, new: int) -> None:
        self._until = monotonic() + 0.02 if (self.state, new) == (RUNNING, STOP) else inf
        super()._move(new)

    def read_state(self) -> int:
        if self.state == STOP and monotonic() > self._until:
            self._make_transition(RUNNING)
        return super().read_state()


@defect("stop-and-copy-reads-stop", "010b reads back as 000b")
class StopAndCopyReadsStop(MigrationRegion):
    def read_state(self) -> int:
        return STOP if self.state == STOP_AND_COPY else super().read_state()


@defect("pre-copy-reads-running", "011b reads back as 001b")
class PreCopyReadsRunning(MigrationRegion):
    def read_state(self) -> int:
        return RUNNING if self.state == PRE_COPY else super().read_state()


@defect("reserved-bits-confuse", "a write with one of bits 3-31 set is stored whole, bits 0-2 shifted by one")
class ReservedBitsConfuse(MigrationRegion):
    def _change_state(self, value: int) -> None:
        if value & ~STATE_BITS:
            self.state = value & ~STATE_BITS | value << 1 & STATE_BITS
        else:
            super()._change_state(value)


@defect("reserved-bit-31-stops", "a write with bit 31 set is treated as STOP")
class ReservedBit31Stops(MigrationRegion):
    def _change_state(self, value: int) -> None:
        super()._change_state(value & ~STATE_BITS if value & _BIT_31 else value)


@defect("reserved-bits-swallowed", "a write with one of bits 3-31 set succeeds and does nothing")
class ReservedBitsSwallowed(MigrationRegion):
    def _change_state(self, value: int) -> None:
        if not value & ~STATE_BITS:
            super()._change_state(value)
