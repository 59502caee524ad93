# SPDX-License-Identifier: GPL-2.0-only
"""The console of a guest, on disk and in memory, of a size that no guest decides."""

import re
from collections import deque
from pathlib import Path

from vfio_compliance.common.words import counted

_CONTROL = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[c78])|[^\t\n\x20-\x7e\u00a0-\uffff]")
_LONGEST = 1 << 12


def foreign_taint(before: int, after: int) -> int:
    """The new bits, but for those that loading an unsigned module from outside the tree brings (O, E)."""
    return after & ~before & ~(1 << 12 | 1 << 13)


def plain(line: str) -> str:
    """A console line without terminal control: what firmware and kernel mean, not how they paint it."""
    return _CONTROL.sub("", line[:_LONGEST]).rstrip()


class Console:
    """Takes lines as they come. The file has the first ``head`` bytes at once, and the last ``tail`` at the end.

    A file that takes no more ends no guest: ``complaint`` says so, and the last lines are kept in memory.
    """

    def __init__(self, path: Path, head: int = 8 << 20, tail: int = 1 << 20) -> None:
        self.path = path
        self.complaint = ""
        self._head, self._room = head, tail
        self._written = self._held = self._left_out = 0
        self._tail: deque[str] = deque()
        #: The last of all lines, whether the file has them or not.
        self.recent: deque[str] = deque(maxlen=2000)
        self._write("", mode="w")

    def line(self, text: str) -> str:
        """Takes a line; gives it back without terminal control."""
        line = plain(text)
        self.recent.append(line)
        if self._written + len(line) < self._head and not self.complaint:
            self._write(f"{line}\n")
            self._written += len(line) + 1
            return line
        self._head = 0  # from here on nothing goes to the file before the end
        self._tail.append(line)
        self._held += len(line) + 1
        while self._held > self._room:
            self._held -= len(self._tail.popleft()) + 1
            self._left_out += 1
        return line

    def close(self) -> None:
        """Puts the last lines into the file."""
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
