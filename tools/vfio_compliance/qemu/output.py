# SPDX-License-Identifier: GPL-2.0-only
"""What a process prints, kept in bounds, and how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from ..common.words import printable

#: Characters of what a program says that a message repeats.
_REPEATED = 300

#: Seconds for the death of a process that was killed.
DYING = 5.0

#: Seconds for the rest of its output, which a process that it started may hold open.
_REST = 1.0


def plain(text: str) -> str:
    """What a program says, on one line, not too long, and harmless to a terminal."""
    return printable(text[:_REPEATED]) + ("..." if len(text) > _REPEATED else "")


def quoted(text: str) -> str:
    """The same inside a sentence."""
    return f"`{plain(text.strip())}`"


class Tail:
    """Reads the output of a process to its end, and keeps the last part of it."""

    def __init__(self, process: subprocess.Popen[bytes], most: int) -> None:
        """``most`` is how many bytes are kept."""
        assert process.stdout is not None
        self._output, self._most = process.stdout, most
        self._kept = bytearray()
        self._cut = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """What was read so far; where not all of it was kept, it begins with a whole line."""
        kept = bytes(self._kept)
        return (kept.partition(b"\n")[2] if self._cut else kept).decode(errors="backslashreplace")

    def await_end(self, seconds: float) -> None:
        """Wait until nobody can print any more."""
        self._reader.join(seconds)

    def close(self) -> None:
        """Wait for the rest, after the process has ended."""
        self._reader.join(_REST)
        if not self._reader.is_alive():
            self._output.close()

    def _read(self) -> None:
        while data := os.read(self._output.fileno(), 1 << 16):
            self._kept += data
            self._cut |= len(self._kept) > self._most
            del self._kept[: -self._most]


def ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, as a clause without its subject."""
    code = process.returncode
    if code is None:
        return "cannot be ended: it hangs in the kernel"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
