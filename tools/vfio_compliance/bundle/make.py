# SPDX-License-Identifier: GPL-2.0-only
"""From the folder of a run to a bundle: the same bytes for the same folder."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from ..common.new_file import new_file
from ..common.words import counted
from ..results import data as kept
from ..results import journal as journals
from ..results.events import Environment
from ..results.folder import INPUTS, REPORT
from ..results.reading import summarise
from ..results.summary import Summary
from ..results.writers import render
from . import journal
from .packing import LONGEST_NAME, Packer, Wrong
from .redact import Redaction

FORMAT: Final = "vfio-compliance bundle"
VERSION: Final = 1
#: The member that says what the bundle is, and what the run was made with.
ABOUT: Final = "environment.json"
SUMS: Final = "SHA256SUMS"

#: The reports in each bundle; the others are made from it by ``report BUNDLE --format NAME``.
_REPORTS: Final = {"html": "html", "txt": "terminal", "json": "json", "md": "markdown"}
#: Limit in bytes of a file other than journal and data.
LARGEST_TEXT: Final = 64 << 20
_PIECE: Final = 1 << 18


class BundleError(Exception):
    """A bundle that cannot be made; the message says why."""


class _Known(NamedTuple):
    summary: Summary
    environment: Environment | None
    #: What is wrong with the journal.
    damage: str


def make(folder: Path, output: Path, with_data: bool = False, redact: bool = False) -> None:
    """Pack the folder of a run into the file ``output``. Raises BundleError, JournalError."""
    if with_data and redact:
        raise BundleError("data cannot be redacted: leave out --with-data, or --redact")
    known = _look_at(folder)
    if redact and known.damage:
        raise BundleError(
            f"{folder / journals.NAME}: {known.damage}; a damaged journal is not redacted, which would hide the damage"
        )
    facts = known.environment.facts if known.environment else {}
    redaction = Redaction([facts.get("host name", "")]) if redact else None
    if redaction:
        known = known._replace(summary=_redacted_result(folder, redaction))
    with new_file(output, BundleError) as file:
        try:
            _pack(folder, file, known, with_data, redaction)
        except Wrong as error:
            raise BundleError(f"{folder}: {error}") from None
        except OSError as error:
            raise BundleError(f"{error.filename or output}: {error.strerror}") from None


def _look_at(folder: Path) -> _Known:
    """Raises JournalError."""
    path = folder / journals.NAME
    environment: list[Environment] = []
    damage = []

    def noted() -> Iterator[journals.Line]:
        for number, line in enumerate(journals.read(path), 1):
            if isinstance(line, journals.Damaged):
                damage.append(f"line {number} is damaged: {line.why}")
            elif isinstance(line, journals.Recorded) and isinstance(line.event, Environment):
                environment.append(line.event)
            yield line

    summary = summarise(noted())
    return _Known(summary, environment[-1] if environment else None, next(iter(damage), ""))


def _redacted_result(folder: Path, redaction: Redaction) -> Summary:
    """The redacted summary of the journal: in a finished report, less could be found."""
    with (folder / journals.NAME).open("rb") as lines:
        return summarise(journals.lines(redaction.journal(lines), journals.NAME))


def _pack(folder: Path, file: BinaryIO, known: _Known, with_data: bool, redaction: Redaction | None) -> None:
    """Raises OSError, Wrong."""
    packer = Packer(file, _safe(known.summary.run.profile.name, LONGEST_NAME // 4) or "run")
    sums = {}

    def add(name: str, content: bytes) -> None:
        sums[name] = packer.add(name, len(content), [content])

    add(ABOUT, _about(known, redaction))
    for path in _files(folder / INPUTS):
        add(_name(f"{INPUTS}/{_safe(path.name)}", sums), _redacted(_content(path), redaction))
    for ending, name in _REPORTS.items():
        add(f"{REPORT}{ending}", render(name, known.summary).encode("utf-8", "backslashreplace"))
    with tempfile.TemporaryFile() as packed, (folder / journals.NAME).open("rb") as lines:
        size = journal.pack(redaction.journal(lines) if redaction else lines, packed)
        packed.seek(0)
        sums[journal.NAME] = packer.add(journal.NAME, size, iter(lambda: packed.read(_PIECE), b""))
    for path in filter(_is_data, _files(folder / kept.NAME)) if with_data else ():
        with path.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            name = f"{kept.NAME}/{_safe(path.name)}"
            sums[name] = packer.add(name, size, iter(lambda content=content: content.read(_PIECE), b""))  # type: ignore[misc]
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
    packer.add(SUMS, len(text), [text])
    packer.close()


def _about(known: _Known, redaction: Redaction | None) -> bytes:
    environment = known.environment
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "redacted": redaction is not None,
        "facts": dict(environment.facts) if environment else {},
        "inputs": dict(environment.inputs) if environment else {},
    }
    return (json.dumps(redaction.value(about) if redaction else about, indent=2) + "\n").encode()


def _redacted(content: bytes, redaction: Redaction | None) -> bytes:
    return redaction.text(content.decode("utf-8", "replace")).encode() if redaction else content


def _files(folder: Path) -> list[Path]:
    """The regular files of a folder, in the order of their names; none if there is no folder. Raises OSError."""
    try:
        return [path for path in sorted(folder.iterdir()) if stat.S_ISREG(path.lstat().st_mode)]
    except FileNotFoundError:
        return []


def _is_data(path: Path) -> bool:
    """Whether a file is complete data, not the rest of a file that a killed run has left."""
    return re.fullmatch("[0-9a-f]{64}", path.name, re.ASCII) is not None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise Wrong(f"{path}: more than {counted(LARGEST_TEXT, 'byte')}, which is too large for a report or profile")
    return content


def _safe(name: str, longest: int = 64) -> str:
    """The name, with what a bundle does not allow replaced."""
    return re.sub(r"[^A-Za-z0-9._-]|^\.", "_", name, flags=re.ASCII)[:longest]


def _name(name: str, taken: dict[str, str]) -> str:
    """``name``, or a different one if two files of the folder would have the same name in a bundle."""
    while name in taken:
        name += "_"
    return name
