# SPDX-License-Identifier: GPL-2.0-only
"""The console of a guest, on disk and in memory, of limited size."""

import re
from collections import deque
from pathlib import Path

from vfio_compliance.common.words import counted

_CONTROL = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[c78])|[^\t\n\x20-\x7e\u00a0-\uffff]")
_LONGEST = 1 << 12


def foreign_taint(before: int, after: int) -> int:
    """The new bits, except those that an unsigned module from outside the tree sets (O, E)."""
    return after & ~before & ~(1 << 12 | 1 << 13)


def plain(line: str) -> str:
    """A console line without terminal control sequences."""
    return _CONTROL.sub("", line[:_LONGEST]).rstrip()


class Console:
    """Takes lines as they come. The first ``head`` bytes go to the file at once, the last ``tail`` bytes at the end.

    A file that cannot be written does not end the guest: ``complaint`` says so, and memory keeps the last lines.
    """

    def __init__(self, path: Path, head: int = 8 << 20, tail: int = 1 << 20) -> None:
        self.path = path
        self.complaint = ""
        self._head, self._room = head, tail
        self._written = self._held = self._left_out = 0
        self._tail: deque[str] = deque()
        #: The last lines, whether the file has them or not.
        self.recent: deque[str] = deque(maxlen=2000)
        self._write("", mode="w")

    def line(self, text: str) -> str:
        """Takes a line; returns it without terminal control sequences."""
        line = plain(text)
        self.recent.append(line)
        if self._written + len(line) < self._head and not self.complaint:
            self._write(f"{line}\n")
            self._written += len(line) + 1
            return line
        self._head = 0  # from now on, nothing goes to the file before the end
        self._tail.append(line)
        self._held += len(line) + 1
        while self._held > self._room:
            self._held -= len(self._tail.popleft()) + 1
            self._left_out += 1
        return line

    def close(self) -> None:
        """Writes the last lines to the file."""
        if self._left_out:
            self._write(f"[... {counted(self._left_out, 'line')} left out here ...]\n")
        if self._tail:
            self._write("".join(f"{line}\n" for line in self._tail))
            self._tail.clear()
        self._left_out = 0

    def _write(self, text: str, mode: str = "a") -> None:
        try:
            with self.path.open(mode, encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            self.complaint = self.complaint or f"{self.path}: {error.strerror}"
