# SPDX-License-Identifier: GPL-2.0-only
"""The journal: JSON lines, one event per line, on disk before the run continues. ``events`` has the events.

Each record is chained to the one before (``chain``). Its times of day come from a clock that does not jump: the
machine's clock at the beginning of the run, advanced by the monotonic clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from ..common.calls import Calls, to_rows
from ..common.rule_names import renamed_in_json
from ..common.words import counted
from . import chain, events, fields
from .events import Event
from .verdict import Verdict

FORMAT = 3

#: The event name of the line that has the calls of a case, and how the line begins.
_CALLS = "calls"
_OF_CALLS = b'{"event":"calls",'
_OF_CLOSED = b'{"event":"closed",'
NAME = "journal.jsonl"

#: What to do about a journal that can no longer be written.
REMEDY = "free space on the disk, or name a folder on another disk with --out"

#: What to do about a run that ended early for a reason without a remedy of its own.
GO_ON = "continue with run --resume FOLDER"

#: The largest date, in seconds since 1970.
_LAST_SECOND = 253_402_300_799

_MOST_FORMATS = 1 << 31

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=fields.plain)


class JournalError(Exception):
    """A journal that cannot be read or written; the message names the file."""


class Recorded(NamedTuple):
    """A line of a journal."""

    #: Time of day, in seconds since 1970.
    time: float
    #: None for an event that is unknown to this version.
    event: Event | None


class Damaged(NamedTuple):
    """A line of a journal that is not as it was written."""

    why: str


class Cut(NamedTuple):
    """After the last line: the last record is missing."""

    why: str


Line: TypeAlias = Recorded | Damaged | Cut

#: Bytes that are searched first for the last line.
_TAIL = 1 << 16
_PIECE = 1 << 20


def clock_offset() -> float:
    """Seconds to add to the monotonic clock for the present time of day."""
    return time.time() - time.monotonic()


class Journal:
    """Appends events; each is one write, so that nothing recorded is lost if the process dies.

    Several processes may append to the same file, one at a time: each continues the chain from the last whole record,
    and cuts off an incomplete record that a killed writer has left. ``copy_to`` is a descriptor that also gets each
    line, for a watcher that shows progress. An event ``unwritten`` goes only there: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        copy_to: int | None = None,
        offset: float | None = None,
        *,
        sync: bool = False,
        lock: int | None = None,
    ) -> None:
        """``offset``: clock_offset() when the run began. Raises JournalError if the file cannot be opened.

        ``sync``: each record is on the disk before write() returns, for a device that can crash this machine.
        ``lock``: a file of this machine that all writers of the journal, each a process, lock instead of the journal:
        a guest takes as long to lock a file of the host's as to write it.
        """
        self._path = path
        self._copy_to = copy_to
        self._sync = sync
        self._lock = lock
        self._offset = clock_offset() if offset is None else offset
        #: The size of the file after this writer's last record, and the digest that the next record follows.
        self._end, self._before = 0, ""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from None

    def write(self, event: Event) -> None:
        """Record ``event`` with the time of day.

        Raises JournalError if the disk refuses it, or if the reader of its copy is gone.
        """
        try:
            with self._locked():
                data = self._append(event)
            if self._sync:
                os.fdatasync(self._file)
        except OSError as error:
            message = f"{self._path} can no longer be written: {error.strerror}"
            with contextlib.suppress(OSError), self._locked():
                self._append(events.Broken(message, REMEDY, None))  # which is short: it may still fit
            self._copy(line(events.Unwritten(message, REMEDY)))
            raise JournalError(message) from None
        self._copy(data)

    def end(self) -> None:
        """Record the event ``closed``: the run is over. Raises JournalError."""
        try:
            with self._locked():
                self._catch_up()
                check = chain.Check()
                with self._path.open("rb") as lines:
                    for each in lines:
                        check.take(each)
                self._append(events.Closed(check.lines, check.whole))
            os.fdatasync(self._file)
        except OSError as error:
            raise JournalError(f"{self._path} can no longer be written: {error.strerror}") from None

    def _append(self, event: Event) -> bytes:
        """Append all its lines, whole or not at all; the record itself. Raises OSError."""
        self._catch_up()
        made, before = [], self._before
        for record in records(event, round(time.monotonic() + self._offset, 6)):
            data, before = chain.linked(record, before)
            made.append(data)
        try:
            _write_all(self._file, b"".join(made))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end += sum(map(len, made))
        self._before = before
        return made[-1]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """No other process appends in the meantime. Without locks in the file system, a run has only one writer."""
        with contextlib.suppress(OSError):
            self._take_lock(fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._take_lock(fcntl.LOCK_UN)

    def _take_lock(self, operation: int) -> None:
        if self._lock is None:
            fcntl.flock(self._file, operation)
        else:
            fcntl.lockf(self._lock, operation)

    def _catch_up(self) -> None:
        """Another process may have appended since, or may have been killed while it did. Raises OSError."""
        size = os.fstat(self._file).st_size
        if size == self._end:
            return
        last, whole = _last_line(self._file, size)
        if whole < size:
            os.ftruncate(self._file, whole)
        self._end, self._before = whole, chain.digest_of(last)

    def _copy(self, data: bytes) -> None:
        if self._copy_to is not None:
            try:
                _write_all(self._copy_to, data)
            except OSError as error:
                self._copy_to = None
                self.write(events.Broken("the process that watched the run ended before it", GO_ON, None))
                raise JournalError(f"{self._path}: its watcher is gone: {error.strerror}") from None

    def close(self) -> None:
        """Close the file; nothing can be written after this."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _last_line(file: int, size: int) -> tuple[bytes, int]:
    """The last whole line of a file of ``size`` bytes, and where it ends."""
    length = _TAIL
    while True:
        start = max(size - length, 0)
        data = os.pread(file, size - start, start)
        end = data.rfind(b"\n") + 1
        begin = data.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if not start or (end and begin):
            return data[begin:end], start + end if end else 0
        length *= 2


def _write_all(descriptor: int, data: bytes) -> None:
    """A disk that is nearly full takes a part, and reports the error only for the rest."""
    while data:
        data = data[os.write(descriptor, data) :]


def records(event: Event, at: float | None = None) -> Iterator[bytes]:
    """All lines of an event in a journal: its own, and before it that of its calls, if it has any."""
    if isinstance(event, events.End) and event.calls:
        yield _text({"event": _CALLS, "calls": to_rows(event.calls)})
    yield line(event, at)


def line(event: Event, at: float | None = None) -> bytes:
    """An event as a journal has it; ``at`` is the time of day in seconds, by default now."""
    at = round(time.time(), 6) if at is None else at
    return _text({"event": events.name(type(event)), "time": at, **fields.plain(event)})


def _text(record: dict[str, Any]) -> bytes:
    text = _ENCODER.encode(record)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def parse(text: str | bytes) -> Line:
    """A line of a journal, intact or damaged."""
    try:
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("no record")
        return Recorded(_time(record.get("time")), _event(record))
    except (ValueError, RecursionError) as error:
        return Damaged(str(error))


def _event(record: dict[str, Any]) -> Event | None:
    name = record.get("event")
    if not isinstance(name, str):
        raise ValueError("no event")
    if name not in events.KINDS:
        return None
    event: Event = fields.read(events.KINDS[name], record)
    return event


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LAST_SECOND:
        raise ValueError("no time")
    return float(value)


def read(path: Path, *, whole: bool = False) -> Iterator[Line]:
    """The lines of ``path``, as ``lines`` gives them. Also raises JournalError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            yield from lines(file, str(path), whole=whole)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None


def lines(file: Iterable[bytes], name: str, *, whole: bool = False) -> Iterator[Line]:
    """The lines of a journal; a last one that was cut short is left out. The first holds the event ``run``.

    A line whose place in the chain is wrong is damaged. A journal that does not end with the event ``closed`` has a Cut
    after its last line. Consequences of a damaged line that was reported already are not reported again.

    The calls of a case are read when they are needed, but at once if it has failed; with ``whole``, all are read at
    once. If they cannot be read although the chain is intact, their case is damaged; if that is found only later, it
    has no calls. Raises JournalError, with ``name``, for what is not a journal of this format.
    """
    check = chain.Check()
    reported = closed = renamed = False
    now, calls = 0.0, b""
    rest = b""
    for data in file:
        if not data.endswith(b"\n"):
            rest = data
            break
        first, records = not check.lines, check.lines
        before = check.whole if data.startswith(_OF_CLOSED) else ""
        if first:
            text = data.decode("utf-8", "replace")
            _check_format(name, text)
            renamed = renamed_in_json(text) != text  # it has all rules
        wrong = check.take(data)
        if data.startswith(_OF_CALLS) and not wrong:
            closed, calls = False, data
            yield Recorded(now, None)
            continue
        text = data.decode("utf-8", "replace")
        found = parse(renamed_in_json(text) if renamed else text)
        if calls and isinstance(found, Recorded) and isinstance(found.event, events.End):
            found = _with_calls(found.time, found.event, calls, whole)
        calls = b""
        if first and isinstance(found, Damaged):
            raise JournalError(f"{name}: its first record is damaged: {found.why}")
        if wrong:
            found = Damaged(wrong)
        closed = not isinstance(found, Recorded) or isinstance(found.event, events.Closed)
        if not reported and isinstance(found, Recorded) and isinstance(found.event, events.Closed):
            found = _checked(found, before, records)
        reported = reported or isinstance(found, Damaged)
        now = found.time if isinstance(found, Recorded) else now
        yield found
    if not check.lines:
        raise JournalError(f"{name}: the run ended before anything was recorded")
    if closed and rest:
        yield Damaged(f"{counted(len(rest), 'byte')} after the end of the journal")
    if not closed:
        yield Cut(
            f"the journal was not closed: the watcher of the run was killed, or lines are missing after line "
            f"{check.lines}"
        )


def _with_calls(at: float, end: events.End, text: bytes, whole: bool) -> Line:
    """The end of a case with its calls, which are in ``text``."""
    if not whole and end.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE):
        return Recorded(at, replace(end, calls=Calls(partial(_records, text))))
    try:
        return Recorded(at, replace(end, calls=_calls(text)))
    except (ValueError, RecursionError) as error:
        return Damaged(f"its calls, in the line before: {error}")


def _records(text: bytes) -> list[dict[str, Any]]:
    try:
        return _calls(text).records
    except (ValueError, RecursionError):
        return []


def _calls(text: bytes) -> Calls:
    """Raises ValueError, RecursionError."""
    return Calls.from_json(json.loads(text.decode("utf-8", "replace")).get("calls"))


def _checked(found: Recorded, digest: str, records: int) -> Line:
    """The record that closes a journal, checked against the lines before it."""
    assert isinstance(found.event, events.Closed)
    if found.event.records != records:
        return Damaged(f"it closes a journal of {found.event.records} records, but {records} are here")
    return found if found.event.digest == digest else Damaged("the digest of all lines before it is different")


def _check_format(path: str, first: str) -> None:
    """Raises JournalError."""
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("event") != "run":
        raise JournalError(f"{path}: not a journal")
    found = record.get("format")
    if type(found) is not int or not 0 <= found < _MOST_FORMATS:
        raise JournalError(f"{path}: a journal without a version of its format; this program reads format {FORMAT}")
    if found != FORMAT:
        raise JournalError(f"{path}: a journal of format {found}; this program reads format {FORMAT}")
