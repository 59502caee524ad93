# SPDX-License-Identifier: GPL-2.0-only
"""Reset, open and close, and ways out of the error state."""

from __future__ import annotations

from errno import EBUSY, EINVAL, EIO

from ...overlays import defect
from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import ERROR, PRE_COPY, RESUMING, RUNNING, SAVING, STOP, STOP_AND_COPY
from .history import History


@defect("reset-keeps-saving", "a reset in pre-copy or stop-and-copy ends in pre-copy")
class ResetKeepsSaving(MigrationRegion):
    def reset(self) -> None:
        if self.state not in SAVING:
            super().reset()
        elif self.state != PRE_COPY:
            self._force(PRE_COPY)


@defect("reset-refused-in-stop", "reset fails in STOP")
class ResetRefusedInStop(MigrationRegion):
    def reset(self) -> None:
        if self.state == STOP:
            raise Refusal(EBUSY)
        super().reset()


@defect("reset-refused-mid-buffer", "reset fails while a buffer is there to be read")
class ResetRefusedMidBuffer(MigrationRegion):
    def reset(self) -> None:
        if self._outgoing is not None and self._outgoing.offered:
            raise Refusal(EBUSY)
        super().reset()


@defect("reset-keeps-error", "reset does not leave the error state")
class ResetKeepsError(MigrationRegion):
    def reset(self) -> None:
        if self.state != ERROR:
            super().reset()


@defect("reset-recovers-once", "a reset leaves the error state only the first time for each user")
class ResetRecoversOnce(MigrationRegion):
    _has_recovered = False

    def open(self) -> None:
        super().open()
        self._has_recovered = False

    def reset(self) -> None:
        hurt = self.state == ERROR
        if not (hurt and self._has_recovered):
            super().reset()
        self._has_recovered |= hurt


@defect("reset-error-refuses-saving", "after a reset in the error state stop-and-copy is refused until the next reset")
class ResetErrorRefusesSaving(History):
    def _check_transition(self, new: int) -> None:
        super()._check_transition(new)
        if new == STOP_AND_COPY and self._hurt:
            raise Refusal(EIO)


@defect("reset-to-stop", "reset ends in STOP")
class ResetToStop(MigrationRegion):
    def reset(self) -> None:
        if self.state != STOP:
            self._force(STOP)


@defect("error-left-by-write", "writing RUNNING leaves the error state")
class LeftByWrite(MigrationRegion):
    def _go(self, new: int) -> None:
        if self.state == ERROR and new == RUNNING:
            self._check_transition(new)
            self._make_transition(new)
        else:
            super()._go(new)


@defect("error-left-by-second-write", "the second write in the error state leaves it")
class LeftBySecondWrite(MigrationRegion):
    _asked = 0

    def _move(self, new: int) -> None:
        super()._move(new)
        self._asked = 0

    def _go(self, new: int) -> None:
        self._asked += self.state == ERROR
        if self._asked > 1:
            if not self._is_state(new):
                raise Refusal(EINVAL)
            self._check_transition(new)
            self._make_transition(new)
        else:
            super()._go(new)


@defect("error-write-ignored", "writes in the error state succeed and do nothing")
class WriteIgnored(MigrationRegion):
    def _go(self, new: int) -> None:
        if self.state != ERROR:
            super()._go(new)


@defect("open-in-stop", "a newly opened device is in STOP")
class OpenInStop(MigrationRegion):
    def open(self) -> None:
        super().open()
        self._force(STOP)


@defect("open-stands-still", "a newly opened device reads RUNNING, but does not run until reset")
class OpenStandsStill(MigrationRegion):
    def open(self) -> None:
        super().open()
        self._machine.halt()


class Keeping(MigrationRegion):
    """May be left in a state in which its next user finds it."""

    def close(self) -> None:
        if self._is_kept():
            self.section.close()
        else:
            super().close()

    def _is_kept(self) -> bool:
        return False


@defect("close-needs-stop", "a device closed outside STOP keeps its state for the next user")
class CloseNeedsStop(Keeping):
    def _is_kept(self) -> bool:
        return self.state != STOP or super()._is_kept()


@defect("error-outlives-close", "a device closed in the error state needs two resets by the next user to leave it")
class ErrorOutlivesClose(Keeping):
    _outlives = False

    def _is_kept(self) -> bool:
        self._outlives |= self.state == ERROR
        return self.state == ERROR or super()._is_kept()

    def reset(self) -> None:
        outlives, self._outlives = self._outlives, False
        if not (outlives and self.state == ERROR):
            super().reset()


@defect("close-keeps-resuming", "a device closed in RESUMING is still in RESUMING for the next user")
class CloseKeepsResuming(Keeping):
    def _is_kept(self) -> bool:
        return self.state == RESUMING or super()._is_kept()
