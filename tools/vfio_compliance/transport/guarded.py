# SPDX-License-Identifier: GPL-2.0-only
"""Memory between two inaccessible pages, to see that no access leaves its bounds."""

from __future__ import annotations

import mmap
import os
from types import TracebackType
from typing import Final

from ..common.words import counted
from . import libc

#: Memory that costs nothing until it is written: few versions of Python have a name for MAP_NORESERVE.
UNTOUCHED: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000


class GuardedBuffer:
    """Zeroed memory of ``length`` bytes that ends exactly where an inaccessible page begins; another is before it.

    ``address`` is its address in this process, ``end`` the address of the inaccessible page, ``view`` its bytes. A
    large one costs only the pages that are written. Raises OSError if there is no memory, ValueError for a
    length that is not positive.
    """

    def __init__(self, length: int) -> None:
        if length <= 0:
            raise ValueError(f"memory of {counted(length, 'byte')}")
        self.length = length
        usable = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
        self._pages = mmap.mmap(-1, usable + 2 * mmap.PAGESIZE, UNTOUCHED)
        with libc.ffi.from_buffer(self._pages) as start:
            self._start = int(libc.ffi.cast("uintptr_t", start)) + mmap.PAGESIZE
        self.end = self._start + usable
        self.address = self.end - length
        self.is_readonly = False
        whole = memoryview(self._pages)[mmap.PAGESIZE : mmap.PAGESIZE + usable]
        self._before, self.view = whole[: usable - length], whole[usable - length :]
        for guard in (self._start - mmap.PAGESIZE, self.end):
            self._protect(guard, mmap.PAGESIZE, libc.PROT_NONE)

    @property
    def spilled(self) -> bool:
        """Whether the bytes of its first page before its start were written."""
        return bytes(self._before).count(0) != len(self._before)

    def readonly(self) -> None:
        """From now on, a write to it is a fault, which the kernel or server has to report. Raises OSError."""
        self._protect(self._start, self.end - self._start, mmap.PROT_READ)
        self.is_readonly = True

    @property
    def behind(self) -> memoryview:
        """Its bytes from ``address`` on, which may have been moved on."""
        moved = self.address - (self.end - self.length)
        return self.view[moved:] if moved else self.view

    def release(self) -> None:
        """Give the memory back. Raises BufferError while a slice of ``view`` is held."""
        self._before.release()
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
