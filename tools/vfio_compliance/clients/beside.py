# SPDX-License-Identifier: GPL-2.0-only
"""A trace of a run of this program, divided into the cases of the run.

The suite breaks clauses of a client on purpose, and the journal of the run says which, in which case. The accesses of
the trace are compared with those of the journal, one by one, so that each case is judged as in the journal, with
everything that only the trace shows. A trace of another run does not fit, and is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from ..common.calls import OMITTED, SECOND, Call
from ..common.words import counted
from ..run.container_calls import by_ioctl
from ..uapi.vfio import VFIO_DEVICE_RESET
from .sources import Entry, Part, Source
from .trace import TraceError

#: What identifies a call in the comparison.
_Key: TypeAlias = tuple[object, ...]

BEFORE = "before the first case"


def by_cases(trace: Source, again: Source, run: Source, path: Path) -> Source:
    """``trace`` with a part for each case of ``run``, which is in ``path``.

    ``again`` is the trace once more, to be counted first. Raises TraceError, also while parts are read, if the two
    do not belong together.
    """
    recorded = sum(_is_access(key) for entry in _all(again) if (key := _key(entry)))
    made = sum(_is_access(key) for part in run.parts for key in _keys(part, path))
    if recorded < made:
        raise TraceError(
            f"{path} is not the run of this trace: it made {counted(made, 'access')}, the trace has {recorded}"
        )
    return replace(trace, parts=_Split(trace, path, recorded - made).parts())


class _Split:
    """Takes the entries of a trace one after the other, for their cases."""

    def __init__(self, trace: Source, path: Path, before: int) -> None:
        self._entries: Iterator[Entry] = _all(trace)
        self._path = path
        self._before = before
        #: Mappings that a client may have made, valid for all cases.
        self._maps: list[Entry] = []

    def parts(self) -> Iterator[Part]:
        """One for the time before the first case, and one for each case."""
        from .sources import load

        yield Part(self._take(deque([None] * self._before), ()), BEFORE)
        for part in load(self._path).parts:
            keys = list(_keys(part, self._path))
            last = max((at for at, key in enumerate(keys) if _is_access(key)), default=-1)
            accesses: deque[_Key | None] = deque(key for key in keys if _is_access(key))
            kept = list(self._maps)
            yield replace(part, entries=chain(kept, self._take(accesses, keys[last + 1 :])))
        yield Part(self._entries, "after the last case")

    def _take(self, due: deque[_Key | None], after: Iterator[_Key] | tuple[_Key, ...] | list[_Key]) -> Iterator[Entry]:
        """All entries up to the accesses that are ``due`` (None: any), then those of the calls ``after`` them."""
        while due:
            entry = next(self._entries, None)
            if entry is None:
                raise TraceError(f"{self._path} is not the run of this trace, which ends before the run does")
            key = _key(entry)
            if key and _is_access(key):
                expected = due.popleft()
                if expected is not None and expected != key:
                    raise TraceError(
                        f"{self._path} is not the run of this trace, whose access {entry.number} it did not make"
                    )
            elif entry.access and entry.access.verb == "map" and entry.call is None:
                self._maps.append(entry)
            yield entry
        rest = deque(after)
        while rest:
            entry = next(self._entries, None)
            if entry is None:
                return
            key = _key(entry)
            if key and (_is_access(key) or key not in rest):
                self._entries = chain([entry], self._entries)  # of the next case
                return
            while key and rest.popleft() != key:
                pass  # no message was sent for it
            yield entry


def _all(source: Source) -> Iterator[Entry]:
    return (entry for part in source.parts for entry in part.entries)


def _is_access(key: _Key) -> bool:
    return key[0] in ("read", "write", "reset")


def _key(entry: Entry) -> _Key | None:
    """What a record of the trace is; None if a run has no such call."""
    return _of_call(entry.call) if entry.call else None


def _keys(part: Part, path: Path) -> Iterator[_Key]:
    number = -1
    for entry in part.entries:
        if entry.call is None or entry.number == number:
            continue  # a repeated call has one record, which says how often
        number = entry.number
        if entry.call.verb == OMITTED:
            raise TraceError(f"{path}: its journal leaves out calls of {part.case}, so that a trace cannot be followed")
        key = _of_call(entry.call)
        if key:
            yield from [key] * entry.call.times


def _of_call(call: Call) -> _Key | None:
    target = call.target
    if target.startswith(SECOND):
        return None
    if call.verb in ("read", "write") and target.startswith("region "):
        return (call.verb, target, call.number, call.length, call.value, call.errno)
    if call.verb == "reset" or (call.verb == "ioctl" and call.number == VFIO_DEVICE_RESET):
        return ("reset", call.value, call.errno)
    if call.verb in ("open", "close") and target == "device":
        return (call.verb,)
    if call.verb == "ioctl" and target == "container" and (found := by_ioctl(call.number, call.sent)):
        return (found[0], found[1].flags, call.value)
    return None
