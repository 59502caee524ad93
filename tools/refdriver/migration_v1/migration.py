# SPDX-License-Identifier: GPL-2.0-only
"""The device's transitions between states, and the data that it saves and loads (kabi v23:56-241)."""

from __future__ import annotations

from errno import EINVAL, EIO

from ..device import pace
from ..device.machine import LOAD_FAULT, SAVE_FAULT, Machine
from ..options import Options
from ..refusal import Failure, Refusal
from .offer_policy import ESTIMATES, Buffers
from .section import DataSection
from .states import DRAWN, ERROR, PRE_COPY, RESUMING, RUNNING, RUNNING_BIT, STATE_BITS, STATES, STOP_AND_COPY
from .stream import LAYOUTS, PASS_COMPLETE, PASS_PRE_COPY, Image, Incoming, Outgoing

#: The value of the register FAULT that leads to the error state.
_FATAL = 1


class Migration:
    """Takes the machine from state to state."""

    def __init__(self, options: Options, machine: Machine, section: DataSection, buffers: Buffers) -> None:
        self._options = options
        self._estimate = ESTIMATES[options.pending]
        self._machine = machine
        self._buffers = buffers
        self._layout = LAYOUTS[options.driver_version]
        self.section = section
        #: The state that the device is in.
        self.state = RUNNING
        #: Bits 3-31 as the user wrote them, if they are kept.
        self._reserved_bits = 0
        self._outgoing: Outgoing | None = None
        self._incoming: Incoming | None = None
        self._force(RUNNING)

    # Open and close.

    def open(self) -> None:
        """A user opens the device: it runs (kabi v23:126), and the data section is fresh."""
        self.section.open()

    def close(self) -> None:
        """The user has closed the device, in any state: the next one finds it running (kabi v23:127-130)."""
        self.section.close()
        self._force(RUNNING)

    def reset(self) -> None:
        """From any state, even the error state, back to the default state (kabi v23:71-72)."""
        self._force(RUNNING)

    def _force(self, state: int) -> None:
        """Put the device into a state, whatever its present one."""
        self._reserved_bits = 0
        self._move(state)

    # device_state (kabi v23:56-102).

    def read_state(self) -> int:
        """What device_state reads."""
        return self._reserved_bits | self.state

    def write_state(self, value: int) -> None:
        """Enter the state that the user asks for, or raise Refusal and stay (kabi v23:59-70)."""
        try:
            self._change_state(value)
        except Refusal as refusal:
            if isinstance(refusal, Failure) or self._options.after_failure == "error":
                self._move(ERROR)
            raise

    def _change_state(self, value: int) -> None:
        self._take_reserved_bits(value & ~STATE_BITS)
        self._meet_fault()
        self._go(value & STATE_BITS)

    def _take_reserved_bits(self, bits: int) -> None:
        """Bits 3-31 are reserved (kabi v23:87): ignored, refused if set, or kept for the next read."""
        if bits and self._options.reserved_bits == "refuse":
            raise Refusal(EINVAL)
        if self._options.reserved_bits == "keep":
            self._reserved_bits = bits

    def _meet_fault(self) -> None:
        """Fail if FAULT says so."""
        fault = self._machine.take_fault()
        if fault == _FATAL:
            self._move(ERROR)  # an internal error (kabi v23:68-70)
        if fault:
            raise Refusal(EIO)

    def _go(self, new: int) -> None:
        """Go to a state that the user asks for."""
        if self.state == ERROR:
            raise Refusal(EIO)  # only reset leaves it (kabi v23:71-72)
        if not self._is_state(new):
            raise Refusal(EINVAL)
        if new != self.state:
            self._check_transition(new)
            self._make_transition(new)
        elif self._options.self_writes == "refuse":
            raise Refusal(EINVAL)

    def _is_state(self, value: int) -> bool:
        """Whether a user can ask for it."""
        return value in STATES

    def _check_transition(self, new: int) -> None:
        """Raise Refusal for a transition that must not be made."""
        if (self.state, new) not in DRAWN and self._options.undrawn == "refuse":
            raise Refusal(EINVAL)

    def _make_transition(self, new: int) -> None:
        """Make a transition; it can still be refused only because of the data written in RESUMING."""
        if self._incoming is not None:
            self._finish_resuming(self._incoming)
        pace.take(self._options.slow_transition)
        self._move(new)

    def _move(self, new: int) -> None:
        """Make the transition, which cannot be refused any more."""
        if self._works(new):
            self._machine.run()
        else:
            self._machine.halt()  # before the write returns (kabi v23:79-80)
        # Unread data of the old state is no longer needed (kabi v23:146-148).
        self.section.withdraw()
        self._outgoing = self._start_saving(new)
        self._incoming = self._start_resuming() if new == RESUMING else None
        self.state = new

    def _works(self, state: int) -> bool:
        """Whether the device runs in a state: only bit 0 decides that (kabi v23:78-79)."""
        return bool(state & RUNNING_BIT)

    # Saving (kabi v23:160-173, 196-228).

    def _start_saving(self, new: int) -> Outgoing | None:
        """The buffers offered in a state that is being entered."""
        if new == PRE_COPY:
            # The device memory once, while it still changes; all of it is sent again later.
            image = Image(self._machine.memory.content, b"", self._layout)
            return self._buffers.pre_copy(image, PASS_PRE_COPY, self.section.largest_buffer, self._buffers.shares)
        if new == STOP_AND_COPY:
            image = self._complete_state()
            return self._buffers.whole(image, PASS_COMPLETE, self.section.largest_buffer, self._buffers.shares)
        return None

    def _complete_state(self) -> Image:
        """The whole state, regardless of what pre-copy offered before (kabi v23:142-144)."""
        return Image(self._machine.memory.content, self._machine.save(), self._layout)

    def _offer(self, outgoing: Outgoing) -> None:
        """Have the present buffer in the data section before the read returns (kabi v23:205-208)."""
        if outgoing.offered or not outgoing.left():
            return
        if self._machine.count_down(SAVE_FAULT):
            raise Refusal(EIO)  # the buffer is not lost: the user may ask for it again, or give up
        self._work()
        self._put(outgoing)

    def _put(self, outgoing: Outgoing) -> None:
        """Put the present buffer into the section."""
        place = self.section.place(outgoing.number)
        size = outgoing.offer(self.section.room(place))
        self.section.show(place, size)

    def _work(self) -> None:
        """Wait for the time that a buffer takes."""
        pace.take(self._options.slow)

    def read_pending(self) -> int:
        """The value of pending_bytes; reading it releases the buffer read before."""
        outgoing = self._outgoing
        if outgoing is None:
            return 0
        pending = outgoing.pending()
        if not outgoing.offered:
            self.section.withdraw()
        return self._estimate(outgoing, pending) if pending else 0

    def read_offset(self) -> int:
        """The value of data_offset; while saving, the buffer is there when this returns."""
        if self._outgoing is not None:
            self._offer(self._outgoing)
        return self._place()

    def _place(self) -> int:
        """The place of the present buffer while saving, and of the next one while resuming."""
        present = self._outgoing or self._incoming
        return self.section.place(0 if present is None else present.number)

    def read_size(self) -> int:
        """The value of data_size."""
        if self._outgoing is None:
            return 0
        # The user may not choose the order of the two reads, but serving either first does no harm.
        self._offer(self._outgoing)
        return self._outgoing.size()

    # Resuming (kabi v23:230-241).

    def write_size(self, size: int) -> None:
        """The buffer is consumed when this returns: the next one may be put into its place."""
        if self._incoming is None:
            raise Refusal(EINVAL)
        if self._machine.count_down(LOAD_FAULT):
            raise Refusal(EIO)  # the buffer may be given again
        self._take(self._incoming, size)

    def _take(self, incoming: Incoming, size: int) -> None:
        """Consume a buffer that the user has announced."""
        place = self._place()
        if size > self.section.end - place:
            raise Refusal(EINVAL)
        if size:
            self._work()
            self._consume(incoming, place, size)

    def _consume(self, incoming: Incoming, place: int, size: int) -> None:
        incoming.take(self.section.taken(place, size))

    def _start_resuming(self) -> Incoming:
        """The object that loads the state written by the user."""
        incoming = self._buffers.resuming(self._machine.memory.content)
        incoming.newest = self._layout
        return incoming

    def _finish_resuming(self, incoming: Incoming) -> None:
        """The registers join the device memory (kabi v23:152-155); EINVAL for half a state."""
        registers = incoming.registers()
        if registers is not None:
            self._machine.load(registers)
