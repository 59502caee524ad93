# SPDX-License-Identifier: GPL-2.0-only
"""The whole device: device_state, and what every register may answer in the present state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...common.words import enumerated
from ...uapi.migration_v1 import VFIO_DEVICE_STATE_MASK, DeviceState
from ..states import UNWRITABLE, drawn_from, is_running, name
from .answer import ANYTHING, Answer, require
from .layout import Layout
from .resuming import Resuming
from .saving import Saving

ERROR, RUNNING, RESUMING = DeviceState.ERROR, DeviceState.RUNNING, DeviceState.RESUMING
STOP_AND_COPY = DeviceState.STOP_AND_COPY
_SAVING = (DeviceState.PRE_COPY, STOP_AND_COPY)

REFUSED = "an error"
TAKEN = "success"

#: This many whole states are kept, the last ones.
_MOST_SAVED = 4


class Saved(NamedTuple):
    """A whole state that a device gave out, and what the device showed then; None if unknown."""

    buffers: Sequence[bytes]
    visible: object


class DeviceModel:
    """Knows what was done to a device since it was found RUNNING, and judges whether each answer is allowed.

    Each verb takes the device's answer, and returns what was expected, in words. Raises Deviation for an answer
    that the specification forbids; after that, the model is of no more use.
    """

    def __init__(self, layout: Layout, saved: list[Saved] | None = None) -> None:
        """``saved``: whole states of devices of this kind, to which it adds its own."""
        self._layout = layout
        self.state = RUNNING
        #: How many times the device has changed its state, was asked to, or was reset.
        self.changes = 0
        #: The device may be in the error state, but that has not been seen yet.
        self._may_have_failed = False
        self.saving: Saving | None = None
        self.resuming: Resuming | None = None
        #: Whole states, the last one being the newest.
        self.saved = [] if saved is None else saved
        #: The state to restore next, and the state being restored now.
        self._chosen: Saved | None = self.saved[-1] if self.saved else None
        self._given: Saved | None = None
        #: The stay in a saving state that gave out the newest one.
        self._giver: Saving | None = None
        #: How many times it was reset, left running, failed, or was left by its user.
        self.interruptions = 0
        #: Nothing was done to it since its reset that leaves its state unspecified.
        self._regular = True
        #: What can be seen of the device's own state; None if unknown.
        self.visible: object = None
        self._sample: int | None = None

    @property
    def failed(self) -> bool:
        """The device is in the error state, or may be: only a reset and device_state are documented."""
        return self.state == ERROR or self._may_have_failed

    @property
    def runs(self) -> bool:
        """The device runs."""
        return is_running(self.state)

    @property
    def works(self) -> bool:
        """The device runs, and nothing was done to it that leaves its state unspecified."""
        return self.runs and self._regular and not self.failed and not self._undefined

    @property
    def stream(self) -> Sequence[bytes]:
        """The buffers of the state to restore next; none if none is known."""
        return self._chosen.buffers if self._chosen else ()

    def choose(self, which: int) -> None:
        """Choose the state to restore: the newest for 0, the one before it for 1, and so on."""
        if self.saved:
            self._chosen = self.saved[-1 - which % len(self.saved)]

    @property
    def sure_to_move(self) -> bool:
        """Every drawn transition must be accepted now, and there is one."""
        targets = drawn_from(self.state)
        return bool(targets) and all(self._expected(state, False, False) == (TAKEN,) for state in targets)

    @property
    def _undefined(self) -> bool:
        return bool((self.saving and self.saving.undefined) or (self.resuming and self.resuming.undefined))

    # -- device_state ---------------------------------------------------------------------------------------------

    def read_state(self, answer: Answer) -> str:
        """device_state: what it was, or the error state if something has failed."""
        allowed = dict.fromkeys([self.state, *([ERROR] if self._may_have_failed or self._undefined else [])])
        expected = enumerated(name(state) for state in allowed)
        require(answer.value == 4 and answer.number & VFIO_DEVICE_STATE_MASK in allowed, expected)
        self._may_have_failed = False
        if answer.number & VFIO_DEVICE_STATE_MASK == ERROR != self.state:
            self._enter(ERROR)
        return expected

    def write_state(self, value: int, answer: Answer, provoked: bool = False) -> str:
        """device_state; ``provoked`` if the device was made to fail."""
        asked = DeviceState(value & VFIO_DEVICE_STATE_MASK)
        expected = self._expected(asked, bool(value & ~VFIO_DEVICE_STATE_MASK), provoked)
        allowed = {TAKEN: answer.value == 4, REFUSED: answer.refused}
        require(any(allowed[word] for word in expected), enumerated(expected))
        if answer.refused:
            self._may_have_failed = True
            self.changes += 1
            self.interruptions += 1
        else:
            self._enter(asked)
        return enumerated(expected)

    def _expected(self, asked: DeviceState, reserved: bool, provoked: bool) -> tuple[str, ...]:
        """How the device must answer a write to device_state."""
        if asked in UNWRITABLE or self.state == ERROR or provoked:
            return (REFUSED,)
        if self.failed or self._undefined or reserved or asked not in drawn_from(self.state):
            return TAKEN, REFUSED
        if self.resuming and not self.resuming.whole:
            return TAKEN, REFUSED  # the specification does not say what happens to half a state, or none
        return (TAKEN,)

    def _enter(self, state: DeviceState) -> None:
        undefined, old, self.state = self._undefined, self.state, state
        self.changes += 1
        if state == old:
            return self._rewritten()
        drawn = state in drawn_from(old)
        self.interruptions += not (drawn and is_running(old) and is_running(state))
        if undefined or (old == RESUMING and not (self.resuming and self.resuming.whole)):
            self._regular = False
        if not drawn or is_running(state) or RESUMING in (old, state):
            self._sample = None
        if old == RESUMING:
            whole = self.resuming is not None and self.resuming.whole
            self.visible = self._given.visible if self._given and whole and drawn else None
        elif not drawn:
            self.visible = None
        self._may_have_failed = False
        live = None if not drawn else self.saving.so_far if self.saving else []
        self.saving = Saving(self._layout, state == STOP_AND_COPY, live) if state in _SAVING else None
        self.resuming = Resuming(self._layout, self.stream) if state == RESUMING else None
        self._given = self._chosen if state == RESUMING else None
        return None

    def _rewritten(self) -> None:
        """The state was written again, and the device accepted it: whether it starts again is unspecified."""
        self.visible = self._sample = None
        self._regular = False
        self.interruptions += 1
        for data in (self.saving, self.resuming):
            if data is not None:
                data.undefined = True

    def reset(self, answer: Answer) -> str:
        """VFIO_DEVICE_RESET, from any state."""
        expected = require(answer.value >= 0, TAKEN)
        self._begin()
        return expected

    def reopened(self) -> None:
        """The device was closed, and opened by the next user."""
        failed = self.failed or self._undefined
        self._begin()
        self._may_have_failed = failed  # the specification names only the reset as the way out

    def _begin(self) -> None:
        self._enter(RUNNING)
        self.saving = self.resuming = None
        self._may_have_failed = False
        self._regular = True
        self.interruptions += 1
        self.visible = self._sample = None

    # -- the other registers --------------------------------------------------------------------------------------

    def read_reserved(self, answer: Answer) -> str:
        """Zero, always."""
        return ANYTHING if self.failed else require(answer.value == 4 and not answer.number, "0")

    def write_reserved(self, answer: Answer) -> str:
        """Ignored."""
        return ANYTHING if self.failed else require(answer.value == 4, "4 bytes taken")

    def read_pending(self, answer: Answer) -> str:
        """pending_bytes."""
        if self.failed or self.saving is None:
            return self._open(answer)
        expected = self.saving.read_pending(answer)
        if self.saving is not self._giver and (whole := self.saving.whole):
            self._giver = self.saving
            self._chosen = Saved(tuple(whole), self.visible)
            self.saved[:] = [*self.saved, self._chosen][-_MOST_SAVED:]
        return expected

    def read_offset(self, answer: Answer) -> str:
        """data_offset."""
        data = self.saving or self.resuming
        return self._open(answer) if self.failed or data is None else data.read_offset(answer)

    def read_size(self, answer: Answer) -> str:
        """data_size."""
        return self._open(answer) if self.failed or self.saving is None else self.saving.read_size(answer)

    def write_size(self, size: int, answer: Answer) -> str:
        """data_size: documented only in resuming."""
        if self.resuming is not None and not self.failed:
            self._sample = None
            return self.resuming.write_size(size, answer)
        if self.saving is not None:
            self.saving.undefined = True
        return self._open(answer)

    def write_read_only(self, answer: Answer) -> str:
        """pending_bytes or data_offset: refused or ignored."""
        return self._open(answer)

    def access_oddly(self, answer: Answer) -> str:
        """An access that is not of one whole register."""
        if self.failed:
            return ANYTHING
        require(answer.refused, REFUSED)
        return self._open(answer, REFUSED)

    # -- the rest -------------------------------------------------------------------------------------------------

    def read_data(self, offset: int, length: int, answer: Answer) -> str:
        """Bytes behind the registers."""
        if self.failed or self.saving is None:
            return self._open(answer)
        expected = self.saving.read_data(offset, length, answer)
        return self._open(answer) if expected == ANYTHING else expected

    def write_data(self, offset: int, data: bytes, answer: Answer) -> str:
        """Bytes behind the registers: documented only in resuming."""
        if self.resuming is not None and not self.failed:
            self._sample = None  # a device may apply data as it arrives
            return self.resuming.write_data(offset, data, answer)
        if self.saving is not None:
            self.saving.undefined = True
        return self._open(answer)

    def sampled(self, value: int) -> str:
        """What changes while the device runs was read."""
        if self.failed or is_running(self.state):
            return ANYTHING
        if self._sample is None:
            self._sample = value
            return ANYTHING
        return require(value == self._sample, f"0x{self._sample:x}, as before")

    def shown(self, value: object) -> str:
        """What can be seen of the device's state was read."""
        return ANYTHING if self.visible is None or self.failed else require(value == self.visible, "as before")

    def _open(self, answer: Answer, expected: str = ANYTHING) -> str:
        """An access for which the specification promises nothing; a failed one may show an internal error."""
        self._may_have_failed |= answer.refused
        return expected
