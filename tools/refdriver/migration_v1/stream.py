# SPDX-License-Identifier: GPL-2.0-only
"""The saved state as it is sent: cut into buffers that can be checked, and put together again.

To the user it is opaque (kabi v23:239-241), so the format is the device's own. A pass carries the image, or the
beginning of one, from its first byte to its last. A buffer is the next part of it, and a few bytes that say which
pass that is (what pre-copy offered, or the whole), whether it is the first or the last part, and the checksum of
the pass so far. A pass always begins with its first part: the user may leave pre-copy before the end of what it
offers (kabi v23:145-148), and the whole that follows begins anew.

There are two layouts of the image. Layout 1 has the device memory first, layout 2 the registers, and each buffer says
which it is. A driver reads the layouts up to its own: states go from an older driver to a newer one, and not back.

Neither side keeps a copy of the image, so its size does not add to the memory that the device needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from errno import EINVAL
from struct import Struct

from ..device.machine import SAVED_REGISTERS_SIZE
from ..refusal import Refusal

PASS_PRE_COPY = 1
PASS_COMPLETE = 2
_PASS = 3
_FIRST = 4
_LAST = 8
#: Set in layout 2, and unknown to drivers that do not have it.
_LAYOUT_2 = 16

#: The layout in which each version of the driver saves; it accepts that one and all before it.
LAYOUTS = {"1.0": 1, "1.1": 2}

#: Ends each buffer: checksum of the pass so far, then its kind, which is never 0.
_TRAILER = Struct("<IB")


class Image:
    """A whole state as a row of bytes: device memory, then the registers; in layout 2 the other way round."""

    def __init__(self, memory: memoryview, registers: bytes | bytearray, layout: int = 1) -> None:
        parts = (memory, memoryview(registers))
        self._before, self._behind = parts if layout == 1 else reversed(parts)
        self.layout = layout
        self.size = len(memory) + len(registers)

    def parts(self, start: int, length: int) -> Iterator[memoryview]:
        """The pieces of memory that make up a part of it."""
        border = len(self._before)
        end = start + length
        if start < border:
            yield self._before[start : min(end, border)]
        if end > border:
            yield self._behind[max(start - border, 0) : end - border]


class Outgoing:
    """The buffers of one saving state, offered one after another (kabi v23:196-218).

    ``offer`` makes the present buffer available; the next read of pending_bytes says that the user has it. Any
    number of reads in between, or of pending_bytes alone, changes nothing.
    """

    def __init__(self, image: Image, which: int, largest: int, shares: tuple[int, ...]) -> None:
        """``shares``: the divisors of the largest buffer that give the buffers' sizes, in turn."""
        self._image = image
        self._largest_step = largest - _TRAILER.size
        self._shares = shares
        self._end = image.size
        #: PASS_PRE_COPY or PASS_COMPLETE.
        self.which = which
        #: How many buffers the user has.
        self.number = 0
        #: Where the present buffer begins in the image, and how much of it that buffer carries.
        self.position = 0
        self.length = 0
        self._checksum = 0
        self._next_checksum = 0
        #: Whether the present buffer has been made available, and its size.
        self.offered = False
        self._size = 0

    @property
    def step(self) -> int:
        """How much of the image the present buffer carries, unless it is the last one."""
        return max(self._largest_step // self._shares[self.number % len(self._shares)], 1)

    @property
    def unsent(self) -> int:
        """Bytes of the image that the user does not have yet."""
        return self._end - self.position

    def left(self) -> int:
        """Bytes not offered yet; an estimate if buffers differ in size."""
        unsent = self.unsent
        return unsent + -(-unsent // self.step) * _TRAILER.size

    def end(self) -> None:
        """Nothing more is offered."""
        self._end = self.position
        self.offered = False

    def pending(self) -> int:
        """A read of pending_bytes: the bytes left after the buffer read before was released (kabi v23:199-218)."""
        if self.offered:
            self.advance()
        return self.left()

    def advance(self) -> None:
        """Advance to the next buffer."""
        self.position += self.length
        self.number += bool(self.length)
        self._checksum = self._next_checksum
        self.length = self._size = 0
        self.offered = False

    def rewind(self) -> None:
        """Start again with the first part."""
        self.position = self._checksum = 0

    def offer(self, room: memoryview) -> int:
        """Put the present buffer into ``room``; returns its size. There must be one that was not offered yet."""
        self.offered = True
        self.length = min(self.step, self.unsent)
        self._size, self._next_checksum = self._put(room, self.position, self.length, self._checksum)
        return self._size

    def _put(self, room: memoryview, start: int, length: int, checksum: int) -> tuple[int, int]:
        """Compose one buffer; returns its size and the checksum of the pass up to here."""
        kind = self.which
        kind |= 0 if start else _FIRST
        kind |= _LAST if start + length == self._image.size else 0
        kind |= _LAYOUT_2 if self._image.layout == 2 else 0
        self._fill(room, start, length)
        checksum = zlib.crc32(bytes([kind]), zlib.crc32(room[:length], checksum))
        _TRAILER.pack_into(room, length, checksum, kind)
        return length + _TRAILER.size, checksum

    def _fill(self, room: memoryview, start: int, length: int) -> None:
        """Copy a part of the image into it."""
        place = 0
        for part in self._image.parts(start, length):
            room[place : place + len(part)] = part
            place += len(part)

    def size(self) -> int:
        """A read of data_size: the size of the buffer that is available now, else 0."""
        return self._size


class Incoming:
    """The buffers of one resuming state, put together.

    The device memory is loaded as buffers come, the registers only once all is there. Until then the device is of
    no use, and only the end of resuming or a reset changes that.
    """

    #: The newest known layout.
    newest = 1

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
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
        """Load one buffer; EINVAL if it is damaged or out of order (the specification leaves that open).

        A refused buffer is ignored: the right one may still come.
        """
        self.touched = True
        length = len(buffer) - _TRAILER.size
        if length <= 0:
            raise Refusal(EINVAL)
        checksum, kind = _TRAILER.unpack_from(buffer, length)
        layout = self._layout_of(kind)
        which, start, so_far = self._which, self._position, self._checksum
        if kind & _FIRST:
            which, start, so_far = kind & (_PASS | _LAYOUT_2), 0, 0
        whole = which & _PASS == PASS_COMPLETE
        image = Image(self._memory, self._registers if whole else b"", layout)
        end = start + length
        if kind & ~(_FIRST | _LAST) != which or which & _PASS not in (PASS_PRE_COPY, PASS_COMPLETE):
            raise Refusal(EINVAL)
        if end > image.size or bool(kind & _LAST) != (end == image.size):
            raise Refusal(EINVAL)
        self._which, self._position, self._checksum, self.complete = which, start, so_far, False
        so_far = zlib.crc32(bytes([kind]), self._store(buffer[:length], image, start, so_far))
        if checksum != so_far:
            raise Refusal(EINVAL)
        self._position, self._checksum = end, so_far
        self.number += 1
        self.complete = kind == kind | PASS_COMPLETE | _LAST

    def _layout_of(self, kind: int) -> int:
        """The layout of a buffer; EINVAL for an unknown one."""
        layout = 2 if kind & _LAYOUT_2 else 1
        if layout > self.newest:
            raise Refusal(EINVAL)
        return layout

    def _store(self, content: memoryview, image: Image, start: int, checksum: int) -> int:
        """Load a part of the image; returns the checksum including it.

        The user may still be writing to the section, so the loaded bytes are checked.
        """
        for part in image.parts(start, len(content)):
            part[:], content = content[: len(part)], content[len(part) :]
            checksum = zlib.crc32(part, checksum)
        return checksum

    def registers(self) -> bytes | None:
        """The registers of the whole state; None if no data ever came. EINVAL if it is not complete."""
        if not self.touched:
            return None
        if not self.complete:
            raise Refusal(EINVAL)
        return bytes(self._registers)
