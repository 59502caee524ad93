# SPDX-License-Identifier: GPL-2.0-only
"""The judge itself: follows device_state, and passes each access to the loop that the state allows."""

from __future__ import annotations

from typing import Final

from ...common.words import counted
from ...run.client import Access, ClientJudge
from ...uapi.migration_v1 import DEVICE_STATE, PENDING_BYTES, VFIO_DEVICE_STATE_MASK, DeviceState, state_is_error
from ..states import name
from .access import UNKNOWN, is_data, register_of, value_of
from .comparison import Comparison
from .history import History
from .loop import Loop
from .pieces import Pieces, partial
from .resuming import Resuming
from .saving import NO_VALUE, Saving
from .stream import Areas, Stream

#: What each clause requires of a client, in a sentence.
CLAUSES: Final = {
    "DS-04": "After a failed write to device_state, it is read before anything else is done.",
    "DS-07": "In the error state, the device is reset before device_state is written.",
    "DS-15": "device_state is read before it is written, and bits 3 to 31 are written as they were read.",
    "TR-04a": "Resuming is entered from running.",
    "FLD-04": "Data is read and written only inside the buffer that data_offset and data_size describe.",
    "FLD-06": "data_size is read for each buffer while saving, and written after its data while resuming.",
    "SAV-02": "While pending_bytes is 0, no data is requested.",
    "SAV-11": "The steps of saving are taken in order: pending_bytes, data_offset, data_size, data, pending_bytes.",
    "SAV-13": "In stop-and-copy, a client that saves continues until pending_bytes is 0.",
    "ERR-02": "An error while data is moved ends the loop.",
    "RSM-05": "Buffers are written in the order in which they were saved, each once.",
    "RSM-06": "Buffers are written in the sizes in which they were saved.",
    "RSM-07": "Buffers are written byte for byte as they were saved.",
}

#: A clause that leaves the client free; it cannot be broken.
FREE: Final = "TR-01c"

BEFORE = "device_state is unknown, as the trace does not have what came before"
GAP = "accesses are missing in the trace"
WIDTHS = "registers were accessed in part, or several at once, which is not followed"
NO_STATE = "the trace does not have the value of device_state"

_OF_LOOPS = ("FLD-04", "FLD-06", "SAV-02", "SAV-11", "SAV-13", "ERR-02", "RSM-05", "RSM-06", "RSM-07")
_GOING_ON = (DeviceState.RUNNING, DeviceState.PRE_COPY)
_SAVING = (DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY)


