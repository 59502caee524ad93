# SPDX-License-Identifier: GPL-2.0-only
"""The data of a device's state as it went through the region: which parts of a buffer, and what was in it.

Nothing here holds the data itself, nor grows with the size of a buffer.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from typing import NamedTuple

from ...run.client import Access

#: Buffers of one state that are remembered; a hundred bytes or two each.
MOST_BUFFERS = 1 << 17

#: Separate parts of one buffer that are distinguished.
_MOST_PARTS = 256

#: Bytes of a digest that are kept.
_KEPT = 16


class Areas:
    """Parts of the region that the client may access unseen: those that it has mapped."""

    def __init__(self) -> None:
        self._mapped: set[tuple[int, int]] = set()

    def add(self, offset: int, length: int) -> None:
        """The client has mapped this part."""
        if len(self._mapped) < _MOST_PARTS:
            self._mapped.add((offset, length))
        else:
            self._mapped = {(0, 1 << 64)}

    def clear(self) -> None:
        """Nothing is mapped any longer."""
        self._mapped.clear()

    def touch(self, start: int | None, size: int | None) -> bool:
        """Whether any byte of a buffer is in such a part; for one with an unknown place, if there is any."""
        if start is None or size is None:
            return bool(self._mapped)
        return any(offset < start + size and start < offset + length for offset, length in self._mapped)


class Coverage:
    """Which bytes of a buffer were accessed."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> None:
        """Bytes ``start`` to ``end`` were; with too many separate parts the gaps between the first are forgotten."""
        if start >= end:
            return
        first = bisect_left(self._parts, start, key=lambda part: part[1])
        last = first
        while last < len(self._parts) and self._parts[last][0] <= end:
            start, end = min(start, self._parts[last][0]), max(end, self._parts[last][1])
            last += 1
        self._parts[first:last] = [(start, end)]
        if len(self._parts) > _MOST_PARTS:
            self._parts[:2] = [(self._parts[0][0], self._parts[1][1])]

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any of these bytes was accessed."""
        return any(first < end and start < last for first, last in self._parts)

    def inside(self, size: int) -> int:
        """How many of the first ``size`` bytes were."""
        return sum(max(min(end, size) - max(start, 0), 0) for start, end in self._parts)

    @property
    def end(self) -> int:
        """The end of the last of them."""
        return self._parts[-1][1] if self._parts else 0


class Transaction(NamedTuple):
    """One buffer: its size and digests of its content; no digest if the content is unknown."""

    size: int
    #: Of all its bytes.
    whole: bytes = b""
    #: Of the sizes of the pieces in which it was moved, and of the pieces: where the pieces' digests are all there is.
    split: bytes = b""
    pieces: bytes = b""

    @property
    def key(self) -> tuple[int, bytes, bytes] | None:
        """Equal for buffers that are the same; None if that is unknown."""
        return (self.size, self.whole, self.pieces) if self.whole or self.pieces else None

    def same(self, other: Transaction) -> bool | None:
        """Whether the content is the same; None if that is unknown."""
        if self.size != other.size:
            return False
        if self.whole and other.whole:
            return self.whole == other.whole
        if self.split and self.split == other.split:
            return self.pieces == other.pieces
        return None


class Content:
    """Digests of a buffer that comes piece by piece, front to back. What is read again is not taken again."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._front = self._count = 0
        self._known = True
        self._raw: bool = True
        self._single = b""
        self._whole, self._split, self._pieces = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def add(self, start: int, access: Access) -> None:
        """The bytes that ``access`` moved, ``start`` bytes into the buffer."""
        size = access.value
        if start == 0 and size >= self._front:
            self._begin()  # all of it again, in one piece
        if start != self._front:
            if start > self._front or access.verb == "write":
                self._known = False
            return
        digest = access.moved_digest()
        self._known &= bool(digest)
        self._raw &= len(access.data) >= size
        if self._raw:
            self._whole.update(access.data[:size])
        self._split.update(size.to_bytes(8, "little"))
        self._pieces.update(digest)
        self._single = digest
        self._count += 1
        self._front += size

    def transaction(self, size: int) -> Transaction:
        """The buffer, now that it is known to have ``size`` bytes."""
        if not self._known or self._front != size or not size:
            return Transaction(size)
        if self._count == 1:
            return Transaction(size, self._single[:_KEPT])
        if self._raw:
            return Transaction(size, self._whole.digest()[:_KEPT])
        return Transaction(size, b"", self._split.digest()[:_KEPT], self._pieces.digest()[:_KEPT])


class Stream:
    """A saved state: its buffers in the order in which the client took them."""

    def __init__(self) -> None:
        self.buffers: list[Transaction] = []
        #: From this buffer on some may be missing; None: none is.
        self.known: int | None = None
        #: Saved to its end.
        self.complete = False
        #: Pre-copy followed again.
        self.continued = False
        #: Any step was made to save it.
        self.begun = False

    @property
    def empty(self) -> bool:
        """Nothing was saved."""
        return not self.buffers and not self.complete and self.known is None

    def add(self, buffer: Transaction) -> None:
        """One more buffer."""
        if len(self.buffers) < MOST_BUFFERS:
            self.buffers.append(buffer)
        else:
            self.lose()

    def lose(self) -> None:
        """From here on buffers may be missing."""
        if self.known is None:
            self.known = len(self.buffers)
