# SPDX-License-Identifier: GPL-2.0-only
"""The call that is being made now, where another process can read it even if the caller hangs in the kernel.

A few pages of memory that two processes share through a descriptor, so that writing them costs no system call. They
hold the latest calls, so that what the kernel logged a moment ago can be attributed to the call made at that time. In a
virtual machine they can be memory that the host reads, too, even if the guest dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import Final

from ..common.words import counted

# started in monotonic nanoseconds, number, length, verb, target
_LAYOUT = struct.Struct("<QQQ16s200s")

#: How many calls are kept; the number of noted calls is stored before them.
_KEPT: Final = 256
_COUNT = struct.Struct("<Q")
_MASK: Final = (1 << 64) - 1

#: There are few words, and they repeat.
_encoded = functools.cache(str.encode)
_SIZE: Final = _COUNT.size + _KEPT * _LAYOUT.size


#: Names the file that maps the memory that the host reads.
_NAMED_BY: Final = "VFIO_COMPLIANCE_INFLIGHT"


def create() -> int:
    """A descriptor for the process that will make the calls. Raises OSError."""
    descriptor = _of_the_host()
    if descriptor is None:
        descriptor = os.memfd_create("inflight")
        os.ftruncate(descriptor, _SIZE)
    return descriptor


def in_guest() -> bool:
    """Whether a host watches this machine: files written on the host are safe even if the machine dies."""
    return _NAMED_BY in os.environ


def _of_the_host() -> int | None:
    """The memory that the host reads; None if there is no such memory, or another run uses it."""
    if path := os.environ.get(_NAMED_BY):
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with mmap.mmap(descriptor, _SIZE) as pages:
                    _COUNT.pack_into(pages, 0, 0)  # those of an earlier run
            except (OSError, ValueError):
                os.close(descriptor)
                raise
            return descriptor
    return None


def close(descriptor: int) -> None:
    """Give back what create() returned; a process that hangs may still have it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@dataclass(frozen=True, slots=True)
class LastCall:
    """A noted call that was the last one at a given moment."""

    verb: str
    target: str
    number: int
    length: int
    #: From its beginning to that moment.
    seconds: float

    def __str__(self) -> str:
        """In a few words, without the time."""
        if self.verb in ("read", "write"):
            return f"{self.verb} of {counted(self.length, 'byte')} at 0x{self.number:x} of {self.target}"
        request = f" 0x{self.number:x}" if self.verb == "ioctl" else ""
        return f"{self.verb}{request} on {self.target}"


class Inflight:
    """Written by the process that makes the calls."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError if ``descriptor`` is not from create()."""
        self._map = mmap.mmap(descriptor, _SIZE)
        (self._count,) = _COUNT.unpack_from(self._map)

    def begin(self, verb: str, target: str, number: int, length: int) -> None:
        """Note a call that is about to be made."""
        self._note(time.monotonic_ns(), number & _MASK, length & _MASK, _encoded(verb), _encoded(target))

    def none(self) -> None:
        """Note that no call is being made."""
        self._note(time.monotonic_ns(), 0, 0, b"", b"")

    def _note(self, *call: int | bytes) -> None:
        _LAYOUT.pack_into(self._map, _COUNT.size + self._count % _KEPT * _LAYOUT.size, *call)
        self._count += 1
        _COUNT.pack_into(self._map, 0, self._count)  # only now it counts


def last(descriptor: int, moment: int | None = None, ahead: float = 0.0) -> LastCall | None:
    """The last call noted before a moment of the monotonic clock, in nanoseconds; by default, now.

    ``ahead``: the seconds by which the clock of the noting process is ahead of ours. None if there was no call, or if
    the calls of that time are no longer kept.
    """
    now = time.monotonic_ns() + int(ahead * 1e9) if moment is None else moment
    with mmap.mmap(descriptor, _SIZE, prot=mmap.PROT_READ) as pages:
        data = pages[:]
    (count,) = _COUNT.unpack_from(data)
    # The oldest one may just be being overwritten.
    for place in range(count - 1, max(count - _KEPT, -1), -1):
        started, number, length, verb, target = _LAYOUT.unpack_from(data, _COUNT.size + place % _KEPT * _LAYOUT.size)
        if moment is None or started <= moment:
            verb, target = (text.rstrip(b"\0").decode(errors="replace") for text in (verb, target))
            return LastCall(verb, target, number, length, max(round((now - started) / 1e9, 3), 0.0)) if verb else None
    return None
