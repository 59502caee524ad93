# SPDX-License-Identifier: GPL-2.0-only
"""What a broken region remembers of its past, and a good one does not need to."""

from __future__ import annotations

from ...refusal import Refusal
from ..region import MigrationRegion
from ..states import ERROR, RUNNING, SAVING


class History(MigrationRegion):
    """Remembers the states that the device was in."""

    #: The state before the present one.
    _previous = RUNNING
    #: Whether it was in a saving state since it was opened.
    _saved = False
    #: Whether data was written to it since the last reset, and RESUMING was left.
    _resumed = False
    #: Whether the last reset ended the error state.
    _hurt = False

    def open(self) -> None:
        super().open()
        self._saved = self._hurt = False

    def _force(self, state: int) -> None:
        before = self.state
        super()._force(state)
        self._previous = state
        self._resumed = False
        self._hurt = before == ERROR

    def _move(self, new: int) -> None:
        old, restored = self.state, self._incoming is not None and self._incoming.touched
        super()._move(new)
        self._previous = old
        self._saved |= new in SAVING
        self._resumed |= restored


class Counting(MigrationRegion):
    """Counts the writes of device_state that it refuses, and may do more then."""

    #: Since the last reset.
    _refusals = 0
    #: Since the last write that was not refused.
    _in_a_row = 0

    def write_state(self, value: int) -> None:
        try:
            super().write_state(value)
        except Refusal:
            self._refusals += 1
            self._in_a_row += 1
            self._has_refused(value)
            raise
        self._in_a_row = 0

    def _has_refused(self, value: int) -> None:
        """A write of this value was refused."""

    def _force(self, state: int) -> None:
        super()._force(state)
        self._refusals = self._in_a_row = 0
