# SPDX-License-Identifier: GPL-2.0-only
"""The saved state as it travels: cut into buffers that can be checked, and put together again.

To the user it is opaque (kabi v23:239-241), so the format is the device's own. Every buffer says which pass
it belongs to (what pre-copy offered, or the whole), which of how many it is and where its content lies in the
image, and carries a checksum. A pass always begins with buffer 0: the user may leave pre-copy before the end
of what it offers (kabi v23:145-148), and the whole that follows begins anew.
"""

from __future__ import annotations

import zlib
from errno import EINVAL
from struct import Struct

from .machine import IMAGE_SIZE
from .refusal import Refusal

PASS_PRE_COPY = 1
PASS_WHOLE = 2

#: magic, pass, index, count, place in the image; the checksum of these and the content follows.
_HEAD = Struct("<4sHHII")
_CHECKSUM = Struct("<I")
_MAGIC = b"VFM1"
_OVERHEAD = _HEAD.size + _CHECKSUM.size


def cut(image: bytes, which: int, largest: int, defects: frozenset[str]) -> list[bytes]:
    """The buffers, of at most ``largest`` bytes each, that carry an image or the beginning of one."""
    step = largest - _OVERHEAD
    places = list(range(0, len(image), step))
    if "save-stream-truncated" in defects:
        places.pop()
    buffers = []
    for index, place in enumerate(places):
        head = _HEAD.pack(_MAGIC, which, index, len(places), place)
        content = image[place : place + step]
        buffers.append(head + _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(head))) + content)
    return buffers


class Outgoing:
    """The buffers of one saving state, handed out one after another (kabi v23:196-218).

    Reading data_offset or data_size makes the present buffer available; the next read of pending_bytes says
    that the user has it. Any number of reads in between, or of pending_bytes alone, changes nothing.
    """

    def __init__(self, buffers: list[bytes]) -> None:
        self._buffers = buffers
        self._next = 0
        self._offered = False
        self._left = sum(map(len, buffers))

    def pending(self) -> int:
        """Bytes not handed out yet (kabi v23:199-202, 217-218)."""
        if self._offered:
            self._offered = False
            self._left -= len(self._buffers[self._next])
            self._next += 1
        return self._left

    def left(self) -> int:
        """As ``pending``, but only looked at."""
        return self._left

    def offer(self) -> bytes | None:
        """The present buffer if it is to be made available now; None if it is already, or none is left."""
        if self._offered or self._next == len(self._buffers):
            return None
        self._offered = True
        return self._buffers[self._next]

    def offered_size(self) -> int:
        """Bytes of the buffer that is available now, else 0."""
        return len(self._buffers[self._next]) if self._offered else 0


class Incoming:
    """The buffers of one resuming state, put together; the device changes only once they are complete."""

    def __init__(self, defects: frozenset[str]) -> None:
        self._defects = defects
        self._image = bytearray(IMAGE_SIZE)
        self._touched = False
        #: Pass, index and count of the last buffer taken.
        self._last = (0, 0, 0)

    def take(self, buffer: bytes) -> None:
        """Take one buffer in; EINVAL for one that is damaged or out of order (the text leaves that open)."""
        if "resuming-data-ignored" in self._defects:
            return
        self._touched = True
        if len(buffer) < _OVERHEAD:
            raise Refusal(EINVAL)
        magic, which, index, count, place = _HEAD.unpack_from(buffer)
        (checksum,) = _CHECKSUM.unpack_from(buffer, _HEAD.size)
        content = buffer[_OVERHEAD:]
        if magic != _MAGIC or checksum != zlib.crc32(content, zlib.crc32(buffer[: _HEAD.size])):
            raise Refusal(EINVAL)
        if (index and (which, index - 1, count) != self._last) or place + len(content) > IMAGE_SIZE:
            raise Refusal(EINVAL)
        if "resume-last-buffer-only" in self._defects:
            self._image = bytearray(IMAGE_SIZE)
        self._last = (which, index, count)
        self._image[place : place + len(content)] = content

    def result(self) -> bytes | None:
        """The whole image; None when no data ever came. EINVAL when it is not complete."""
        if not self._touched:
            return None
        which, index, count = self._last
        if which != PASS_WHOLE or index + 1 != count:
            raise Refusal(EINVAL)
        return bytes(self._image)
