# SPDX-License-Identifier: GPL-2.0-only
"""The journal: JSON lines, one record per event, on disk before the run goes on.

Records, by their ``event``:

========== ==========================================================================================
run        first: program version, profile, plan, selection, kernel, and the rules of the run in full
plan       the cases that were selected: ``cases`` is a list of [case, rule]
opening    the calls by which a test process opened the device
target     what the device said of itself when it was opened
start      a case begins
end        a case is over: verdict, seconds, failure, observations, the calls made, the running number of the one that
           shows the failure (0: none), and what calls of earlier cases it stands on: ``first``, ``last`` and ``case``
note       something worth telling that is no verdict
explored   an exploration goes on: ``steps`` or rounds so far
kernel     lines that the kernel logged, or a taint, while ``case`` ran
changed    a file of the host is about to be written; ``before`` is what ``path`` held
restored   ``path`` holds again what it held before
broken     the run could not continue: message and remedy; with ``case``, in the middle of it
hang       a call did not return: message and remedy; in ``case``, or outside of any
death      a server ended that should run: ``who``, ``how`` and ``when``; in ``case``, or outside of any
lost       this test process cannot reach the device any more: ``message``
process    a new test process continues the run: its ``number``, and ``why``
finish     a test process came to its end: its totals of calls, opens, resets, bytes
========== ==========================================================================================
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

FORMAT = 2
NAME = "journal.jsonl"

#: What to do about a journal that takes no more.
REMEDY = "make room on the disk, or name a folder on another one with --out"

Record = dict[str, Any]


class JournalError(Exception):
    """A journal that cannot be read or written; the message names the file."""


class Journal:
    """Appends records; each is one write, then a data sync, so that a crash loses nothing that was recorded.

    Several processes may append to the same file: every record is a single O_APPEND write. ``copy_to`` is a
    descriptor that gets each record too, for a watcher that shows progress. A record ``unwritten`` goes there and
    nowhere else: the file takes no more.
    """

    def __init__(self, path: Path, copy_to: int | None = None) -> None:
        """Raises JournalError when the file cannot be opened for appending."""
        self._path = path
        self._copy_to = copy_to
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from None

    def write(self, event: str, **fields: Any) -> None:
        """Record ``event`` with the time of day in seconds.

        Raises JournalError when the disk refuses it, or nobody is there any more to whom it is copied.
        """
        data = _line(event, fields)
        try:
            _write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError as error:
            message = f"{self._path} takes no more: {error.strerror}"
            self._copy(_line("unwritten", {"message": message, "remedy": REMEDY}))
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


def _line(event: str, fields: Record) -> bytes:
    record = {"event": event, "time": round(time.time(), 6), **fields}
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    return line.encode("utf-8", "backslashreplace")


def _write_all(descriptor: int, data: bytes) -> None:
    """A disk that is nearly full takes a part, and says why only when asked to take the rest."""
    while data:
        data = data[os.write(descriptor, data) :]


def read(path: Path) -> Iterator[Record]:
    """The records of ``path``, an empty one for each line that is none; a last line that was cut short is left out.

    Raises JournalError for a file that is missing, unreadable or not a journal.
    """
    number = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith("\n"):
                    number -= 1
                    break
                record = _record(line)
                if number == 1 and (record.get("event") != "run" or record.get("format") != FORMAT):
                    raise JournalError(f"{path}: not a journal of format {FORMAT}")
                yield record
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None
    if not number:
        raise JournalError(f"{path}: the run ended before anything was recorded")


def _record(line: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
