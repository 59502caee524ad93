# SPDX-License-Identifier: GPL-2.0-only
"""Memory that ends where nothing can be read or written, to see that nobody goes past what he was given."""

from __future__ import annotations

import mmap
import os
from types import TracebackType
from typing import Final

from . import libc

#: Memory that costs nothing until it is written: MAP_NORESERVE has a name in few versions of Python.
UNTOUCHED: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000


class GuardedBuffer:
    """Zeroed memory of ``length`` bytes that ends exactly where an inaccessible page begins.

    ``address`` is where it lies in this process, ``end`` the address of the inaccessible page, ``view`` its bytes. A
    large one costs only the pages that somebody writes. Raises OSError when there is no memory, ValueError for a
    length that is not positive.
    """

    def __init__(self, length: int) -> None:
        if length <= 0:
            raise ValueError(f"memory of {length} bytes")
        self.length = length
        usable = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
        self._pages = mmap.mmap(-1, usable + mmap.PAGESIZE, UNTOUCHED)
        with libc.ffi.from_buffer(self._pages) as start:
            self._start = int(libc.ffi.cast("uintptr_t", start))
        self.end = self._start + usable
        self.address = self.end - length
        self.view = memoryview(self._pages)[usable - length : usable]
        self._protect(self.end, mmap.PAGESIZE, libc.PROT_NONE)

    def readonly(self) -> None:
        """From now on a write to it is a fault: whoever is asked to write there has to say so. Raises OSError."""
        self._protect(self._start, self.end - self._start, mmap.PROT_READ)

    def release(self) -> None:
        """Give the memory back. Raises BufferError while somebody holds a slice of ``view``."""
        self.view.release()
        self._pages.close()

    def _protect(self, address: int, length: int, protection: int) -> None:
        if libc.mprotect(libc.pointer(address), length, protection):
            code = libc.ffi.errno
            raise OSError(code, f"mprotect: {os.strerror(code)}")

    def __enter__(self) -> GuardedBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
