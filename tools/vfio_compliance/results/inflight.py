# SPDX-License-Identifier: GPL-2.0-only
"""The call that is being made right now, where another process can read it though the caller hangs in the kernel.

A page of memory that two processes share through a descriptor: writing it costs no system call.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

# started in monotonic nanoseconds, number, length, verb, target
_LAYOUT = struct.Struct("<QQQ16s32s")


def create() -> int:
    """A descriptor to hand to the process that will make the calls. Raises OSError."""
    descriptor = os.memfd_create("inflight")
    os.ftruncate(descriptor, _LAYOUT.size)
    return descriptor


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


def last(descriptor: int) -> dict[str, str | int | float] | None:
    """The last call noted: verb, target, number, length, and seconds since it began; None if none was."""
    started, number, length, verb, target = _LAYOUT.unpack(os.pread(descriptor, _LAYOUT.size, 0))
    if not started:
        return None
    return {
        "verb": verb.rstrip(b"\0").decode(),
        "target": target.rstrip(b"\0").decode(),
        "number": number,
        "length": length,
        "seconds": round((time.monotonic_ns() - started) / 1e9, 3),
    }
