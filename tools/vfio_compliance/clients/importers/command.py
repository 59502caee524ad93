# SPDX-License-Identifier: GPL-2.0-only
"""Makes traces from the files of other tools."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ... import __version__
from ...common.words import counted
from ..trace import TraceError
from . import events, qemu
from .lines import lines, refuse_binary
from .recorder import Recorder
from .strace import IDLE, MIGRATION_AT, NAMES, Importer
from .syscalls import Parser, Syscall, Transfer

_OF_THREAD: Final = re.compile(r"\.(\d{1,10})$")
_MOST_FILES: Final = 512


@dataclass
class Imported:
    """The result of an import."""

    trace: Path
    #: Records of each kind.
    counts: Counter[str]
    notes: list[str] = field(default_factory=list)


def import_strace(path: Path, trace: Path, region: int | None = None, region_at: int | None = None) -> Imported:
    """The trace of what the processes in a file of strace (or files ``path.PID``, by ``-ff``) did to VFIO devices.

    ``region`` is the index of the migration region, ``region_at`` its offset in the device's file if that is not
    its index << 40. Raises TraceError, with file and line if strace did not write the file.
    """
    files = _files(path)
    for each in files:
        refuse_binary(each)
    recorder = _recorder(path, trace, "strace", MIGRATION_AT if region_at is not None else region)
    try:
        importer = Importer(recorder, region_at)
        parsers = [Parser(NAMES, IDLE, importer.watched, _thread(each) if each != path else 0) for each in files]
        importer.take(_in_order([parser.read(lines(each)) for parser, each in zip(parsers, files, strict=True)], path))
        known, strange = sum(each.known for each in parsers), sum(each.strange for each in parsers)
        if not known or (strange > known and not recorder.counts):
            raise TraceError(f"{path}:1: not written by strace: only {counted(known, 'line')} with a system call")
        recorder.finish()
    except BaseException:
        recorder.abandon()
        raise
    return _imported(recorder, trace)


def import_qemu(path: Path, trace: Path, region: int | None = None) -> Imported:
    """The trace made from QEMU's own events. Raises TraceError, with file and line if the file is not such a log."""
    refuse_binary(path)
    recorder = _recorder(path, trace, "QEMU", region)
    try:
        importer = qemu.Importer(recorder, region)
        try:
            importer.take(events.read(lines(path)))
        except qemu.OtherInterface as error:
            raise TraceError(f"{path}:{error}") from None
        if not importer.known:
            raise TraceError(f"{path}:1: there is no trace event of VFIO; start QEMU with -trace 'vfio_*' -D FILE")
        recorder.finish()
    except BaseException:
        recorder.abandon()
        raise
    return _imported(recorder, trace)


def _recorder(path: Path, trace: Path, kind: str, region: int | None) -> Recorder:
    return Recorder(trace, path, f"{path.name} of {kind}, by vfio-compliance {__version__} import", region)


def _imported(recorder: Recorder, trace: Path) -> Imported:
    notes = [f"{text} ({counted(times, 'time')})" if times > 1 else text for text, times in recorder.notes.items()]
    return Imported(trace, recorder.counts, notes)


def _files(path: Path) -> list[Path]:
    """The file, or one for each thread."""
    if path.exists():
        return [path]
    try:
        found = sorted(
            each for each in path.parent.iterdir() if each.stem == path.name and _OF_THREAD.search(each.name)
        )
    except OSError as error:
        raise TraceError(f"{path.parent}: {error.strerror}") from None
    if not found:
        raise TraceError(f"{path}: no such file, nor one with a thread's number after its name")
    if len(found) > _MOST_FILES:
        raise TraceError(
            f"{path}: {counted(len(found), 'file')} of threads, at most {_MOST_FILES} are read; record with -f"
        )
    return found


def _thread(path: Path) -> int:
    found = _OF_THREAD.search(path.name)
    return int(found[1]) if found else 0


def _in_order(streams: list[Iterator[Syscall | Transfer]], path: Path) -> Iterator[Syscall | Transfer]:
    """The calls of all threads, in the order in which they ended."""
    if len(streams) == 1:
        yield from streams[0]
        return

    def ended(call: Syscall | Transfer) -> float:
        if call.time is None:
            raise TraceError(
                f"{path}.*: the files of several threads need the time in each line; record with -ttt -T, or -f"
            )
        return call.time + call.took

    yield from heapq.merge(*streams, key=ended)
