# SPDX-License-Identifier: GPL-2.0-only
"""The interface of regions to readers and writers, and the plain kinds."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from errno import EINVAL
from typing import Protocol

from ..refusal import Refusal
from . import pace

#: Type and subtype of a region.
Kind = tuple[int, int]
#: Offset in the region, and size.
Area = tuple[int, int]


class Region(Protocol):
    """Something that can be read and written at offsets; both raise Refusal."""

    size: int

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """Exactly ``count`` bytes. The result is valid until the region is next used."""

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Store ``data``; returns the count to report to the writer."""


class Special(Region, Protocol):
    """A region that announces its kind, can be mapped, and takes part in open, close and reset."""

    @property
    def kind(self) -> Kind | None:
        """The kind that its capability announces."""

    @property
    def areas(self) -> Sequence[Area]:
        """The areas that can be mapped."""

    @property
    def fd(self) -> int:
        """The descriptor to map, while the device is open."""

    def open(self) -> None:
        """A user opens the device."""

    def close(self) -> None:
        """The user has closed the device."""

    def reset(self) -> None:
        """Return to the initial state, just before the device's registers and memory return to theirs."""


def check_range(offset: int, count: int, size: int) -> None:
    """EINVAL for an access that is not wholly inside a region of ``size`` bytes."""
    if offset + count > size:
        raise Refusal(EINVAL)


class Memory:
    """Plain memory, accessed at any width."""

    def __init__(self, size: int) -> None:
        self.size = size
        # Pages that were never written cost nothing, and freeing them costs nothing.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._pages = mmap.mmap(-1, size, flags=flags) if size else None
        #: All of it, to be read and written.
        self.content = memoryview(bytearray() if self._pages is None else self._pages)

    def read(self, offset: int, count: int) -> memoryview:
        """Any part of it."""
        check_range(offset, count, self.size)
        return self.content[offset : offset + count]

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Any part of it."""
        check_range(offset, len(data), self.size)
        self.content[offset : offset + len(data)] = data
        return len(data)

    def clear(self) -> None:
        """All zero."""
        if self._pages is not None:
            self._pages.madvise(mmap.MADV_DONTNEED)


class ReadOnly:
    """Fixed content; writes are refused with EINVAL."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    def read(self, offset: int, count: int) -> bytes:
        """Any part of it."""
        check_range(offset, count, self.size)
        return self._content[offset : offset + count]

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Refused."""
        raise Refusal(EINVAL)


class Slow:
    """A region around another one: every access takes its time, and nothing else happens in the meantime."""

    def __init__(self, region: Region, microseconds: int) -> None:
        self.size = region.size
        self._region = region
        self._microseconds = microseconds

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """The same as the inner region reads, later."""
        pace.take(self._microseconds)
        return self._region.read(offset, count)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """The same for a write."""
        pace.take(self._microseconds)
        return self._region.write(offset, data)
