# SPDX-License-Identifier: GPL-2.0-only
"""The syntax of strace, versions 5 and 6: from lines to system calls. Nothing here knows what a call means.

It reads lines made with ``-f``, ``-o``, ``-t``, ``-tt``, ``-ttt``, ``-r``, ``-i``, ``-n``, ``-T``, ``-y``, ``-yy``,
``-x``, ``-xx``, ``-v`` and ``-X``. A call on two lines, unfinished and resumed, is put together again.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from .lines import Line
from .values import ABOUT, from_hex, unescaped

#: The most bytes that are kept of calls that have not ended, for all processes.
_MOST_PENDING: Final = 16 << 20

_PREFIX: Final = (
    rb" {0,12}(?:(?:\[pid {1,9}(?P<pid>\d{1,10})\]|(?P<number>\d{1,10})(?![\d.:])) {1,14})?"
    rb"(?:(?P<time>\d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{1,12}\.\d{1,9}) {1,4})?(?:\(\+ {0,12}[\d.]{1,20}\) {1,4})?"
    rb"(?:\[[ \d]{1,6}\] )?(?:\[[0-9a-f?]{8,16}\] )?"
)
_ENDING: Final = re.compile(
    rb"\)\s+= (?P<value>-?\d{1,20}|0x[0-9a-f]{1,16}|\?)"
    + ABOUT
    + rb"(?: (?P<errno>E[A-Z0-9_]{1,20}))?[^<>=\"]{0,200}(?:<(?P<took>\d{1,9}\.\d{1,9})>)?\s*$"
)
_GROUPS: Final = ("pid", "number", "time", "name", "idle", "fd", "end")
_ANY: Final = re.compile(_PREFIX + rb"(?:[a-z_]\w*\(|<\.\.\. \w+ resumed>|\+\+\+ |--- )")

#: A whole line: pread64 or pwrite64 as -ttt and -xx write them, with or without -f and -T.
_TRANSFER: Final = re.compile(
    rb"(?:(\d{1,10}) {1,12})?(\d{9,12}\.\d{1,9}) p(read|write)64\((\d{1,9}), "
    rb"\"([\\x0-9a-f]{0,1024})\", (\d{1,10}), (\d{1,19})\) {1,40}= (\d{1,10})(?: <(\d{1,9}\.\d{1,9})>)?$"
)

#: Signs of VFIO in a call on a descriptor whose origin was not seen: a request's name or number, the path (also as -xx
#: writes it), or an offset after the first region.
_SIGN: Final = re.compile(rb"VFIO_|0x3b|vfio|\\x76\\x66\\x69\\x6f|\d{13}")

_UNFINISHED: Final = re.compile(rb"\s*<(?:unfinished \.\.\.|pid changed to (\d+) \.\.\.)>\s*$")

#: The kernel's internal errnos: the call is restarted, or the program sees EINTR.
_RESTARTS: Final = (b"ERESTARTSYS", b"ERESTARTNOINTR", b"ERESTARTNOHAND", b"ERESTART_RESTARTBLOCK")
_ERRORS: Final = {name.encode(): code for code, name in errno.errorcode.items()}
_DAY: Final = 86400.0

#: The most equal signs that are tried for the one before the returned value.
_MOST_EQUALS: Final = 4


class Kind(Enum):
    """What a line reports."""

    CALL = "a call that ended"
    BEGAN = "a call that began and has not ended"
    EXIT = "the end of a thread"
    MOVED = "a thread that took the number of its process, when it replaced the program"
    LOST = "a call that cannot be read whole"


class Syscall(NamedTuple):
    """One call, or the end of a thread."""

    kind: Kind
    line: int
    #: Number of the thread; 0 if strace did not write it.
    pid: int
    #: Seconds from any beginning. None if strace did not write it.
    time: float | None
    name: bytes = b""
    #: What is between the parentheses.
    arguments: bytes = b""
    #: What it returned; None if unknown.
    value: int | None = None
    #: 0: it succeeded.
    errno: int = 0
    #: What the returned descriptor is (``-y``).
    about: bytes = b""
    #: Seconds that it took (``-T``).
    took: float = 0.0
    #: Whether the kernel will restart the call, because a signal came.
    again: bool = False


class Transfer(NamedTuple):
    """A successful pread64 or pwrite64 on a line of the most frequent form: a Syscall that is parsed already."""

    line: int
    pid: int
    time: float
    took: float
    verb: str
    descriptor: int
    data: bytes
    length: int
    position: int
    value: int


class Parser:
    """Reads the lines of one file; ``names`` are the calls that matter, ``pid`` is their thread if no line says so.

    ``watched`` are the numbers of descriptors that matter; the caller may add to them. Calls of ``idle`` on others that
    show no sign of VFIO are skipped, which is most of a file.
    """

    def __init__(self, names: Iterable[str], idle: Iterable[str], watched: set[int], pid: int = 0) -> None:
        self._line = re.compile(
            _PREFIX
            + rb"(?:(?P<name>(?:(?P<idle>"
            + _alternatives(idle)
            + rb")|"
            + _alternatives(names)
            + rb")\((?P<fd>\d{1,9})?)|<\.\.\. (?P<resumed>"
            + _alternatives(names)
            + rb") resumed>|\+\+\+ (?P<end>\w+))"
        )
        self._watched = watched
        self._pid = pid
        #: Calls that began; without a text if they do not matter.
        self._pending: dict[int, tuple[float | None, bytes]] = {}
        self._pending_bytes = 0
        self._relative = False
        self._clock = 0.0
        self._last = 0.0
        #: How many lines look like strace's, and how many do not.
        self.known = self.strange = 0

    def read(self, lines: Iterable[Line]) -> Iterator[Syscall | Transfer]:
        """The calls that matter, in the order in which their lines ended."""
        match, simple, watched = self._line.match, _TRANSFER.match, self._watched
        for line in lines:
            number, text, cut = line
            if not cut and (plain := simple(text)):
                thread, at, what, descriptor, raw, length, position, moved, took = plain.groups()
                data = from_hex(raw)
                if int(descriptor) in watched and data is not None:
                    self._last = seconds = float(at)
                    self.known += 1
                    yield Transfer(
                        number,
                        int(thread or self._pid),
                        seconds,
                        float(took or 0),
                        "read" if what == b"read" else "write",
                        int(descriptor),
                        data,
                        int(length),
                        int(position),
                        int(moved),
                    )
                    continue
            found = match(text)
            if found is None:
                if self._relative or not self.known or self.strange:
                    self._skip(text)
                continue
            self.known += 1
            thread, plain_thread, clock, name, idle, descriptor, end = found.group(*_GROUPS)
            pid = int(thread or plain_thread or self._pid)
            if idle and not cut and int(descriptor or -1) not in watched and not _SIGN.search(text, found.end()):
                if self._relative:
                    self._time(clock)
                if text.endswith(b"...>"):
                    self._keep(pid, None, b"")
                continue
            time = self._time(clock)
            if end:
                if end in (b"exited", b"killed"):
                    self._forget(pid)
                    yield Syscall(Kind.EXIT, number, pid, time)
            elif cut:
                self._forget(pid)
                yield Syscall(Kind.LOST, number, pid, time, (name or found["resumed"]).partition(b"(")[0])
            else:
                yield from self._call(line, found, pid, time)

    def _skip(self, text: bytes) -> None:
        """A line without a call that matters; some are still examined further."""
        if found := _ANY.match(text):
            self.known += 1
            self._time(found["time"])
        else:
            self.strange += 1

    def _call(self, line: Line, found: re.Match[bytes], pid: int, time: float | None) -> Iterator[Syscall]:
        if found["name"]:
            name = found["name"].partition(b"(")[0]
            text = line.text[found.start("name") + len(name) + 1 :]
        else:
            name = found["resumed"]
            began = self._forget(pid)
            if began and not began[1]:
                return
            if began is None or not began[1].startswith(name + b"("):
                yield Syscall(Kind.LOST, line.number, pid, time, name)
                return
            time = began[0]
            text = began[1][len(name) + 1 :] + line.text[found.end() :]
        if (resumed := _UNFINISHED.search(text, max(len(text) - 60, 0))) is not None:
            text = text[: resumed.start()]
            if resumed[1]:
                yield Syscall(Kind.MOVED, line.number, pid, time, name, value=int(resumed[1][:10]))
                pid = int(resumed[1][:10])
            self._keep(pid, time, name + b"(" + text)
            yield Syscall(Kind.BEGAN, line.number, pid, time, name, text)
            return
        ending = _ending(text)
        if ending is None:
            yield Syscall(Kind.LOST, line.number, pid, time, name)
            return
        returned, about, failed, took = ending.groups()
        value = None if returned == b"?" else int(returned, 0)
        yield Syscall(
            *(Kind.CALL, line.number, pid, time, name, text[: ending.start()], value),
            *(_ERRORS.get(failed, 0) if value == -1 else 0, unescaped(about or b""), float(took or 0)),
            failed in _RESTARTS,
        )

    def _keep(self, pid: int, time: float | None, text: bytes) -> None:
        """Remember a call that has not ended."""
        self._forget(pid)
        if self._pending_bytes + len(text) <= _MOST_PENDING:
            self._pending[pid] = time, text
            self._pending_bytes += len(text) + 100

    def _forget(self, pid: int) -> tuple[float | None, bytes] | None:
        kept = self._pending.pop(pid, None)
        if kept:
            self._pending_bytes -= len(kept[1]) + 100
        return kept

    def _time(self, text: bytes | None) -> float | None:
        if text is None:
            return None
        if text[2:3] == b":":
            seconds = int(text[:2]) * 3600 + int(text[3:5]) * 60 + float(text[6:])
            if seconds + _DAY / 2 < self._last:
                self._clock += _DAY
            self._last = seconds
            return self._clock + seconds
        seconds = float(text)
        if seconds < 1e8 and not self._last:  # -r: since the line before; else since 1970, and of 1973 or later
            self._relative = True
        if not self._relative:
            self._last = seconds
            return seconds
        self._clock += seconds
        return self._clock


def _ending(text: bytes) -> re.Match[bytes] | None:
    """Where the arguments end, before the returned value."""
    equals = len(text)
    for _ in range(_MOST_EQUALS):
        equals = text.rfind(b" = ", 0, equals)
        close = text.rfind(b")", 0, equals + 1)
        if equals < 0 or close < 0:
            return None
        if found := _ENDING.match(text, close):
            return found
    return None


def _alternatives(names: Iterable[str]) -> bytes:
    return b"(?:" + "|".join(sorted(names, key=len, reverse=True)).encode() + rb")(?!\w)"
