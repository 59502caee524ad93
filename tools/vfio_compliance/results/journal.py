# SPDX-License-Identifier: GPL-2.0-only
"""The journal: JSON lines, one event per line, on disk before the run goes on. ``events`` says what there is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from . import events, fields
from .events import Event

FORMAT = 3
NAME = "journal.jsonl"

#: What to do about a journal that takes no more.
REMEDY = "make room on the disk, or name a folder on another one with --out"

#: Seconds since 1970 up to which there are dates.
_LAST_SECOND = 253_402_300_799

_MOST_FORMATS = 1 << 31


class JournalError(Exception):
    """A journal that cannot be read or written; the message names the file."""


class Recorded(NamedTuple):
    """A line of a journal."""

    #: Of day, in seconds since 1970.
    time: float
    #: None for an event that this version does not know.
    event: Event | None


class Damaged(NamedTuple):
    """A line of a journal that is not as it was written."""

    why: str


Line: TypeAlias = Recorded | Damaged


class Journal:
    """Appends events; each is one write, then a data sync, so that a crash loses nothing that was recorded.

    Several processes may append to the same file: every event is a single O_APPEND write. ``copy_to`` is a descriptor
    that gets each line too, for a watcher that shows progress. An event ``unwritten`` goes there and nowhere else: the
    file takes no more.
    """

    def __init__(self, path: Path, copy_to: int | None = None) -> None:
        """Raises JournalError when the file cannot be opened for appending."""
        self._path = path
        self._copy_to = copy_to
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from None

    def write(self, event: Event) -> None:
        """Record ``event`` with the time of day.

        Raises JournalError when the disk refuses it, or nobody is there any more to whom it is copied.
        """
        data = line(event)
        try:
            _write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError as error:
            message = f"{self._path} takes no more: {error.strerror}"
            self._copy(line(events.Unwritten(message, REMEDY)))
            raise JournalError(message) from None
        self._copy(data)

    def _copy(self, data: bytes) -> None:
        if self._copy_to is not None:
            try:
                _write_all(self._copy_to, data)
            except OSError as error:
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


def _write_all(descriptor: int, data: bytes) -> None:
    """A disk that is nearly full takes a part, and says why only when asked to take the rest."""
    while data:
        data = data[os.write(descriptor, data) :]


def line(event: Event, at: float | None = None) -> bytes:
    """An event as a journal has it; ``at`` is the time of day in seconds, now unless given."""
    record = {
        "event": events.name(type(event)),
        "time": round(time.time(), 6) if at is None else at,
        **fields.plain(event),
    }
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=fields.plain)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def parse(text: str | bytes) -> Line:
    """A line of a journal, whatever became of it."""
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


def read(path: Path) -> Iterator[Line]:
    """The lines of ``path``; a last one that was cut short is left out. The first holds the event ``run``.

    Raises JournalError for a file that is missing, unreadable or not a journal of this format.
    """
    number = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, text in enumerate(lines, 1):
                if not text.endswith("\n"):
                    number -= 1
                    break
                if number == 1:
                    _check_format(path, text)
                found = parse(text)
                if number == 1 and isinstance(found, Damaged):
                    raise JournalError(f"{path}: its first record is damaged: {found.why}")
                yield found
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None
    if not number:
        raise JournalError(f"{path}: the run ended before anything was recorded")


def _check_format(path: Path, first: str) -> None:
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
