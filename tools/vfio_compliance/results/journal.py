# SPDX-License-Identifier: GPL-2.0-only
"""The journal: JSON lines, one record per event, on disk before the run goes on.

Records, by their ``event``:

========== ==========================================================================================
run        first: program version, profile, kernel, and the rules of the run in full
plan       the cases that were selected: ``cases`` is a list of [case, rule]
target     what the device said of itself when it was opened
start      a case begins
end        a case is over: verdict, seconds, failure, observations, the calls made
note       something worth telling that is no verdict
kernel     lines that the kernel logged, or a taint, while ``case`` ran
broken     the run could not go on: message and remedy
hang       the outside watcher ended the run: case, call, and what the process was doing
finish     last: totals of calls, opens, resets, bytes
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

FORMAT = 1
NAME = "journal.jsonl"

Record = dict[str, Any]


class JournalError(Exception):
    """A journal that cannot be read; the message names the file and the line."""


class Journal:
    """Appends records; each is one write, then a data sync, so that a crash loses nothing that was recorded.

    Several processes may append to the same file: every record is a single O_APPEND write. ``copy_to`` is a
    descriptor that gets each record too, for a watcher that shows progress.
    """

    def __init__(self, path: Path, copy_to: int | None = None) -> None:
        """Raises OSError when the file cannot be opened for appending."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._copy_to = copy_to

    def write(self, event: str, **fields: Any) -> None:
        """Record ``event`` with the time of day in seconds. Raises OSError when the disk refuses it."""
        line = json.dumps({"event": event, "time": round(time.time(), 6), **fields}, ensure_ascii=False) + "\n"
        data = line.encode("utf-8", "backslashreplace")
        os.write(self._file, data)
        os.fdatasync(self._file)
        if self._copy_to is not None:
            while data:
                data = data[os.write(self._copy_to, data) :]

    def close(self) -> None:
        """Close the file; further writes raise OSError."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> Iterator[Record]:
    """The records of ``path``; a last line that a crash cut short is left out.

    Raises JournalError for a file that is missing, unreadable or not a journal.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith("\n"):
                    return
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise JournalError(f"{path}:{number}: not a journal record: {error}") from None
                if not isinstance(record, dict) or not isinstance(record.get("event"), str):
                    raise JournalError(f"{path}:{number}: not a journal record: no event in it")
                if number == 1 and (record["event"] != "run" or record.get("format") != FORMAT):
                    raise JournalError(f"{path}:1: not a journal of format {FORMAT}")
                yield record
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None
