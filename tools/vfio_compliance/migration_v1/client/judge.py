# SPDX-License-Identifier: GPL-2.0-only
"""The judge itself: follows device_state, and hands each access to the loop that the state allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ...run.client import Access, ClientJudge, Offence
from ...uapi.migration_v1 import DEVICE_STATE, PENDING_BYTES, VFIO_DEVICE_STATE_MASK, DeviceState, state_is_error
from ..states import name
from .access import is_data, register_of
from .comparison import Comparison
from .ledger import Ledger
from .loop import Loop
from .resuming import Resuming
from .saving import Saving
from .stream import Areas, Stream

#: What each clause asks of a client, in a sentence.
CLAUSES: Final = {
    "DS-04": "After a failed write of device_state it is read before anything else is done.",
    "DS-07": "In the error state the device is reset before device_state is written.",
    "DS-15": "device_state is read before it is written, and bits 3 to 31 are written as they were read.",
    "TR-04a": "Resuming is entered from running.",
    "FLD-04": "Data is read and written only inside the buffer that data_offset and data_size describe.",
    "FLD-06": "data_size is read for each buffer while saving, and written after its data while resuming.",
    "SAV-02": "While pending_bytes is 0, no data is asked for.",
    "SAV-11": "The steps of saving are made in order: pending_bytes, data_offset, data_size, data, pending_bytes.",
    "ERR-02": "An error while data is moved ends the loop.",
    "RSM-05": "Buffers are given in the order in which they were saved, each once.",
    "RSM-06": "Buffers are given in the sizes in which they were saved.",
    "RSM-07": "Buffers are given byte for byte as they were saved.",
}

#: A clause that leaves the client free; nothing can be held against it.
FREE: Final = "TR-01c"

SAVED_ELSEWHERE = "what was given to a resuming device was not saved in this trace: order, sizes and content not judged"
SAVED_UNSEEN = "not all of what was saved can be known from the trace: what was given when resuming was not compared"
SAVED_TOO_MUCH = "more buffers were saved than a judge remembers: what was given when resuming was not compared"

_SAVING = (DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY)


class Judge(ClientJudge):
    """Takes one access after the other and gives the offences that each one completes.

    ``source`` is what another client saved; by default what was saved last in the same trace. Where a trace does not
    show mappings, whoever feeds the judge tells it of each one that may have been made.
    """

    clauses = CLAUSES
    free = FREE

    def __init__(self, source: Stream | None = None) -> None:
        self._ledger = Ledger()
        self._areas = Areas()
        self._source = source
        #: What was saved last; None when nothing was.
        self.saved = source if source and source.buffers else None
        #: How often the client closed the device: after it had stopped it, and otherwise.
        self.closed_stopped = self.closed_otherwise = 0
        # device_state as the client last read it, for the next write of it; whether it may have without us seeing.
        self._known: int | None = None
        self._blind = False
        self._failed = False
        # The state that the device is in, as far as can be told.
        self._state: int | None = None
        self._saving: Saving | None = None
        self._stream = Stream()
        self._resuming: Resuming | None = None
        #: The loop that was under way when the error state came.
        self._ended: Loop | None = None

    @property
    def kept(self) -> dict[str, int]:
        """How often each clause was put to the test and kept."""
        return {clause: self._ledger.kept[clause] for clause in CLAUSES}

    @property
    def broken(self) -> dict[str, int]:
        """How often each clause was broken."""
        return {clause: self._ledger.broken[clause] for clause in CLAUSES}

    @property
    def remarks(self) -> dict[str, int]:
        """What could not be judged and why, each with how often."""
        return dict(self._ledger.remarks)

    def take(self, access: Access) -> list[Offence]:
        """Judge the next access."""
        self._ledger.number = access.number
        if access.verb in ("read", "write"):
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
            self._gap()
        else:
            self._session(access)
        return self._fetch()

    def end(self) -> list[Offence]:
        """The trace is over; nothing may be taken after this."""
        self._enter(None)
        return self._fetch()

    def _fetch(self) -> list[Offence]:
        found, self._ledger.found = self._ledger.found, []
        return found

    # -- device_state ---------------------------------------------------------------------------------------------

    def _device_state(self, access: Access) -> None:
        if access.verb == "read":
            if self._failed:
                self._ledger.keep("DS-04")
                self._failed = False
            if access.ok:
                self._known, self._blind = access.content, False
                self._enter(access.content)
            return
        self._reread(access)
        self._check_write(access.content)
        self._known, self._blind, self._failed = None, False, not access.ok
        if access.ok:
            self._enter(access.content, written=True)

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
        if self._known is None:
            if not self._blind:
                ledger.offend(
                    "DS-15",
                    "device_state to be read before it is written",
                    "it had not been since the last write of it",
                )
        elif (value ^ self._known) & ~VFIO_DEVICE_STATE_MASK:
            ledger.offend(
                "DS-15",
                f"bits 3 to 31 as they were read, 0x{self._known & ~VFIO_DEVICE_STATE_MASK:x}",
                f"they were written as 0x{value & ~VFIO_DEVICE_STATE_MASK:x}",
            )
        else:
            ledger.keep("DS-15")
        if value & VFIO_DEVICE_STATE_MASK == DeviceState.RESUMING and self._state not in (None, DeviceState.RESUMING):
            if self._state == DeviceState.RUNNING:
                ledger.keep("TR-04a")
            elif self._state is not None:
                ledger.offend("TR-04a", "resuming to be entered from running", f"it was from {name(self._state)}")

    def _enter(self, state: int | None, written: bool = False) -> None:
        """The device is in ``state`` now (None: not known); one loop ends, another begins."""
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
            self._saving = self._resuming = None
            return
        self._ended = None
        if self._saving:
            self._saving.leave()
            self._saving = None
            if now not in _SAVING:
                self.saved = self._source or (self._stream if self._stream.buffers else self.saved)
        if self._resuming:
            self._resuming.leave(now if written or now == DeviceState.RUNNING else None)
            self._resuming = None
        if now in _SAVING:
            if before not in _SAVING:
                self._stream = Stream()
            self._saving = Saving(self._ledger, self._areas, self._stream, unsure)
        elif now == DeviceState.RESUMING:
            self._resuming = Resuming(self._ledger, self._areas, self._comparison(), unsure)

    def _comparison(self) -> Comparison | str:
        """What judges a restored state, or why there is nothing that could."""
        saved = self.saved
        if saved is None:
            return SAVED_ELSEWHERE
        if saved.cut:
            return SAVED_TOO_MUCH
        return Comparison(self._ledger, saved) if saved.certain else SAVED_UNSEEN

    # -- everything else ------------------------------------------------------------------------------------------

    def _other(self, access: Access) -> None:
        self._reread(access)
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
        self._failed = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """A reset, or a new user: running, as the text says, though the client has to read it before it writes."""
        self._known, self._blind = None, False
        self._leave()
        self._enter(DeviceState.RUNNING, written=True)

    def _gap(self) -> None:
        self._failed, self._known, self._blind = False, None, True
        self._leave()
        self._stream.certain = False
        self.saved = self._source

    def _leave(self) -> None:
        """Leave whatever state it is, not by a write."""
        self._enter(None)


def judge(accesses: Iterable[Access]) -> Iterator[Offence]:
    """The offences of a client in the order in which they were completed."""
    judging = Judge()
    for access in accesses:
        yield from judging.take(access)
    yield from judging.end()
