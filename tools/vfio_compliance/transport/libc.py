# SPDX-License-Identifier: GPL-2.0-only
"""The few C library calls that Python offers only with checks that would get in the way.

``os.pread`` retries when a driver answers EINTR, refuses lengths and offsets of its own accord and takes no
pointers; here everything goes to the kernel as given.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

import cffi

ffi: Final = cffi.FFI()

# ioctl and prctl are variadic in C. Declared with fixed arguments they cost less per call, and on Linux
# integers and pointers travel alike in both forms.
ffi.cdef(
    """
    int ioctl(int descriptor, unsigned long request, void *argument);
    ssize_t pread64(int descriptor, void *data, size_t length, int64_t offset);
    ssize_t pwrite64(int descriptor, const void *data, size_t length, int64_t offset);
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
    int mprotect(void *address, size_t length, int protection);
    """
)

libc: Final[Any] = ffi.dlopen(None)

ioctl: Final[Any] = libc.ioctl
pread64: Final[Any] = libc.pread64
pwrite64: Final[Any] = libc.pwrite64
prctl: Final[Any] = libc.prctl
mprotect: Final[Any] = libc.mprotect

PR_SET_PDEATHSIG: Final = 1

#: Bytes that store() copies at once.
_PIECE: Final = 1 << 20

#: No access at all; the other protections are mmap.PROT_*.
PROT_NONE: Final = 0


def pointer(address: int) -> Any:
    """A ``void *`` with this value, which may be anything."""
    return ffi.cast("void *", address & 2**64 - 1)


def signed64(value: int) -> int:
    """The value modulo 2^64 as C's int64_t."""
    return (value + 2**63) % 2**64 - 2**63


@cache
def _scratch() -> int:
    """A file in memory, for as long as the process lives."""
    return os.memfd_create("store", os.MFD_CLOEXEC)


def store(address: int, data: bytes | memoryview) -> bool:
    """Copy ``data`` to a raw address of this process; False when the address is bad. One thread at a time.

    The kernel does the copy, so that a bad address is an error and not a crash. It goes in pieces: what is large
    already need not be in memory once more.
    """
    descriptor = _scratch()
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        os.pwrite(descriptor, piece, 0)
        if pread64(descriptor, pointer(address + start), len(piece), 0) != len(piece):
            return False
    return True
