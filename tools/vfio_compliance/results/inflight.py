# SPDX-License-Identifier: GPL-2.0-only
"""The call that is being made right now, where another process can read it though the caller hangs in the kernel.

A page of memory that two processes share through a descriptor: writing it costs no system call.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass

from ..common.words import counted

# started in monotonic nanoseconds, number, length, verb, target
_LAYOUT = struct.Struct("<QQQ16s200s")


def create() -> int:
    """A descriptor to hand to the process that will make the calls. Raises OSError."""
    descriptor = os.memfd_create("inflight")
    os.ftruncate(descriptor, _LAYOUT.size)
    return descriptor


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


def last(descriptor: int) -> LastCall | None:
    """The last call noted; None if none was."""
    started, number, length, verb, target = _LAYOUT.unpack(os.pread(descriptor, _LAYOUT.size, 0))
    if not started:
        return None
    seconds = round((time.monotonic_ns() - started) / 1e9, 3)
    return LastCall(verb.rstrip(b"\0").decode(), target.rstrip(b"\0").decode(), number, length, seconds)