class Judge(ClientJudge):
    """Takes one access after another and returns the offences that each one completes.

    ``source`` is what another client saved; by default what was saved in the same trace. If a trace does not show
    mappings, the caller passes each one that may have been made.
    """

    clauses = CLAUSES
    free = FREE

    def __init__(self, source: History | None = None) -> None:
        super().__init__()
        self._pieces = Pieces()
        self._areas = Areas()
        self._source = source
        self._history = History()
        # device_state as the client last read it, for its next write; why the client may know what we do not.
        self._known: int | None = None
        self._blind = ""
        self._failed = False
        # The state of the device, as far as known, and why it is unknown.
        self._state: int | None = None
        self._why_none = BEFORE
        self._saving: Saving | None = None
        self._stream: Stream | None = None
        #: Stop-and-copy was left too early, by this access, unless the next step is back to running; and what was seen.
        self._owed: tuple[int, str] | None = None
        self._resuming: Resuming | None = None
        #: Resuming was left for stop: whether everything was written shows when the device is set to running.
        self._stopped: Resuming | None = None
        #: The loop that was under way when the error state came.
        self._ended: Loop | None = None

    @property
    def saved(self) -> History | None:
        """What was saved, for the judge of a client that restores it; None if nothing was."""
        return self._history if self._history.sessions else None

    def take_one(self, access: Access) -> None:
        """Judge the next access."""
        for each in self._pieces.take(access):
            self._take(each)

    def _take(self, access: Access) -> None:
        if partial(access):
            # Elsewhere, a read gives the client nothing that a judge must know.
            if access.verb == "write" or self._saving or self._resuming:
                self._gap(WIDTHS)
        elif access.verb in ("read", "write"):
            if register_of(access) == DEVICE_STATE.name:
                self._device_state(access)
            else:
                self._other(access)
        elif access.verb == "reset":
            self._reset(access)
        elif access.verb == "map":
            if access.value >= 0:
                self._areas.add(access.offset, access.length)
        elif access.verb == "gap":
            self._gap(GAP)
        elif access.verb in ("open", "close"):
            self._session(access)

    def end_all(self) -> None:
        """The trace is over."""
        for each in self._pieces.end():
            self._take(each)
        self._settle()
        self._enter(None)

    # -- device_state ---------------------------------------------------------------------------------------------

    def _device_state(self, access: Access) -> None:
        value = value_of(access)
        if access.verb == "read":
            failed, self._failed = self._failed, False
            if failed:
                self._ledger.keep("DS-04")
            if not access.ok:
                return
            if value != UNKNOWN:
                self._known, self._blind = value, ""
                self._enter(value)
            else:
                self._known, self._blind = None, NO_STATE
                if failed:  # it may be the one before, or the error state
                    self._forget(NO_STATE)
            return
        self._reread(access)
        self._check_write(value)
        self._known, self._blind, self._failed = None, "", not access.ok
        if access.ok and value == UNKNOWN:
            self._forget(NO_STATE)
        elif access.ok:
            self._enter(value, written=True)

    def _forget(self, why: str) -> None:
        """From here on, the state is unknown."""
        if self._saving and self._stream:
            self._stream.lose()
            if self._state == DeviceState.STOP_AND_COPY and self._stream.begun:
                self._ledger.undecided(why, "SAV-13")
        self._owed = None
        self._enter(None)
        self._why_none = why

    def _reread(self, access: Access) -> None:
        if self._failed:
            self._failed = False
            self._ledger.offend(
                "DS-04",
                "device_state to be read after the write of it that failed",
                f"a {access.verb} of {register_of(access) or 'another place'} came first",
            )

    def _check_write(self, value: int) -> None:
        ledger = self._ledger
        if self._state is not None and state_is_error(self._state):
            ledger.offend(
                "DS-07", "a reset, once the error state was read", f"{name(value)} was written in the error state"
            )
        elif self._blind == NO_STATE:
            ledger.undecided(NO_STATE, "DS-07")
        if self._known is None and not self._blind:
            ledger.offend(
                "DS-15",
                "device_state to be read before it is written",
                "it had not been since the last write of it",
            )
        elif self._known is None or value == UNKNOWN:
            ledger.undecided(self._blind or NO_STATE, "DS-15")
        elif (value ^ self._known) & ~VFIO_DEVICE_STATE_MASK:
            ledger.offend(
                "DS-15",
                f"bits 3 to 31 as they were read, 0x{self._known & ~VFIO_DEVICE_STATE_MASK:x}",
                f"they were written as 0x{value & ~VFIO_DEVICE_STATE_MASK:x}",
            )
        else:
            ledger.keep("DS-15")
        if value != UNKNOWN and value & VFIO_DEVICE_STATE_MASK == DeviceState.RESUMING:
            self._check_resuming()

    def _check_resuming(self) -> None:
        if self._state is None:
            self._ledger.undecided(self._why_none, "TR-04a")
        elif self._state == DeviceState.RUNNING:
            self._ledger.keep("TR-04a")
        elif self._state != DeviceState.RESUMING:
            self._ledger.offend("TR-04a", "resuming to be entered from running", f"it was from {name(self._state)}")

    def _enter(self, state: int | None, written: bool = False) -> None:
        """The device is in ``state`` now (None: unknown); one loop ends, another begins."""
        before = self._state
        self._state = now = None if state is None else state & VFIO_DEVICE_STATE_MASK
        if now == before:
            return
        unsure = before is None and not written
        if now is not None and state_is_error(now):
            self._ended = self._saving or self._resuming
            if self._ended and self._ended.begun:
                self._ended.fail("the error state was reported")
            if self._saving:
                self._saving.leave()
            self._saving = self._resuming = self._stopped = None
            return
        self._ended = None
        self._settle(forgiven=written and now == DeviceState.RUNNING)
        went_on = written and now == DeviceState.RUNNING and before is not None
        if self._saving:
            self._saving.leave()
            again = before == DeviceState.STOP_AND_COPY and now == DeviceState.PRE_COPY
            if now not in _SAVING or again:
                self._end_session(self._saving, before, now, written)
            if again and self._stream:
                self._stream.continued = True
                self._stream = None
            self._saving = None
        given = self._resuming or self._stopped
        self._resuming = self._stopped = None
        if given and written and now == DeviceState.STOP:
            self._stopped = given
        elif given:
            given.leave(now if written or now in _GOING_ON else None)
        if went_on:
            self._history.fresh = False
        if now in _SAVING:
            if before not in _SAVING or self._stream is None:
                self._stream = self._history.begin()
            self._saving = Saving(self._ledger, self._areas, self._stream, unsure)
        elif now == DeviceState.RESUMING:
            comparison = self._comparison()
            self._resuming = Resuming(self._ledger, self._areas, comparison, unsure)

    def _comparison(self) -> Comparison:
        """With what was saved. A state that is restored right after one was saved is taken to be that one."""
        if self._source:
            return Comparison(self._ledger, self._source, sure=True)
        return Comparison(self._ledger, self._history, sure=self._history.fresh and self._history.complete)

    def _end_session(self, saving: Saving, before: int | None, now: int | None, written: bool) -> None:
        """Pre-copy or stop-and-copy is left, and nothing more is saved (kabi v23, lines 226-228)."""
        assert self._stream
        if before != DeviceState.STOP_AND_COPY:
            return
        if saving.pending == 0 and not saving.troubled:
            self._stream.complete = self._history.fresh = True
            self._ledger.keep("SAV-13")
        elif not written or now in _GOING_ON or saving.troubled or not self._stream.begun:
            pass
        elif saving.pending == UNKNOWN:
            self._ledger.undecided(NO_VALUE, "SAV-13")
        elif saving.unsure:
            self._ledger.undecided(BEFORE, "SAV-13")
        elif saving.pending is None:
            self._owed = self._ledger.number, "it was left, and pending_bytes had not been read in it"
        else:
            left = counted(saving.pending, "byte")
            self._owed = self._ledger.number, f"it was left when pending_bytes had read {left} last"

    def _settle(self, forgiven: bool = False) -> None:
        """What was left in stop-and-copy is lost, unless the device continues to run."""
        owed, self._owed = self._owed, None
        if owed and not forgiven:
            number, seen = owed
            self._ledger.offend("SAV-13", "stop-and-copy not to be left before pending_bytes reads 0", seen, at=number)

    # -- everything else ------------------------------------------------------------------------------------------

    def _other(self, access: Access) -> None:
        self._reread(access)
        if self._state is None and self._why_none and (is_data(access) or access.offset >= PENDING_BYTES.offset):
            self._ledger.undecided(self._why_none, *_OF_LOOPS)
            self._why_none = ""
        if self._saving:
            self._saving.take(access)
        elif self._resuming:
            self._resuming.take(access)
        elif self._ended and (is_data(access) or access.offset >= PENDING_BYTES.offset):
            self._ended.step(access)
            self._ended = None

    def _reset(self, access: Access) -> None:
        self._failed = False
        if access.value < 0:
            return
        if self._state is not None and state_is_error(self._state):
            self._ledger.keep("DS-07")
        self._begin_anew()

    def _session(self, access: Access) -> None:
        """The device was opened or closed."""
        if access.value < 0:
            return
        if access.verb == "close" and self._state is not None:
            if self._state == DeviceState.STOP:
                self.closed_stopped += 1
            else:
                self.closed_otherwise += 1
        self._areas.clear()
        self._history.fresh = False
        self._failed = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """A reset, or a new user: running, as specified, but the client must read it before it writes."""
        self._known, self._blind = None, ""
        self._settle()
        self._leave()
        self._enter(DeviceState.RUNNING, written=True)

    def _gap(self, why: str) -> None:
        self._failed, self._known, self._blind = False, None, why
        if self._owed:
            self._owed = None
            self._ledger.undecided(why, "SAV-13")
        self._history.lose()
        self._leave()
        self._why_none = why

    def _leave(self) -> None:
        """Leave the present state, not by a write."""
        self._enter(None)
