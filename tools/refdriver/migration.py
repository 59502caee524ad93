# SPDX-License-Identifier: GPL-2.0-only
"""The migration region: its header and the device state behind it (kabi v23:49-270)."""

from __future__ import annotations

import time
from collections.abc import Callable
from errno import EAGAIN, EINVAL, EIO

from .lenient import incoming
from .machine import LOAD_FAULT, SAVE_FAULT, Machine
from .options import Options
from .pacing import ESTIMATES, outgoing
from .refusal import Failure, Refusal
from .section import DataSection
from .state_defects import StateDefects
from .states import DRAWN, ERROR, PRE_COPY, RESUMING, RUNNING, STATE_BITS, STATES, STOP, STOP_AND_COPY
from .stream import PASS_PRE_COPY, PASS_WHOLE, Image, Incoming, Outgoing

#: Bytes of all registers.
HEADER_SIZE = 32

#: data_offset in the registers (defect data-offset-in-header), and what the device's file has before the region
#: (defect data-offset-file-position).
_IN_HEADER = 24
_FILE_POSITION = 9 << 40

#: Defects by which a state offers nothing: the states that it is entered from, and the states.
_OFFERS_NOTHING = {
    "saving-ignored": (STATES, (PRE_COPY, STOP_AND_COPY)),
    "pre-copy-silent": (STATES, (PRE_COPY,)),
    "pre-copy-says-all": ((PRE_COPY,), (STOP_AND_COPY,)),
    "stop-saves-nothing": ((STOP,), (STOP_AND_COPY,)),
}
#: Defects by which the state that stop-and-copy offers is, or may be, older than that.
_OUTDATED = frozenset({"pre-copy-snapshot-only", "pre-copy-registers-stale", "pending-read-forgets-changes"})

#: What a buffer that was spoilt on its way is full of (defects fault-bad-data, fault-in-pre-copy-silent).
_GARBAGE = b"\xa5"

_PAGE = 4096


