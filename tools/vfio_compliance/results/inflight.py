# SPDX-License-Identifier: GPL-2.0-only
"""The call that is being made right now, where another process can read it though the caller hangs in the kernel.

A page of memory that two processes share through a descriptor: writing it costs no system call. In a virtual machine it
can be memory that the host reads, too, whatever becomes of the guest.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import Final

from ..common.words import counted

# started in monotonic nanoseconds, number, length, verb, target
_LAYOUT = struct.Struct("<QQQ16s200s")


#: Names the file that maps the memory which a host reads.
_NAMED_BY: Final = "VFIO_COMPLIANCE_INFLIGHT"


def create() -> int:
    """A descriptor to hand to the process that will make the calls. Raises OSError."""
    descriptor = _of_the_host()
    if descriptor is None:
        descriptor = os.memfd_create("inflight")
        os.ftruncate(descriptor, _LAYOUT.size)
    Inflight(descriptor).none()
    return descriptor


def _of_the_host() -> int | None:
    """The memory that the host reads; None where there is none, or another run uses it."""
    if path := os.environ.get(_NAMED_BY):
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Inflight(descriptor)
            except (OSError, ValueError):
                os.close(descriptor)
                raise
            return descriptor
    return None


def close(descriptor: int) -> None:
    """Give back what create() gave, though a process that hangs may still have it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@dataclass(frozen=True, slots=True)
class LastCall:
    """The last call that was noted."""

    verb: str
    target: str
    number: int
    length: int
    #: Since it began.
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
        """Raises OSError when ``descriptor`` is not one that create() gave."""
        self._map = mmap.mmap(descriptor, _LAYOUT.size)

    def begin(self, verb: str, target: str, number: int, length: int) -> None:
        """Note a call that is about to be made."""
        _LAYOUT.pack_into(
            self._map,
            0,
            time.monotonic_ns(),
            number & (1 << 64) - 1,
            length & (1 << 64) - 1,
            verb.encode(),
            target.encode(),
        )

    def none(self) -> None:
        """Note that no call is being made, and that none is to be waited for."""
        _LAYOUT.pack_into(self._map, 0, 0, 0, 0, b"", b"")


def last(descriptor: int, now: float | None = None) -> LastCall | None:
    """The last call noted; None if none was. ``now``: the present by the clock of who noted it, if not ours."""
    with mmap.mmap(descriptor, _LAYOUT.size, prot=mmap.PROT_READ) as page:
        started, number, length, verb, target = _LAYOUT.unpack_from(page)
    if not started:
        return None
    seconds = max(round((time.monotonic() if now is None else now) - started / 1e9, 3), 0.0)
    words = [each.rstrip(b"\0").decode(errors="replace") for each in (verb, target)]
    return LastCall(words[0], words[1], number, length, seconds)
