# SPDX-License-Identifier: GPL-2.0-only
"""What a region is to those who read and write it, and the two plain kinds."""

from __future__ import annotations

from errno import EINVAL
from typing import Protocol

from .refusal import Refusal


class Region(Protocol):
    """Something that can be read and written at offsets; both raise Refusal."""

    size: int

    def read(self, offset: int, count: int) -> bytes:
        """``count`` bytes, all of them."""

    def write(self, offset: int, data: bytes) -> int:
        """Store ``data``; gives the count to report to the writer."""


def check_range(offset: int, count: int, size: int) -> None:
    """EINVAL for an access that is not wholly inside a region of ``size`` bytes."""
    if offset + count > size:
        raise Refusal(EINVAL)


class Memory:
    """Plain memory, accessed at any width."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._content = bytearray(size)

    def read(self, offset: int, count: int) -> bytes:
        """Any part of it."""
        check_range(offset, count, self.size)
        return bytes(self._content[offset : offset + count])

    def write(self, offset: int, data: bytes) -> int:
        """Any part of it."""
        check_range(offset, len(data), self.size)
        self._content[offset : offset + len(data)] = data
        return len(data)

    def clear(self) -> None:
        """All zero."""
        self._content[:] = bytes(self.size)


class ReadOnly:
    """Fixed content; writes are refused with EINVAL."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    def read(self, offset: int, count: int) -> bytes:
        """Any part of it."""
        check_range(offset, count, self.size)
        return self._content[offset : offset + count]

    def write(self, offset: int, data: bytes) -> int:
        """Refused."""
        raise Refusal(EINVAL)