class MigrationRegion:
    """Region 9. Carries the machine from state to state."""

    def __init__(self, options: Options, machine: Machine) -> None:
        self._options = options
        self._manner = options.manner
        self._estimate = ESTIMATES[options.manner.pending]
        self._defects = options.defects
        self._machine = machine
        self._state = RUNNING
        #: Bits 3-31 as the user wrote them, where they are kept.
        self._reserved_bits = 0
        self._state_defects = StateDefects(options.defects)
        self._outgoing: Outgoing | None = None
        self._incoming: Incoming | None = None
        self.section = DataSection(options)
        self.size = self.section.end
        #: The state on entering pre-copy, and the device memory as it was offered there; only defects keep them.
        self._snapshot: tuple[memoryview, bytes] | None = None
        self._offered_memory = memoryview(b"")
        #: Place and size of the buffer that is still to be consumed (defect data-consumed-late).
        self._unconsumed: tuple[int, int] | None = None
        #: Place and size of the only write to the data section since the last buffer (defect data-write-whole-only).
        self._written: tuple[int, int] | None = None
        #: Whether data_offset was refused, or read, since the last transition, and pending_bytes was (defects).
        self._offset_was_read = False
        self._offset_was_refused = False
        self._pending_was_read = False
        #: Whether resume data was refused since the device was opened (defect bad-data-wedges).
        self._wedged = False
        #: Whether an impossible size was refused since the last reset (defect bad-size-outlives-reset).
        self._bad_size = False
        #: Whether the present user has reset the device (defect region-type-lost-by-reset).
        self.was_reset = False
        #: What the last read of a register gave (defect reserved-stale).
        self._last_read = 0
        #: What defects let the user put into read-only fields.
        self._forced: dict[str, int] = {}
        # Only native width and alignment (kabi v23:52-54): a register is found by offset and width together.
        self._readers: dict[tuple[int, int], Callable[[], int]] = {}
        self._writers: dict[tuple[int, int], Callable[[int], int]] = {}
        self._place_registers()
        self._force(RUNNING)

    def _place_registers(self) -> None:
        """Lay the header out (kabi v23:244-270)."""
        base = 8 if "header-shifted" in self._defects else 0
        pending, reserved = (4, 12) if "pending-misplaced" in self._defects else (8, 4)
        self._readers = {
            (base, 4): self._read_state,
            (base + reserved, 4): self._read_reserved,
            (base + pending, 8): self._read_pending,
            (base + 16, 8): self._read_offset,
            (base + 24, 8): self._read_size,
        }
        self._writers = {
            (base, 4): self._write_state,
            (base + reserved, 4): self._write_reserved,
            (base + pending, 8): self._write_pending,
            (base + 16, 8): self._write_offset,
            (base + 24, 8): self._write_size,
        }

    # The user comes and goes.

    def open(self) -> None:
        """A user begins: the device runs (kabi v23:126), and the data section is fresh."""
        self.section.open()
        self._wedged = self.was_reset = False
        if "open-in-stop" in self._defects:
            self._force(STOP)
        if "open-stands-still" in self._defects:
            self._machine.halt()
        self._state_defects.opened()

    def close(self) -> None:
        """The user has gone, in whatever state: the next one finds the device running (kabi v23:127-130)."""
        self.section.close()
        after = self._state_defects.after_close(self._state)
        if after == RUNNING or after != self._state:
            self._force(after)

    def check_reset(self) -> None:
        """Refuse a reset; only a defect does (kabi v23:71-72)."""
        if self._wedged:
            raise Refusal(EIO)
        self._state_defects.check_reset(self._state, self._outgoing is not None and self._outgoing.offered)

    def reset(self) -> None:
        """From any state, the error state too, back to the default state."""
        self.was_reset = True
        bad_size, self._bad_size = self._bad_size, False
        after = RESUMING if bad_size else self._state_defects.after_reset(self._state)
        if after == RUNNING or after != self._state:
            self._force(after)

    def _force(self, state: int) -> None:
        """Put the device into a state whatever came before."""
        before = self._state
        self._reserved_bits = 0
        self._move(before, state)
        self._state_defects.settled(state, before)

    # Access.

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """A register, or any part of the data section, mapped or not (kabi v23:191-192)."""
        reader = self._readers.get((offset, count))
        if reader is not None:
            value = reader()
            self._last_read = value
            short = "size-read-short" in self._defects and offset == 24 and self._state == PRE_COPY
            return value.to_bytes(count, "little")[: 4 if short else count]
        if offset >= self.section.start:
            return self.section.read(offset, count)
        return self._read_at_odd_width(offset, count)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """As ``read``. Gives the count to report, which is less than what was written only by defect."""
        writer = self._writers.get((offset, len(data)))
        if writer is not None:
            return writer(int.from_bytes(data, "little"))
        if offset >= self.section.start:
            if "data-write-whole-only" in self._defects and self._incoming is not None:
                self._note_write(offset, len(data))
            self.section.write(offset, data)
            return len(data)
        return self._write_at_odd_width(offset, data)

    def _read_at_odd_width(self, offset: int, count: int) -> bytes:
        """Refused, as the text asks (kabi v23:53-54)."""
        end = offset + count
        met = [(at, width) for at, width in sorted(self._readers) if at < end and offset < at + width]
        whole = met and count and met[0][0] <= offset and end <= met[-1][0] + met[-1][1]
        if whole and (
            ("width-byte-read-accepted" in self._defects and count == 1)
            or ("width-straddling-read-accepted" in self._defects and len(met) > 1)
        ):
            header = b"".join(self._readers[key]().to_bytes(key[1], "little") for key in met)
            return header[offset - met[0][0] : end - met[0][0]]
        if "width-read-short" in self._defects and met and met[0][0] == offset and met[0][1] < count:
            return self._readers[met[0]]().to_bytes(met[0][1], "little")
        if "width-read-empty" in self._defects:
            return b""
        raise Refusal(EINVAL)

    def _write_at_odd_width(self, offset: int, data: bytes | memoryview) -> int:
        """Refused, and without effect."""
        if (offset, 4) in self._writers and self._writers[offset, 4] == self._write_state:
            value = int.from_bytes(data, "little")
            if "width-halfword-write-applied" in self._defects and len(data) == 2:
                self._write_state(value)
                return 2
            if "width-refused-but-applied" in self._defects and len(data) == 1:
                self._write_state(value)
            if "width-wide-write-applied" in self._defects and len(data) == 8:
                return self._write_state(value & 0xFFFF_FFFF)
        if "width-write-ignored" in self._defects:
            return len(data)
        raise Refusal(EINVAL)

    # device_state (kabi v23:56-102).

    def _read_state(self) -> int:
        return self._reserved_bits | self._state_defects.read(self._state)

    @property
    def state(self) -> int:
        """The state that the device is in."""
        return self._state

    def _write_state(self, value: int) -> int:
        defects, old = self._state_defects, self._state
        try:
            self._change_state(value)
        except Refusal as refusal:
            if isinstance(refusal, Failure) or self._manner.after_failure == "error":
                self._move(self._state, ERROR)
            fault = self._state != old  # which has led to the error state (kabi v23:68-70)
            after = defects.refused(self._state, value)
            if after != self._state:
                self._move(self._state, after)
            return defects.answer_refused(refusal, fault)
        return defects.answer(old, value)

    def _change_state(self, value: int) -> None:
        """Go where the user asks, or raise Refusal and stay (kabi v23:59-70)."""
        defects, old = self._state_defects, self._state
        confused = defects.confused(value, old)
        if confused is not None:
            self._state = confused
            return
        self._take_reserved_bits(value & ~STATE_BITS)
        new = defects.meaning(value)
        fault = self._machine.take_fault()
        if fault == 1:
            self._move(old, ERROR)  # an internal error (kabi v23:68-70)
        if fault:
            raise Refusal(EIO)
        defects.check_latch()
        if old == ERROR:
            if defects.ignores_in_error():
                return
            if not defects.leaves_error(new):
                raise Refusal(EIO)  # only reset leaves it (kabi v23:71-72)
        if new not in STATES and not defects.takes(new, old):
            raise Refusal(EINVAL)
        if new != old:
            self._check_transition(old, new)
        elif self._manner.self_writes == "refuse":
            raise Refusal(EINVAL)
        elif "self-write-ends-data" in self._defects and self._outgoing is not None:
            self._outgoing.end()
        end = defects.destination(old, new)
        if end != old:
            self._make_transition(old, end)
            self._wedged |= defects.wedges(old, new)

    def _take_reserved_bits(self, bits: int) -> None:
        """Bits 3-31 are reserved (kabi v23:87): ignored, refused where they are set, or kept for the next read."""
        if bits and self._manner.reserved_bits == "refuse":
            raise Refusal(EINVAL)
        if self._manner.reserved_bits == "keep":
            self._reserved_bits = bits

    def _check_transition(self, old: int, new: int) -> None:
        """Raise Refusal for a transition that is not to be made."""
        if (old, new) not in DRAWN and self._options.refuse_undrawn:
            raise Refusal(EINVAL)
        outgoing = self._outgoing
        self._state_defects.refuse(
            old,
            new,
            streams=self._machine.streaming,
            left=outgoing is not None and outgoing.left() > 0,
            offered=outgoing is not None and outgoing.offered,
            filled=self._incoming is not None and self._incoming.complete,
        )

    def _make_transition(self, old: int, new: int) -> None:
        """Carry the device over; only what it was given in RESUMING can still speak against it."""
        if self._incoming is not None:
            self._finish_resuming(self._incoming, new)
        wedges = "early-leave-wedges" in self._defects and self._incoming is not None and not self._incoming.touched
        self._move(old, new)
        if self._state_defects.stays_stopped(old, new):
            self._machine.halt()
        if "saved-state-dropped" in self._defects and (old, new) == (STOP_AND_COPY, STOP):
            self._machine.memory.clear()
        if wedges:
            self._state = 0b101

    def _move(self, old: int, new: int) -> None:
        """Make the transition, which nothing can refuse any more."""
        if self._state_defects.works(new):
            self._machine.run()
        else:
            self._machine.halt(late=self._state_defects.stops_late(old))  # before the write returns (kabi v23:79-80)
        # What was not read of the old state's data is of no interest any more (kabi v23:146-148).
        self.section.withdraw()
        restored = self._incoming is not None and self._incoming.touched
        self._outgoing = self._start_saving(old, new)
        self._incoming = incoming(self._options, self._machine.memory.content) if new == RESUMING else None
        self._unconsumed = self._written = None
        self._offset_was_read = self._offset_was_refused = self._pending_was_read = False
        self._forced.clear()
        self._state = new
        self._state_defects.moved(old, new, restored)

    # Saving (kabi v23:160-173, 196-228).

    def _start_saving(self, old: int, new: int) -> Outgoing | None:
        memory = self._machine.memory.content
        if new == PRE_COPY:
            # The device memory once, while it goes on changing; all of it is sent again later.
            image, which = Image(memory, b""), PASS_PRE_COPY
            if self._defects & _OUTDATED:
                self._snapshot = memoryview(bytes(memory)), self._machine.save()
            if "pre-copy-drops-late-change" in self._defects:
                self._offered_memory = memoryview(bytearray(memory))
        elif new == STOP_AND_COPY:
            image, which = self._whole_state(self._outgoing if old == PRE_COPY else None), PASS_WHOLE
        else:
            return None
        largest, pre_copy = self.section.largest_buffer, new == PRE_COPY
        offers = outgoing(self._options, image, which, largest, pre_copy=pre_copy)
        if self._offers_nothing(old, new) or (pre_copy and self._options.pre_copy == "none"):
            offers.end()
        return offers

    def _offers_nothing(self, old: int, new: int) -> bool:
        found = [_OFFERS_NOTHING[name] for name in self._defects & _OFFERS_NOTHING.keys()]
        return any(old in before and new in after for before, after in found)

    def _whole_state(self, offered: Outgoing | None) -> Image:
        """The state, whatever pre-copy ``offered`` of it before (kabi v23:142-144)."""
        memory = self._machine.memory.content
        if offered is not None and self._snapshot is not None:
            forgets = "pending-read-forgets-changes" in self._defects and offered.asked_again
            if forgets or "pre-copy-snapshot-only" in self._defects:
                return Image(*self._snapshot)
            if "pre-copy-registers-stale" in self._defects:
                return Image(memory, self._snapshot[1])
        if offered is not None and "pre-copy-drops-late-change" in self._defects:
            late = slice(len(memory) // 2, offered.offered_up_to)
            memory = memoryview(bytearray(memory))
            memory[late] = self._offered_memory[late]
        return Image(memory, self._machine.save())

    def _offer(self, outgoing: Outgoing) -> None:
        """Have the present buffer in the data section before the read returns (kabi v23:205-208)."""
        if outgoing.offered or not outgoing.left():
            return
        fault = self._machine.count_down(SAVE_FAULT)
        if fault and not self._hides_fault(outgoing):
            raise Refusal(EIO)  # the buffer is not lost: the user may ask for it again, or give up
        if outgoing.offered or not outgoing.left():
            return
        if not self._returns_early(outgoing):
            self._work()
        place = self.section.place(outgoing.number)
        room = self.section.room(place)
        size = outgoing.offer(room)
        self._disturb_work()
        if "pre-copy-drops-late-change" in self._defects and self._state == PRE_COPY:
            part = slice(outgoing.position, outgoing.offered_up_to)
            self._offered_memory[part] = self._machine.memory.content[part]
        if fault:
            room[:size] = _GARBAGE * size
        self.section.show(place, size)

    def _hides_fault(self, outgoing: Outgoing) -> bool:
        """Go on without a word after a fault; only defects do. A buffer that is made now is garbage."""
        if "fault-truncates" in self._defects:
            outgoing.end()
        elif "fault-empties-buffer" in self._defects:
            outgoing.offer_nothing()
        elif "fault-in-pre-copy-silent" not in self._defects or self._state != PRE_COPY:
            return "fault-bad-data" in self._defects
        return True

    def _returns_early(self, outgoing: Outgoing) -> bool:
        """Whether data_offset is read before the data is there; by defects alone."""
        later = "offset-returns-early-later" in self._defects and outgoing.number > 0
        return later or "offset-returns-early" in self._defects

    def _disturb_work(self) -> None:
        """Start or stop the device because a buffer is asked for, as only defects do."""
        if "pre-copy-stops-at-data" in self._defects and self._state == PRE_COPY:
            self._machine.halt()
        if "stop-and-copy-works-at-data" in self._defects and self._state == STOP_AND_COPY:
            self._machine.run()

    def _work(self) -> None:
        """Take the time that a buffer takes."""
        if self._options.slow:
            time.sleep(self._options.slow / 1_000_000)

    def _read_pending(self) -> int:
        self._pending_was_read = True
        pending = 0 if self._outgoing is None else self._pending(self._outgoing)
        if self._state == STOP_AND_COPY and (
            "state-changes-by-itself" in self._defects
            or ("drained-stops" in self._defects and self._outgoing is not None and not self._outgoing.left())
        ):
            self._state = STOP
        return self._forced.get("pending", pending)

    def _pending(self, outgoing: Outgoing) -> int:
        pending = outgoing.pending()
        if not outgoing.offered:
            self.section.withdraw()
        if "fault-truncates" in self._defects and pending and self._machine.fails_next(SAVE_FAULT):
            self._machine.count_down(SAVE_FAULT)
            outgoing.end()
            return 0
        return self._estimate(outgoing, pending) if pending else 0

    def _write_pending(self, value: int) -> int:
        if "pending-writable" in self._defects or (
            "pending-writable-in-pre-copy" in self._defects and self._state == PRE_COPY
        ):
            self._forced["pending"] = value
            return 8
        if "pending-write-zero-ends" in self._defects and not value and self._outgoing is not None:
            self._outgoing.end()
        return self._write_read_only()

    def _read_offset(self) -> int:
        if self._outgoing is not None:
            self._refuse_offset(self._outgoing)
            self._make_available(self._outgoing)
        elif self._incoming is not None:
            self._refuse_offset_of_room()
        self._offset_was_read = True
        if "data-offset-zero" in self._defects:
            return 0
        if "data-offset-in-header" in self._defects and self._state == RESUMING:
            return _IN_HEADER
        if "data-offset-file-position" in self._defects:
            return _FILE_POSITION | self._data_offset()
        return self._forced.get("offset", self._told_offset())

    def _refuse_offset(self, outgoing: Outgoing) -> None:
        """Refuse a read of data_offset while saving, once; only defects do."""
        due = {
            "offset-refused-while-pending": self._state == STOP_AND_COPY,
            "offset-refused-in-pre-copy": self._state == PRE_COPY,
            "offset-refused-at-last": outgoing.at_last,
        }
        if self._offset_was_refused or not outgoing.left():
            return
        if any(due[name] for name in self._defects & due.keys()):
            self._offset_was_refused = True
            raise Refusal(EAGAIN)

    def _refuse_offset_of_room(self) -> None:
        """Refuse a read of data_offset while resuming; only defects do."""
        if "second-offset-refused" in self._defects and self._offset_was_read:
            raise Refusal(EINVAL)
        if "resume-offset-wants-pending" in self._defects and not self._pending_was_read:
            raise Refusal(EINVAL)

    def _make_available(self, outgoing: Outgoing) -> None:
        """What a read of data_offset brings about while saving (kabi v23:205-208)."""
        advances = "offset-read-advances-in-pre-copy" in self._defects and self._state == PRE_COPY
        if (advances or "offset-read-advances" in self._defects) and outgoing.offered and not outgoing.at_last:
            outgoing.advance()
        outgoing.offset_reads += 1
        fresh = not outgoing.offered
        self._offer(outgoing)
        if fresh:
            self._hold_back(outgoing)

    def _hold_back(self, outgoing: Outgoing) -> None:
        """Have a part of a buffer that was just offered appear later; only defects do."""
        if self._returns_early(outgoing):
            self.section.delay_last_byte()
        if "data-lazy-on-size" in self._defects or ("data-lazy-later" in self._defects and outgoing.number):
            self.section.hide(0)
        elif "data-lazy-past-page" in self._defects:
            self.section.hide(_PAGE)

    def _told_offset(self) -> int:
        """data_offset as it is read: where the data lies or goes, but for defects."""
        told, outgoing, incoming = self._data_offset(), self._outgoing, self._incoming
        if incoming is not None and "resume-offset-marches" in self._defects:
            return told + incoming.number * self.section.largest_buffer
        if outgoing is None or not outgoing.offered:
            return told
        if "offset-outside-section" in self._defects and outgoing.at_last:
            return self.section.end - (outgoing.size() - 1) // _PAGE * _PAGE
        if "offset-in-registers" in self._defects and outgoing.number == 1:
            return 16
        if "offset-rereads-drift" in self._defects and outgoing.number and outgoing.offset_reads > 1:
            return told + 8
        if "offset-high-half" in self._defects:
            return told | outgoing.number << 32
        return told

    def _data_offset(self) -> int:
        """Where the present buffer lies while saving, and where the next one goes while resuming."""
        outgoing, incoming = self._outgoing, self._incoming
        if outgoing is not None:
            return self.section.place(outgoing.number)
        return self.section.place(0 if incoming is None else incoming.number)

    def _write_offset(self, value: int) -> int:
        if (
            "data-offset-writable" in self._defects
            or ("data-offset-writable-while-saving" in self._defects and self._outgoing is not None)
            or ("data-offset-high-half-writable" in self._defects and value >> 32)
        ):
            self._forced["offset"] = value
            return 8
        return self._write_read_only()

    def _read_size(self) -> int:
        if self._outgoing is None:
            return 0
        if "data-size-read-refused" in self._defects:
            raise Refusal(EINVAL)
        if "size-refused-at-last" in self._defects and self._outgoing.at_last:
            raise Refusal(EINVAL)
        # The order of the two reads is not the user's to choose, but nothing is lost by serving either.
        self._offer(self._outgoing)
        self.section.reveal()
        return self._outgoing.size()

    # Resuming (kabi v23:230-241).

    def _note_write(self, offset: int, length: int) -> None:
        """See to it that a buffer comes in one write, or in none through mapped memory."""
        if self._written is not None or offset != self._data_offset():
            raise Refusal(EINVAL)
        self._written = offset, length

    def _write_size(self, value: int) -> int:
        """The buffer is consumed when this returns: the next one may be put into its place."""
        if self._incoming is None or "resuming-data-refused" in self._defects:
            raise Refusal(EINVAL)
        if self._machine.count_down(LOAD_FAULT):
            raise Refusal(EIO)  # the buffer may be given again
        place = self._data_offset()
        written, self._written = self._written, None
        if value > self.section.end - place or written not in (None, (place, value)):
            self._bad_size = "bad-size-outlives-reset" in self._defects
            raise Refusal(EINVAL)
        if self._refuses_buffer(value):
            raise Refusal(EINVAL)
        self._consume_unconsumed(self._incoming)
        if value and self._is_consumed_late():
            self._unconsumed = place, value
        elif value:
            self._work()
            self._consume(self._incoming, place, value)
        if "resuming-runs-by-itself" in self._defects and self._incoming.complete:
            self._make_transition(RESUMING, RUNNING)
        return 4 if "resume-size-short" in self._defects else 8

    def _refuses_buffer(self, size: int) -> bool:
        """Whether a buffer is refused whatever is in it; by defects alone."""
        again = "resume-again-refused" in self._defects and self._state_defects.resumed
        return again or ("resume-odd-size-refused" in self._defects and size % 8 != 0)

    def _is_consumed_late(self) -> bool:
        """Whether a buffer waits for the next one, or for the end of RESUMING; only with a defect."""
        return "data-consumed-late" in self._defects

    def _consume(self, incoming: Incoming, place: int, size: int) -> None:
        if "resume-again-ignored" in self._defects and self._state_defects.resumed:
            return
        try:
            incoming.take(self.section.taken(place, size))
        except Refusal:
            self._wedged = "bad-data-wedges" in self._defects
            if "bad-data-swallowed" not in self._defects:
                raise

    def _consume_unconsumed(self, incoming: Incoming) -> None:
        if self._unconsumed is not None:
            place, size = self._unconsumed
            self._unconsumed = None
            self._consume(incoming, place, size)

    def _finish_resuming(self, incoming: Incoming, new: int) -> None:
        """The registers join the device memory (kabi v23:152-155); EINVAL for half a state."""
        try:
            self._consume_unconsumed(incoming)
            registers = incoming.registers()
        except Refusal:
            if "half-state-reads-next" in self._defects:
                self._state = new
            raise
        if registers is not None:
            self._machine.load(registers)

    # reserved (kabi v23:157-158).

    def _read_reserved(self) -> int:
        if "reserved-read-refused" in self._defects:
            raise Refusal(EINVAL)
        if "reserved-garbage" in self._defects:
            return 0xDEADBEEF
        if "reserved-stale" in self._defects:
            return self._last_read & 0xFFFF_FFFF
        return self._forced.get("reserved", 0)

    def _write_reserved(self, value: int) -> int:
        if "reserved-write-refused" in self._defects:
            raise Refusal(EINVAL)
        if "reserved-stored" in self._defects:
            self._forced["reserved"] = value
        if "reserved-stored-in-part" in self._defects:
            self._forced["reserved"] = value & 0xFF
        return 0 if "reserved-write-empty" in self._defects else 4

    def _write_read_only(self) -> int:
        if self._options.refuse_read_only:
            raise Refusal(EINVAL)
        return 8
