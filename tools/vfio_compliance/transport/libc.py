# SPDX-License-Identifier: GPL-2.0-only
"""The few C library calls that Python offers only with checks that are unwanted here.

``os.pread`` retries if a driver answers EINTR, refuses some lengths and offsets itself, and takes no pointers;
here everything goes to the kernel as given.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any, Final

import cffi

ffi: Final = cffi.FFI()

# ioctl and prctl are variadic in C. Declared with fixed arguments, they cost less per call, and on Linux
# integers and pointers are passed in the same way in both forms.
ffi.cdef(
    """
    int ioctl(int descriptor, unsigned long request, void *argument);
    ssize_t pread64(int descriptor, void *data, size_t length, int64_t offset);
    ssize_t pwrite64(int descriptor, const void *data, size_t length, int64_t offset);
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
    int mprotect(void *address, size_t length, int protection);
    struct piece { void *start; size_t length; };
    ssize_t process_vm_writev(int pid, const struct piece *local, unsigned long locals,
                              const struct piece *remote, unsigned long remotes, unsigned long flags);
    int mallopt(int parameter, int value);
    """
)

libc: Final[Any] = ffi.dlopen(None)

ioctl: Final[Any] = libc.ioctl
pread64: Final[Any] = libc.pread64
pwrite64: Final[Any] = libc.pwrite64
prctl: Final[Any] = libc.prctl
mprotect: Final[Any] = libc.mprotect

PR_SET_PDEATHSIG: Final = 1

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

#: No access at all; the other protections are mmap.PROT_*.
PROT_NONE: Final = 0


def pointer(address: int) -> Any:
    """A ``void *`` with this value, which may be anything."""
    return ffi.cast("void *", address & 2**64 - 1)


def signed64(value: int) -> int:
    """The value modulo 2^64 as C's int64_t."""
    return (value + 2**63) % 2**64 - 2**63


def keep_freed(block: int, most: int) -> None:
    """Keep freed memory, up to ``most`` bytes in all, for the next blocks of at most ``block`` bytes.

    glibc returns blocks of a few hundred KiB to the kernel as soon as it can: if such a block is allocated again and
    again, the kernel zeroes each of its pages each time. Another C library may ignore this.
    """
    with contextlib.suppress(AttributeError):
        libc.mallopt(_M_MMAP_THRESHOLD, block + 4096)
        libc.mallopt(_M_TRIM_THRESHOLD, most)


def store(address: int, data: bytes | memoryview) -> bool:
    """Copy ``data`` to a raw address of this process; False if the address is bad.

    The kernel does the copy, so that a bad address is an error and not a crash. Raises OSError if that is forbidden.
    """
    with ffi.from_buffer(data) as start:
        pieces = ffi.new("struct piece[2]", [(start, len(data)), (pointer(address), len(data))])
        stored: int = libc.process_vm_writev(os.getpid(), pieces, 1, pieces + 1, 1, 0)
    if stored < 0 and ffi.errno != errno.EFAULT:
        raise OSError(ffi.errno, f"process_vm_writev: {os.strerror(ffi.errno)}")
    return stored == len(data)
