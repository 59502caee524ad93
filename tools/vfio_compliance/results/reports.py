# SPDX-License-Identifier: GPL-2.0-only
"""Reports as files: in the folder of the run, and where the user wants them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .summary import Summary
from .writers import render

#: The terminal's report, in the folder of a run.
NAME: Final = "report.txt"


class Wanted(NamedTuple):
    """A report that the user asked for."""

    #: One of the formats of ``writers``.
    format: str
    path: Path


class ReportError(Exception):
    """A report that cannot be written; the message names the file."""


def write(wanted: Wanted, summary: Summary) -> None:
    """Write a report as a file. Raises ReportError."""
    put(wanted.path, render(wanted.format, summary), f"the {wanted.format} report")


def put(path: Path, text: str, what: str) -> None:
    """Write a text, whole or not at all, and make missing folders. Like the journal, only its owner can read it.

    Raises ReportError, which names ``what`` was not written.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        if path.exists() and not path.is_file():  # such as /dev/stdout or a pipe, which cannot be replaced by a file
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(unfinished, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
            raise
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}: {what} was not written") from None


def save(summary: Summary, folder: Path, wanted: Iterable[Wanted]) -> Iterator[str]:
    """Write the terminal's report into the folder of the run, and each wanted report; a message for each that fails."""
    for each in (Wanted("terminal", folder / NAME), *wanted):
        try:
            write(each, summary)
        except ReportError as error:
            again = f"vfio-compliance report {folder} --format {each.format} --out FILE"
            yield f"{error}; fix that, then: {again}"
