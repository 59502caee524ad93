# SPDX-License-Identifier: GPL-2.0-only
"""What defects make of device_state: how it reads, what a write answers, and which transitions go wrong.

Without a defect each function here gives what its argument says, and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, EBUSY, EINVAL, EIO
from typing import NamedTuple

from .refusal import Refusal
from .states import DRAWN, ERROR, PRE_COPY, RESUMING, RUNNING, RUNNING_BIT, SAVING, STATE_BITS, STATES, STOP
from .states import STOP_AND_COPY as COPY

_BIT_31 = 1 << 31


class Attempt(NamedTuple):
    """A transition that could be made, and what was before it."""

    old: int
    new: int
    #: The state before ``old``.
    before: int
    #: The DMA stream is on.
    streams: bool
    #: Bytes are left to be read.
    left: bool
    #: A buffer is there to be read.
    offered: bool
    #: A whole state was given to the device.
    filled: bool
    #: The device was in a saving state since it was opened.
    saved: bool
    #: It was resumed since the last reset.
    resumed: bool
    #: The last reset was one that ended the error state.
    hurt: bool

    @property
    def made(self) -> tuple[int, int]:
        """The transition alone."""
        return self.old, self.new


#: Refused by: the errno, and when.
_REFUSALS: dict[str, tuple[int, Callable[[Attempt], bool]]] = {
    "stop-refused": (EINVAL, lambda it: it.made == (RUNNING, STOP)),
    "stop-refused-while-busy": (EBUSY, lambda it: it.made == (RUNNING, STOP) and it.streams),
    "stop-and-copy-to-stop-refused": (EINVAL, lambda it: it.made == (COPY, STOP)),
    "stop-refused-after-pre-copy": (EINVAL, lambda it: it.made == (COPY, STOP) and it.before == PRE_COPY),
    "pre-copy-refused": (EINVAL, lambda it: it.made == (RUNNING, PRE_COPY)),
    "pre-copy-refused-after-resume": (EBUSY, lambda it: it.made == (RUNNING, PRE_COPY) and it.resumed),
    "pre-copy-to-stop-and-copy-refused": (EINVAL, lambda it: it.made == (PRE_COPY, COPY)),
    "resuming-refused": (EINVAL, lambda it: it.made == (RUNNING, RESUMING)),
    "resumed-refused": (EINVAL, lambda it: it.made == (RESUMING, RUNNING) and it.filled),
    "resuming-refused-after-saving": (EBUSY, lambda it: it.made == (RUNNING, RESUMING) and it.saved),
    "cancel-refused": (EINVAL, lambda it: it.made == (PRE_COPY, RUNNING)),
    "pre-copy-must-drain": (EBUSY, lambda it: it.old == PRE_COPY and it.left),
    "stop-and-copy-must-drain": (EBUSY, lambda it: it.old == COPY and it.left),
    "leave-mid-buffer-refused": (EBUSY, lambda it: it.offered),
    "reset-error-refuses-saving": (EIO, lambda it: it.new == COPY and it.hurt),
}

#: Values taken that are no states, from the states named.
_WRONGLY_VALID = {
    "state-invalid-5-accepted": (0b101, STATES),
    "state-invalid-5-in-resuming": (0b101, (RESUMING,)),
    "state-invalid-7-accepted": (0b111, STATES),
    "state-error-accepted": (ERROR, STATES),
    "state-error-accepted-in-resuming": (ERROR, (RESUMING,)),
}

#: Where a write of the present state leads.
_SELF_WRITES = {
    "self-write-moves": (STATES, STOP),
    "self-write-resuming-runs": ((RESUMING,), RUNNING),
}

#: Transitions after which the device stands still though it is RUNNING.
_STAYS_STOPPED = {
    "resumed-stays-stopped": (RESUMING, RUNNING),
    "cancelled-stays-stopped": (COPY, RUNNING),
}

#: Whether the device works in a state, against what bit 0 says.
_WRONGLY_WORKING = {
    "stop-and-copy-keeps-running": (COPY, True),
    "resuming-keeps-running": (RESUMING, True),
    "pre-copy-stops": (PRE_COPY, False),
}


class StateDefects:
    """The defects of device_state that were chosen, and what they remember."""

    def __init__(self, chosen: frozenset[str]) -> None:
        self._chosen = chosen
        self._previous = RUNNING
        #: What device_state reads as the next time, whatever it is.
        self._stale: int | None = None
        # Since the device was opened.
        self._unread = self._saved = self._recovered = False
        # Since the last reset.
        self._refusals = 0
        self._latched = self._hurt = self._outlives = False
        #: Whether the device was given data since the last reset, and left RESUMING.
        self.resumed = False
        # In a row.
        self._refused_now = self._asked_in_error = 0

    def opened(self) -> None:
        """A user begins."""
        self._saved = self._recovered = self._hurt = False
        self._unread = "header-late" in self._chosen

    def settled(self, state: int, before: int) -> None:
        """The device was brought into a state whatever was ``before``: by a reset, or by its user's leaving."""
        self._previous = state
        self._refusals = self._refused_now = 0
        self._unread = self._latched = self.resumed = False
        self._hurt = before == ERROR

    def moved(self, old: int, new: int, restored: bool) -> None:
        """A transition was made; ``restored`` when data was given to the device before."""
        self._previous = old
        self._stale = old if "state-read-stale-once" in self._chosen and (old, new) == (PRE_COPY, COPY) else None
        self._saved |= new in SAVING
        self.resumed |= restored
        self._asked_in_error = 0

    # Reads.

    def read(self, state: int) -> int:
        """What device_state reads in ``state``. Raises Refusal."""
        if self._unread:
            self._unread = False
            raise Refusal(EAGAIN)
        if self._stale is not None:
            state, self._stale = self._stale, None
        if "state-read-stale" in self._chosen:
            return self._previous
        if "stop-and-copy-reads-stop" in self._chosen and state == COPY:
            return STOP
        if "pre-copy-reads-running" in self._chosen and state == PRE_COPY:
            return RUNNING
        if self._refused_now and "state-failure-reports-7" in self._chosen:
            return 0b111
        if state == ERROR and "state-fault-reports-7" in self._chosen:
            return 0b111
        return state

    # Writes.

    def confused(self, value: int, state: int) -> int | None:
        """The state to be in at once, for a value with reserved bits."""
        if not value & ~STATE_BITS:
            return None
        if "reserved-bits-confuse" in self._chosen:
            return value & ~STATE_BITS | value << 1 & STATE_BITS
        return state if "reserved-bits-swallowed" in self._chosen else None

    def meaning(self, value: int) -> int:
        """The state that a written value asks for."""
        if value & _BIT_31 and "reserved-bit-31-stops" in self._chosen:
            return STOP
        state = value & STATE_BITS
        return PRE_COPY if state == 0b111 and "state-invalid-7-as-pre-copy" in self._chosen else state

    def check_latch(self) -> None:
        """Refuse every write after some that were refused."""
        if self._latched:
            raise Refusal(EIO)

    def ignores_in_error(self) -> bool:
        """Whether a write in the error state does nothing, and says that it succeeded."""
        return "error-write-ignored" in self._chosen

    def leaves_error(self, new: int) -> bool:
        """Whether a write leads out of the error state."""
        self._asked_in_error += 1
        if "error-left-by-second-write" in self._chosen and self._asked_in_error > 1:
            return True
        return "error-left-by-write" in self._chosen and new == RUNNING

    def takes(self, value: int, state: int) -> bool:
        """Whether a value that is no state is taken for one."""
        return any(
            name in self._chosen and value == taken and state in states
            for name, (taken, states) in _WRONGLY_VALID.items()
        )

    def refuse(self, old: int, new: int, *, streams: bool, left: bool, offered: bool, filled: bool) -> None:
        """Refuse a transition that nothing speaks against."""
        attempt = Attempt(
            old, new, self._previous, streams, left, offered, filled, self._saved, self.resumed, self._hurt
        )
        for name, (errno, when) in _REFUSALS.items():
            if name in self._chosen and when(attempt):
                raise Refusal(errno)

    def destination(self, old: int, new: int) -> int:
        """Where a transition ends that nobody refused."""
        if old == new:
            for name, (states, end) in _SELF_WRITES.items():
                if name in self._chosen and old in states:
                    return end
        elif (old, new) not in DRAWN:
            if "undrawn-wrong-state" in self._chosen:
                return next(state for state in STATES if state not in (old, new))
            if "undrawn-ignored" in self._chosen:
                return old
        elif "stop-and-copy-to-stop-runs" in self._chosen and (old, new) == (COPY, STOP):
            return RUNNING
        return new

    def wedges(self, old: int, new: int) -> bool:
        """Whether no reset will work after a transition."""
        return "undrawn-wedges" in self._chosen and (old, new) == (PRE_COPY, RESUMING)

    # Answers.

    def answer(self, old: int, value: int) -> int:
        """The bytes that a write reports which succeeded."""
        self._refused_now = 0
        if "state-write-returns-state" in self._chosen:
            return value & STATE_BITS
        if "state-write-short-from-pre-copy" in self._chosen and old == PRE_COPY:
            return 0
        return 0 if "state-write-short" in self._chosen else 4

    def answer_refused(self, refusal: Refusal, fault: bool) -> int:
        """The bytes that a write reports which was refused, maybe for a ``fault`` of the device. Raises ``refusal``."""
        if fault and "state-fault-silent" in self._chosen:
            return 4
        if "state-failure-silent" in self._chosen:
            return 4
        if "state-failure-silent-again" in self._chosen and self._refused_now > 1:
            return 4
        if "state-failure-short" in self._chosen:
            return 2
        raise refusal

    def refused(self, state: int, value: int) -> int:
        """The state that a refused write leaves ``state`` in."""
        self._refusals += 1
        self._refused_now += 1
        self._latched |= (
            "state-latched-after-failure" in self._chosen
            or ("state-latched-after-second-failure" in self._chosen and self._refusals > 1)
            or ("state-latched-in-pre-copy" in self._chosen and state == PRE_COPY)
        )
        if "state-failure-ends-pre-copy" in self._chosen and state == PRE_COPY:
            return RUNNING
        return value & STATE_BITS if "state-failure-stores" in self._chosen else state

    # Running, stopping, reset.

    def works(self, new: int) -> bool:
        """Whether the device works in a state: bit 0 says so, and nothing else (kabi v23:78-79)."""
        for name, (state, works) in _WRONGLY_WORKING.items():
            if name in self._chosen and new == state:
                return works
        return bool(new & RUNNING_BIT) != ("running-bit-inverted" in self._chosen)

    def stays_stopped(self, old: int, new: int) -> bool:
        """Whether the device stands still after a transition to RUNNING."""
        return any(name in self._chosen and made == (old, new) for name, made in _STAYS_STOPPED.items())

    def stops_late(self, old: int) -> bool:
        """Whether the device is still at work when the write that stops it returns."""
        return "stop-late" in self._chosen or ("pre-copy-exit-late" in self._chosen and old == PRE_COPY)

    def check_reset(self, state: int, offered: bool) -> None:
        """Refuse a reset (kabi v23:71-72)."""
        if ("reset-refused-in-stop" in self._chosen and state == STOP) or (
            "reset-refused-mid-buffer" in self._chosen and offered
        ):
            raise Refusal(EBUSY)

    def after_reset(self, state: int) -> int:
        """The state that a reset in ``state`` ends in."""
        outlives, self._outlives = self._outlives, False
        if state == ERROR:
            if outlives:
                return ERROR
            if self._recovered and "reset-recovers-once" in self._chosen:
                return ERROR
            self._recovered = True
            if "reset-keeps-error" in self._chosen:
                return ERROR
        if "reset-keeps-saving" in self._chosen and state in SAVING:
            return PRE_COPY
        return STOP if "reset-to-stop" in self._chosen else RUNNING

    def after_close(self, state: int) -> int:
        """The state that the next user finds who opens a device left in ``state``."""
        if "error-outlives-close" in self._chosen and state == ERROR:
            self._outlives = True
            return state
        if "close-needs-stop" in self._chosen and state != STOP:
            return state
        return RESUMING if "close-keeps-resuming" in self._chosen and state == RESUMING else RUNNING
