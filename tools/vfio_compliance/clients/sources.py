# SPDX-License-Identifier: GPL-2.0-only
"""The source of accesses: a trace file, or the journal of one of our runs. They are judged as they are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from ..common.calls import Call
from ..common.words import counted
from ..interfaces import JUDGED
from ..results import events, journal
from ..run.client import Access, ContainerCall, access_verb
from ..run.container_calls import as_ioctl, of_container
from .trace import LONGEST_LINE, NAME, Reader, Record, TraceError, refuse_pipe

#: A call that a journal has once, with a count, is judged at most this often: more of the same changes nothing.
_MOST_REPEATS = 64

#: The most other devices of a trace that are named.
_MOST_DEVICES = 16


#: The most gaps whose reasons are reported.
_GAPS_SHOWN = 3


class Entry(NamedTuple):
    """One access; ``access`` is None if it does not concern the migration region."""

    number: int
    #: Seconds since the beginning, if known.
    time: float | None
    access: Access | None
    #: To be put into words; None for an access without a record.
    call: Call | None


@dataclass
class Part:
    """What one client did, to be judged by itself."""

    entries: Iterator[Entry]
    #: The name of a run's case.
    case: str = ""
    #: Clauses that it breaks on purpose.
    provokes: tuple[str, ...] = ()


@dataclass
class Source:
    """A trace or a run. What is unknown before all parts are read is filled in on the way."""

    #: What it is, in words.
    title: str
    parts: Iterator[Part]
    #: Index of the migration region; None: unknown (yet).
    migration: int | None
    notes: list[str] = field(default_factory=list)


def load(path: Path, region: int | None = None, device: int | None = None, hint: int | None = None) -> Source:
    """What there is to judge at ``path``: a trace, a journal, or the folder of a run.

    ``region`` names the migration region and ``device`` the device, if the trace does not say or has several;
    ``hint`` is the region if nothing else says. Raises TraceError, also while parts are read.
    """
    if path.is_dir():
        path = path / journal.NAME
    try:
        refuse_pipe(path)
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
    return _trace(path, region, device, hint)


def migration_region(path: Path) -> int | None:
    """The migration region, if ``path`` is a trace that shows which one it is."""
    try:
        found = _find(path, None)
    except TraceError:
        return None
    return found[0] if found else None


def _trace(path: Path, region: int | None, device: int | None, hint: int | None) -> Source:
    if region is None:
        found = _find(path, device)
        region, device = found if found else (hint, device)
    reader = Reader(path)
    source = Source(f"{path}: {reader.header.recorded}", iter(()), region)
    source.parts = iter([Part(_entries(reader, source, device))])
    return source


def _find(path: Path, device: int | None) -> tuple[int, int] | None:
    """The first migration region in a trace, and its device."""
    reader = Reader(path)
    try:
        for record in reader:
            if record.about and record.about.migration and device in (None, record.device):
                return record.about.region, record.device
    except TraceError:
        pass  # the judge will say so
    finally:
        reader.close()
    return None


def _entries(reader: Reader, source: Source, device: int | None) -> Iterator[Entry]:
    """The accesses of one device: the one named, else the first whose region is accessed."""
    areas: tuple[tuple[int, int], ...] = ()
    others: set[int] = set()
    ended = False
    gaps = 0
    for number, record in enumerate(reader, 1):
        if ended:
            raise TraceError(f"{reader.path}:{record.line}: a record after the end")
        if record.verb == "end":
            ended = True
            continue
        if record.verb == "gap":
            gaps += 1
            if record.why and gaps <= _GAPS_SHOWN:
                source.notes.append(f"gap at access {number}: {record.why}")
        if device is None and record.region == source.migration:
            device = record.device
        of_another = not record.called and record.verb != "gap" and record.device != (device or 0)
        if of_another:
            if len(others) < _MOST_DEVICES:
                others.add(record.device)
            continue
        unseen: tuple[tuple[int, int], ...] = ()
        if record.about:
            if record.about.region == source.migration and not reader.header.maps_seen:
                areas = unseen = record.about.areas
        else:
            access = _access(record, number, source.migration)
            if access and access.called:
                access = access._replace(message=reader.header.protocol == "vfio-user")
            yield Entry(number, record.time, access, _call(record))
            # The next client may map as much.
            unseen = areas if record.verb == "open" else ()
        for offset, length in unseen:
            yield Entry(number, record.time, Access("map", offset, length), None)
    if not ended:
        source.notes.append("the trace has no end: its recorder was interrupted, and later accesses are missing")
        yield Entry(0, None, Access("gap"), None)
    if gaps > _GAPS_SHOWN:
        source.notes.append(f"{counted(gaps, 'gap')} in all")
    if others:
        rest = ", ".join(map(str, sorted(others)))
        source.notes.append(f"device {device or 0} was judged; the trace has others (choose one with --device): {rest}")
    if source.migration is None:
        raise TraceError(f"{reader.path}: no record says which region is the migration region; name it with --region")


def _access(record: Record, number: int, migration: int | None) -> Access | None:
    if record.called:
        verb = access_verb(record.verb, "container", 0, "")
        assert verb
        return Access(verb, value=record.value, number=number, called=record.called, container=record.container)
    if record.verb in ("open", "close", "reset", "gap"):
        verb = access_verb("omitted" if record.verb == "gap" else record.verb, "device", 0, "")
        assert verb
        return Access(verb, value=record.value, number=number)
    verb = access_verb(record.verb, f"region {record.region}", 0, f"region {migration}")
    if verb is None:
        return None
    return Access(verb, record.offset, record.length, record.value, record.data, record.sha256, number)


def _call(record: Record) -> Call:
    if record.called:
        return _container_call(record, record.called)
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


def _container_call(record: Record, called: ContainerCall) -> Call:
    """As an ioctl, in words."""
    number, argument = as_ioctl(record.verb, called)
    return Call(
        *("ioctl", "container", number, len(argument), argument, argument),
        value=record.value,
        errno=record.errno,
        started_ns=int(record.time * 1e9),
        duration_ns=record.took * 1000,
    )


def _run(path: Path, region: int | None) -> Source:
    source = Source(f"{path}: a run of this program", iter(()), region)
    source.parts = _cases(path, source)
    return source


def _cases(path: Path, source: Source) -> Iterator[Part]:
    provokes: dict[str, tuple[str, ...]] = {}
    finished = False
    try:
        for number, line in enumerate(journal.read(path, whole=True), 1):
            if isinstance(line, journal.Damaged):
                raise TraceError(f"{path}:{number}: not a record of a journal: {line.why}")
            if isinstance(line, journal.Cut):
                continue  # the end of its journal shows whether a run was finished
            match line.event:
                case events.Run(rules=rules):
                    provokes = {rule.id: rule.provokes for rule in rules}
                case events.Target(regions=regions) if source.migration is None:
                    source.migration = next((each.index for each in regions if each.interface == JUDGED.name), None)
                case events.End() as end:
                    yield Part(_calls(end.calls, source.migration), end.case, provokes.get(end.rule, ()))
            if isinstance(line.event, (events.Start, events.Finish)):
                finished = isinstance(line.event, events.Finish)
    except journal.JournalError as error:
        raise TraceError(str(error)) from None
    if not finished:
        source.notes.append("the journal ends before the run did")
    if source.migration is None:
        raise TraceError(f"{path}: the run found no migration region")


def _calls(calls: Iterable[Call], migration: int | None) -> Iterator[Entry]:
    for number, call in enumerate(calls, 1):
        access = _of_call(call, number, migration)
        for _ in repeat(None, min(call.times, _MOST_REPEATS)):
            yield Entry(number, None, access, call)


def _of_call(call: Call, number: int, migration: int | None) -> Access | None:
    if access := of_container(call, number):
        return access
    kind = access_verb(call.verb, call.target, call.number, f"region {migration}")
    return Access(kind, call.number, call.length, call.value, *call.moved, number) if kind else None
