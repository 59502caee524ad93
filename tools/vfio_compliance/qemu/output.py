# SPDX-License-Identifier: GPL-2.0-only
"""A process's output, of limited size, and how the process ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from ..common.words import printable

#: The most characters of a program's output that a message repeats.
_REPEATED = 300

#: Seconds for a killed process to end.
DYING = 5.0

#: Seconds for the rest of its output, which a child may hold open.
_REST = 1.0


def plain(text: str) -> str:
    """A program's output on one line, not too long, and safe for a terminal."""
    return printable(text[:_REPEATED]) + ("..." if len(text) > _REPEATED else "")


def quoted(text: str) -> str:
    """The same inside a sentence."""
    return f"`{plain(text.strip())}`"


class Tail:
    """Reads the output of a process to its end, and keeps the last part of it."""

    def __init__(self, process: subprocess.Popen[bytes], most: int) -> None:
        """``most`` is the number of bytes that are kept."""
        assert process.stdout is not None
        self._output, self._most = process.stdout, most
        self._kept = bytearray()
        self._cut = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """What has been read; if only its end was kept, it begins with a whole line."""
        kept = bytes(self._kept)
        return (kept.partition(b"\n")[2] if self._cut else kept).decode(errors="backslashreplace")

    def await_end(self, seconds: float) -> None:
        """Wait until no process can print any more."""
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
