# SPDX-License-Identifier: GPL-2.0-only
"""Where accesses come from: a trace file, or the journal of a run of ours. Read as they are judged, never kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from ..common.calls import Call
from ..interfaces import JUDGED
from ..results import events, journal
from ..run.client import Access, access_verb
from .trace import LONGEST_LINE, NAME, Reader, Record, TraceError

#: A call that a journal has once, with a count, is judged so often at most: more of the same cannot change anything.
_MOST_REPEATS = 64


class Entry(NamedTuple):
    """One access; ``access`` is None where it does not concern the migration region."""

    number: int
    #: Seconds since the beginning, where that is known.
    time: float | None
    access: Access | None
    #: To be put into words; None for what no record tells of.
    call: Call | None


@dataclass
class Part:
    """What one client did, to be judged by itself."""

    entries: Iterator[Entry]
    #: Name of the case of a run.
    case: str = ""
    #: Clauses that it breaks on purpose.
    provokes: tuple[str, ...] = ()


@dataclass
class Source:
    """A trace or a run. What is not known before all parts were read is filled in while they are."""

    #: What it is, for a reader.
    title: str
    parts: Iterator[Part]
    #: Index of the migration region; None: not known (yet).
    migration: int | None
    notes: list[str] = field(default_factory=list)


def load(path: Path, region: int | None = None) -> Source:
    """What there is to judge at ``path``: a trace, a journal, or the folder of a run.

    ``region`` names the migration region, where the trace does not. Raises TraceError, also while parts are read.
    """
    if path.is_dir():
        path = path / journal.NAME
    try:
        with path.open("rb") as file:
            first = file.readline(LONGEST_LINE)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    try:
        fields = json.loads(first)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict) and fields.get("event") == "run":
        return _run(path, region)
    if isinstance(fields, dict) and fields.get("trace") != NAME:
        raise TraceError(f"{path}:1: neither a trace nor the journal of a run")
    return _trace(path, region)


def _trace(path: Path, region: int | None) -> Source:
    reader = Reader(path)
    source = Source(f"{path}: {reader.header.recorded}", iter(()), region)
    source.parts = iter([Part(_entries(reader, source))])
    return source


def _entries(reader: Reader, source: Source) -> Iterator[Entry]:
    fixed = source.migration is not None
    areas: tuple[tuple[int, int], ...] = ()
    ended = False
    for number, record in enumerate(reader, 1):
        if ended:
            raise TraceError(f"{reader.path}:{record.line}: a record after the end")
        unseen: tuple[tuple[int, int], ...] = ()
        if record.about:
            if record.about.migration and not fixed and source.migration is None:
                source.migration = record.about.region
            if record.about.region == source.migration and not reader.header.maps_seen:
                areas = unseen = record.about.areas
        elif record.verb == "end":
            ended = True
        else:
            yield Entry(number, record.time, _access(record, number, source.migration), _call(record))
            # The next client may have mapped as much.
            unseen = areas if record.verb == "open" else ()
        for offset, length in unseen:
            yield Entry(number, record.time, Access("map", offset, length), None)
    if not ended:
        source.notes.append("the trace has no end: its recorder was stopped short, what came later is not in it")
    if source.migration is None:
        raise TraceError(f"{reader.path}: no record says which region is the migration region; name it with --region")


def _access(record: Record, number: int, migration: int | None) -> Access | None:
    if record.verb in ("open", "close", "reset", "gap"):
        verb = access_verb("omitted" if record.verb == "gap" else record.verb, "device", 0, "")
        return Access(verb or "reset", value=record.value, number=number)
    verb = access_verb(record.verb, f"region {record.region}", 0, f"region {migration}")
    if verb is None:
        return None
    return Access(verb, record.offset, record.length, record.value, record.data, record.sha256, number)


def _call(record: Record) -> Call:
    target = "device" if record.region < 0 else f"region {record.region}"
    call = Call(
        *(record.verb, target, record.offset, record.length),
        value=record.value,
        errno=record.errno,
        started_ns=int(record.time * 1e9),
        duration_ns=record.took * 1000,
    )
    if record.verb == "write":
        return call._replace(sent=record.data, sent_digest=record.sha256)
    return call._replace(received=record.data, received_digest=record.sha256)


def _run(path: Path, region: int | None) -> Source:
    source = Source(f"{path}: a run of this program", iter(()), region)
    source.parts = _cases(path, source)
    return source


def _cases(path: Path, source: Source) -> Iterator[Part]:
    provokes: dict[str, tuple[str, ...]] = {}
    finished = False
    try:
        for number, line in enumerate(journal.read(path), 1):
            if isinstance(line, journal.Damaged):
                raise TraceError(f"{path}:{number}: not a record of a journal: {line.why}")
            match line.event:
                case events.Run(rules=rules):
                    provokes = {rule.id: rule.provokes for rule in rules}
                case events.Target(regions=regions) if source.migration is None:
                    source.migration = next((each.index for each in regions if each.interface == JUDGED.name), None)
                case events.End() as end:
                    yield Part(_calls(end.calls, source.migration), end.case, provokes.get(end.rule, ()))
            finished = isinstance(line.event, events.Finish)
    except journal.JournalError as error:
        raise TraceError(str(error)) from None
    if not finished:
        source.notes.append("the journal ends before the run did")
    if source.migration is None:
        raise TraceError(f"{path}: the run found no migration region")


def _calls(calls: Iterable[Call], migration: int | None) -> Iterator[Entry]:
    for number, call in enumerate(calls, 1):
        kind = access_verb(call.verb, call.target, call.number, f"region {migration}")
        access = Access(kind, call.number, call.length, call.value, *call.moved, number) if kind else None
        for _ in repeat(None, min(call.times, _MOST_REPEATS)):
            yield Entry(number, None, access, call)
