# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's complaints while the suites run."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ..common.words import counted
from ..results.events import Kernel
from ..results.inflight import LastCall
from ..results.kernel_log import (
    INDENT,
    TAINTED,
    Mark,
    Places,
    Warned,
    complaints,
    each_taint,
    marked,
    source,
    taint_of,
    unescaped,
)
from .symbols import Symbols

LOG = Path("/dev/kmsg")
TAINT = Path("/proc/sys/kernel/tainted")

_LARGEST_RECORD = 8192

#: Digits of a number of 64 bits, and the end of the line.
_LARGEST_NUMBER = 21

#: The smallest number at the start of a line from a process: the kernel's own lines have only their level, 0 to 7.
_FIRST_OF_USERS = 8

#: The kernel's line about a task in a long uninterruptible sleep.
_ASLEEP = re.compile(r"INFO: task .*:(\d+) blocked for more than", re.ASCII)

#: At most this many different complaints are recorded until a case is over.
_MOST = 200

#: The clocks are compared by this many recent marks: they drift apart slowly.
_MARKS = 50

#: The last call before a moment of the monotonic clock, in nanoseconds, or before now.
LastBefore: TypeAlias = Callable[[int | None], LastCall | None]


class _Line(NamedTuple):
    """A line of the log."""

    #: Whether the kernel itself wrote it, not a process.
    by_kernel: bool
    #: Microseconds of the log's clock.
    micros: int
    text: str


class KernelLog:
    """New complaints in the kernel's log, and new taints, each with its case."""

    def __init__(self, log: Path = LOG, taint: Path = TAINT, symbols: Symbols | None = None) -> None:
        """Starts at the end of the log. Raises OSError if the log or the taint cannot be read."""
        self._symbols = symbols or Symbols()
        self._places = Places()
        self._found: list[Kernel] = []
        #: How many times each complaint came in each case.
        self._times: Counter[tuple[str | None, Warned | str]] = Counter()
        self._dropped = 0
        #: The case to which the last complaint belongs, for the lines that show where the kernel was.
        self._belongs: str | None = None
        #: The case that tainted the kernel, by the letter of the taint.
        self._tainting: dict[str, str | None] = {}
        #: Processes that were left behind because they cannot be ended, each with the case in which it hung.
        self._left: dict[int, str | None] = {}
        #: The test process, and the case that it marked last, until that is over.
        self._process = 0
        self._marked: str | None = None
        #: How many microseconds the monotonic clock was ahead of the log's, at the last marks.
        self._ahead: deque[int] = deque(maxlen=_MARKS)
        self._file = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._file, 0, os.SEEK_END)
        try:
            self._taint_file = os.open(taint, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._file)
            raise
        self._taint = self._tainted()

    def fileno(self) -> int:
        """A descriptor to wait on: something was logged."""
        return self._file

    def follow(self, process: int) -> None:
        """The test process with this number begins: its marks count from now on."""
        self._process, self._marked = process, None
        self._ahead.clear()

    def leave(self, process: int, case: str | None) -> None:
        """A process that hung in a case is left behind: the kernel's lines about its sleep belong to that case."""
        self._left[process] = case

    def look(self, case: str | None, last: LastBefore) -> None:
        """Record what was logged since the last look. ``last`` gives the last call before a moment or now.

        It belongs to the case that the test process marked last, or to ``case`` if nothing is marked.
        """
        for line in self._lines():
            if not line.by_kernel:
                self._take(marked(line.text), line.micros)
            else:
                self._hear(line, self._marked or case, last)

    def _take(self, mark: Mark | None, micros: int) -> None:
        if mark and mark.process == self._process:
            self._marked = mark.case
            self._ahead.append(mark.moment - micros)

    def _hear(self, line: _Line, case: str | None, last: LastBefore) -> None:
        kept, complaint = self._places.kept(line.text), bool(complaints([line.text]))
        if kept is None:
            return
        if not complaint:
            self._note(kept, self._belongs, None)
            return
        asleep = _ASLEEP.search(line.text)
        left = asleep is not None and int(asleep[1]) in self._left
        self._belongs = self._left[int(asleep[1])] if asleep and left else case
        self._tainting.setdefault(taint_of(kept), self._belongs)
        if self._is_new(kept, self._belongs):
            self._note(kept, self._belongs, None if left else last(self._moment(line.micros)))

    def _moment(self, micros: int) -> int | None:
        """A time of the log as one of the monotonic clock, in nanoseconds; None if nothing was marked.

        A mark is written a little after the moment that it contains: the latest is the most precise.
        """
        return (micros + max(self._ahead)) * 1000 if self._ahead else None

    def _note(self, line: str, case: str | None, call: LastCall | None) -> None:
        last = self._found[-1] if self._found else None
        if last and last.case == case and (call is None or str(call) == str(last.call)):
            self._found[-1] = Kernel((*last.lines, line), case, last.call)
        else:
            self._found.append(Kernel((line,), case, call))

    def _is_new(self, line: str, case: str | None) -> bool:
        """Whether to record a complaint: not if one from the same place was recorded, or very many were."""
        which = (case, source(line))
        if which not in self._times and len(self._times) >= _MOST:
            self._dropped += 1
            return False
        self._times[which] += 1
        return self._times[which] == 1

    def _more(self, of: str | None) -> Iterator[Kernel]:
        """The complaints that were not recorded. Different ones count as complaints: no one has judged them."""
        for (case, which), times in self._times.items():
            if times > 1:
                where = which if isinstance(which, str) else f"{which.file}, {which.function}"
                yield Kernel((f"{INDENT}{counted(times - 1, 'time')} more: {where}",), case)
        if self._dropped:
            yield Kernel((f"and {counted(self._dropped, 'more complaint')}",), of)
        self._times.clear()
        self._dropped = 0

    def over(self, case: str | None, last: LastBefore) -> list[Kernel]:
        """A case, or something else, is over: everything logged up to now, and new taints."""
        # The kernel complains first, then is tainted: so the lines are there once the taint is seen.
        taint = self._tainted()
        self.look(case, last)
        of = self._found[-1].case if self._found else case
        found = [Kernel(tuple(map(self._symbols.decoded, each.lines)), each.case, each.call) for each in self._found]
        found += self._more(of)
        self._found.clear()
        # A lockup also holds up the watcher: two cases may be over by now, each with a taint.
        taints: defaultdict[str | None, str] = defaultdict(str)
        for letter in each_taint(taint & ~self._taint):
            taints[self._tainting.get(letter, of)] += letter
        found += [Kernel((f"{TAINTED}{letters}",), where) for where, letters in taints.items()]
        self._taint = taint
        if case == self._marked:
            self._marked = None
        return found

    def close(self) -> None:
        """Stop looking."""
        os.close(self._file)
        os.close(self._taint_file)

    def _tainted(self) -> int:
        return int(os.pread(self._taint_file, _LARGEST_NUMBER, 0))

    def _lines(self) -> Iterator[_Line]:
        while True:
            try:
                record = os.read(self._file, _LARGEST_RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:  # records were overwritten before they were read; the next read skips them
                continue
            if not record:
                return
            for line in record.decode("utf-8", "replace").split("\n"):
                if line and line[0] != " ":  # else it describes the device, for programs
                    head, _, text = line.partition(";")
                    numbers = [int(each) if each.isdecimal() else 0 for each in head.split(",")[:3]]
                    grave, _, micros = [*numbers, 0, 0][:3]
                    yield _Line(grave < _FIRST_OF_USERS, micros, unescaped(text))
