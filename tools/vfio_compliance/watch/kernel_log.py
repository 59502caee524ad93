# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel complains of while the suites run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..results.events import Kernel
from ..results.inflight import LastCall
from ..results.kernel_log import TAINTED, Places, complaints, marked, taint_letters
from .symbols import Symbols

LOG = Path("/dev/kmsg")
TAINT = Path("/proc/sys/kernel/tainted")

_LARGEST_RECORD = 8192

#: The least number that a line of a process begins with: the kernel's own have only their gravity, from 0 to 7.
_FIRST_OF_USERS = 8


class KernelLog:
    """New complaints in the kernel's log, and new taints, each with its case."""

    def __init__(self, log: Path = LOG, taint: Path = TAINT, symbols: Symbols | None = None) -> None:
        """Starts at the end of the log. Raises OSError when the log or the taint cannot be read."""
        self._taint_file = taint
        self._taint = int(taint.read_text())
        self._symbols = symbols or Symbols()
        self._places = Places()
        self._found: list[Kernel] = []
        #: The test process, and the case that it has marked last, until that is over.
        self._process = 0
        self._marked: str | None = None
        self._file = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._file, 0, os.SEEK_END)

    def fileno(self) -> int:
        """A descriptor that can be waited for: something was logged."""
        return self._file

    def follow(self, process: int) -> None:
        """The test process of this number begins: its marks count from now on."""
        self._process, self._marked = process, None

    def look(self, case: str | None, call: LastCall | None) -> None:
        """Note what was logged since the last look, best at once: ``call`` is the last one that was made by now.

        It belongs to the case that the test process has marked last, or to ``case`` where nothing is marked.
        """
        for by_kernel, line in self._lines():
            if not by_kernel:
                process, marks = marked(line) or (0, "")
                self._marked = marks if process == self._process else self._marked
            elif kept := self._places.kept(line):
                self._note(kept, self._marked or case, call if complaints([line]) else None)

    def _note(self, line: str, case: str | None, call: LastCall | None) -> None:
        last = self._found[-1] if self._found else None
        if last and last.case == case and call in (None, last.call):
            self._found[-1] = Kernel((*last.lines, line), case, last.call)
        else:
            self._found.append(Kernel((line,), case, call))

    def over(self, case: str | None, call: LastCall | None) -> list[Kernel]:
        """A case is over, or something else: all that was logged until now, and new taints."""
        # The kernel complains first, and is tainted then: so the lines of a taint are there once that is seen.
        taint = int(self._taint_file.read_text())
        self.look(case, call)
        of = self._found[-1].case if self._found else case
        found = [Kernel(tuple(map(self._symbols.decoded, each.lines)), each.case, each.call) for each in self._found]
        self._found.clear()
        if new := taint & ~self._taint:
            found.append(Kernel((f"{TAINTED}{taint_letters(new)}",), of))
        self._taint = taint
        if case == self._marked:
            self._marked = None
        return found

    def close(self) -> None:
        """Stop looking."""
        os.close(self._file)

    def _lines(self) -> Iterator[tuple[bool, str]]:
        """Whether the kernel itself says it or a process, and what."""
        while True:
            try:
                record = os.read(self._file, _LARGEST_RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:  # records were overwritten before they were read; the next read goes on after them
                continue
            if not record:
                return
            for line in record.decode("utf-8", "replace").split("\n"):
                if line and line[0] != " ":  # else it tells of the device, for programs
                    head, _, text = line.partition(";")
                    grave = head.partition(",")[0]
                    yield not grave.isdecimal() or int(grave) < _FIRST_OF_USERS, text
