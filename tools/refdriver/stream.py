# SPDX-License-Identifier: GPL-2.0-only
"""The saved state as it travels: cut into buffers that can be checked, and put together again.

To the user it is opaque (kabi v23:239-241), so the format is the device's own. A pass carries the image, or the
beginning of one, from its first byte to its last. A buffer is the next part of it, and a few bytes that say which
pass that is (what pre-copy offered, or the whole), whether it is the first or the last part, and the checksum of
the pass so far. A pass always begins with its first part: the user may leave pre-copy before the end of what it
offers (kabi v23:145-148), and the whole that follows begins anew.

Neither side keeps a copy of the image: its size is no measure of what the device needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from errno import EAGAIN, EINVAL
from struct import Struct

from .machine import SAVED_REGISTERS_SIZE
from .refusal import Refusal

PASS_PRE_COPY = 1
PASS_WHOLE = 2
_PASS = 3
_FIRST = 4
_LAST = 8

#: Ends each buffer: checksum of the pass so far, then its kind, which is never 0.
_TRAILER = Struct("<IB")

_PAGE = 4096


class Image:
    """A whole state as a row of bytes: device memory, then the registers."""

    def __init__(self, memory: memoryview, registers: bytes | bytearray) -> None:
        self._memory = memory
        self._registers = memoryview(registers)
        self.size = len(memory) + len(registers)

    def parts(self, start: int, length: int) -> Iterator[memoryview]:
        """The pieces of memory that make up a part of it."""
        border = len(self._memory)
        end = start + length
        if start < border:
            yield self._memory[start : min(end, border)]
        if end > border:
            yield self._registers[max(start - border, 0) : end - border]


class Outgoing:
    """The buffers of one saving state, handed out one after another (kabi v23:196-218).

    ``offer`` makes the present buffer available; the next read of pending_bytes says that the user has it. Any
    number of reads in between, or of pending_bytes alone, changes nothing.
    """

    def __init__(
        self, image: Image, which: int, largest: int, defects: frozenset[str], shares: tuple[int, ...] = (1,)
    ) -> None:
        """``shares``: by what the largest buffer is divided to give the buffers' sizes, in turn."""
        self._image = image
        self._which = which
        self._largest_step = largest - _TRAILER.size
        self._shares = shares
        self._defects = defects
        self._end = image.size
        #: How many buffers the user has.
        self.number = 0
        if "save-stream-truncated" in defects and image.size:
            self._end -= (image.size - 1) % self._step + 1
        #: Where the present buffer begins in the image, and how much of it that buffer carries.
        self.position = 0
        self._length = 0
        self._checksum = 0
        self._next_checksum = 0
        #: Whether the present buffer has been made available, and its size.
        self.offered = False
        self._size = 0
        #: Reads of pending_bytes since the last buffer, and what defects need to know.
        self._asked = 0
        self.asked_again = False
        self.offset_reads = 0
        self._zeros = 0
        self._size_was_read = False
        self._spoilt = False
        self._paused = False
        self._was_empty = False

    @property
    def _step(self) -> int:
        """How much of the image the present buffer carries, unless it is the last one."""
        return max(self._largest_step // self._shares[self.number % len(self._shares)], 1)

    def left(self) -> int:
        """Bytes not handed out yet; as an estimate where buffers differ in size."""
        content = self._end - self.position
        return content + -(-content // self._step) * _TRAILER.size

    @property
    def at_last(self) -> bool:
        """Whether the present buffer is the last one."""
        return 0 < self._end - self.position <= self._step

    @property
    def offered_up_to(self) -> int:
        """Where in the image that ends which the user was offered."""
        return self.position + self._length

    def end(self) -> None:
        """Nothing more is offered."""
        self._end = self.position
        self.offered = False

    def pending(self) -> int:
        """A read of pending_bytes: what is left, once the buffer read before has been let go (kabi v23:199-218)."""
        if self.offered:
            if "buffer-never-advances" not in self._defects:
                self.advance()
        elif self._asked and self.left():
            self._ask_again()
        self._asked += 1
        if self.at_last and self._which == PASS_WHOLE and "pending-returns" in self._defects and not self._paused:
            self._paused = True
            return 0
        if self.at_last and "pending-zero-early" in self._defects:
            return 0
        if "pending-returns-later" in self._defects and self._which == PASS_WHOLE and not self.left():
            self._zeros += 1
            return int(self._zeros > 2)
        return self.left()

    def _ask_again(self) -> None:
        """pending_bytes is read again, which must not matter (kabi v23:200-201)."""
        self.asked_again = True
        if "pending-read-advances" in self._defects:
            self._length = min(self._step, self._end - self.position)
            self.advance()
        if "pending-read-changes-buffer" in self._defects:
            self._spoilt = True

    def advance(self) -> None:
        """Go on to the next buffer."""
        self.position += self._length
        self.number += bool(self._length)
        self._checksum = self._next_checksum
        self._length = self._size = self._asked = self.offset_reads = 0
        self.offered = self._size_was_read = False

    def rewind(self) -> None:
        """Begin with the first part again."""
        self.position = self._checksum = 0

    def offer(self, room: memoryview) -> int:
        """Put the present buffer into ``room``; gives its size. There has to be one, and not offered yet."""
        if "two-pending-reads-needed" in self._defects and self._asked < 2:
            raise Refusal(EAGAIN)
        self.offered = True
        if self._offers_nothing():
            self._was_empty = True
            return 0
        self._length = min(self._step, self._end - self.position)
        self._size, self._next_checksum = self._put(room, self.position, self._length, self._checksum)
        if "buffer-resent" in self._defects and self.number == 1:
            self._size, _ = self._put(room, 0, self._step, 0)
        if self._spoilt:
            room[0] ^= 0xFF
            self._spoilt = False
        return self._size

    def offer_nothing(self) -> None:
        """Make an empty buffer available in place of the present one, which comes next."""
        self.offered = True

    def _offers_nothing(self) -> bool:
        """Whether an empty buffer is due; only defects offer one, and once."""
        due = {
            "size-zero-while-pending": True,
            "size-zero-in-pre-copy": self._which == PASS_PRE_COPY,
            "size-zero-before-last": self.at_last,
        }
        return not self._was_empty and any(due[name] for name in self._defects & due.keys())

    def _put(self, room: memoryview, start: int, length: int, checksum: int) -> tuple[int, int]:
        """Lay one buffer out; gives its size and the checksum so far."""
        kind = self._which
        kind |= 0 if start else _FIRST
        kind |= _LAST if start + length == self._image.size else 0
        place = 0
        for part in self._image.parts(start, length):
            room[place : place + len(part)] = part
            place += len(part)
        if "save-first-page-only" in self._defects:
            room[_PAGE:length] = bytes(max(length - _PAGE, 0))
        checksum = zlib.crc32(bytes([kind]), zlib.crc32(room[:length], checksum))
        _TRAILER.pack_into(room, length, checksum, kind)
        return length + _TRAILER.size, checksum

    def size(self) -> int:
        """A read of data_size: the size of the buffer that is available now, else 0."""
        if not self._size or ("size-read-once" in self._defects and self._size_was_read):
            return 0
        self._size_was_read = True
        return self._size - ("size-off-by-one" in self._defects)


class Incoming:
    """The buffers of one resuming state, put together.

    The device memory takes them on as they come, the registers only once all is there. Until then the device is of
    no use, and only resuming's end or a reset leads out of it.
    """

    def __init__(self, memory: memoryview, defects: frozenset[str]) -> None:
        self._memory = memory
        self._defects = defects
        self._registers = bytearray(SAVED_REGISTERS_SIZE)
        #: Whether anything came at all.
        self.touched = False
        #: How many buffers were taken.
        self.number = 0
        self._which = 0
        self._position = 0
        self._checksum = 0
        #: Whether the last buffer taken was the last one of a whole state.
        self.complete = False

    def take(self, buffer: memoryview) -> None:
        """Take one buffer in; EINVAL for one that is damaged or out of order (the text leaves that open).

        A refused buffer counts for nothing: the right one may still come.
        """
        if "resuming-data-ignored" in self._defects:
            return
        self.touched = True
        length = len(buffer) - _TRAILER.size
        if length <= 0:
            raise Refusal(EINVAL)
        checksum, kind = _TRAILER.unpack_from(buffer, length)
        which, start, so_far = self._which, self._position, self._checksum
        if kind & _FIRST:
            which, start, so_far = kind & _PASS, 0, 0
        image = Image(self._memory, b"" if which == PASS_PRE_COPY else self._registers)
        end = start + length
        if kind & ~(_FIRST | _LAST) != which or which not in (PASS_PRE_COPY, PASS_WHOLE):
            raise Refusal(EINVAL)
        if end > image.size or bool(kind & _LAST) != (end == image.size):
            raise Refusal(EINVAL)
        self._which, self._position, self._checksum, self.complete = which, start, so_far, False
        if "resume-last-buffer-only" in self._defects:
            self._memory[:] = bytes(len(self._memory))
            self._registers[:] = bytes(len(self._registers))
        if "resume-drops-a-buffer" in self._defects and self.number == 1:
            image, start = Image(memoryview(b""), bytearray(length)), 0
        # The user may still be writing to the section, so what is checked is what was taken.
        for part in image.parts(start, length):
            part[:], buffer = buffer[: len(part)], buffer[len(part) :]
            so_far = zlib.crc32(part, so_far)
        so_far = zlib.crc32(bytes([kind]), so_far)
        if checksum != so_far:
            raise Refusal(EINVAL)
        if "resume-first-page-only" in self._defects and length > _PAGE:
            for part in image.parts(start + _PAGE, length - _PAGE):
                part[:] = bytes(len(part))
        self._position, self._checksum = end, so_far
        self.number += 1
        self.complete = kind == kind | PASS_WHOLE | _LAST

    def registers(self) -> bytes | None:
        """The registers of the whole state; None when no data ever came. EINVAL when it is not complete."""
        if not self.touched:
            return None
        if not self.complete and not self._defects & {"save-stream-truncated", "bad-data-swallowed"}:
            raise Refusal(EINVAL)
        return bytes(self._registers)
