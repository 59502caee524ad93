# SPDX-License-Identifier: GPL-2.0-only
"""The call that is being made right now, where another process can read it though the caller hangs in the kernel.

A small file, mapped by both sides: writing it costs no system call.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

NAME = "inflight"

# started in monotonic nanoseconds, number, length, verb, target
_LAYOUT = struct.Struct("<QQQ16s32s")


class Inflight:
    """Written by the process that makes the calls."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when ``path`` cannot be made."""
        with path.open("w+b") as file:
            file.truncate(_LAYOUT.size)
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)

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


def last(path: Path) -> dict[str, str | int | float] | None:
    """The last call noted in ``path``: verb, target, number, length, and seconds since it began; None if none was."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < _LAYOUT.size:
        return None
    started, number, length, verb, target = _LAYOUT.unpack_from(data)
    if not started:
        return None
    return {
        "verb": verb.rstrip(b"\0").decode(),
        "target": target.rstrip(b"\0").decode(),
        "number": number,
        "length": length,
        "seconds": round((time.monotonic_ns() - started) / 1e9, 3),
    }
