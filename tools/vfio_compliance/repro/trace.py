# SPDX-License-Identifier: GPL-2.0-only
"""The recorded calls that explain a case's failure: its own, and those of other cases that it was judged from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..common.calls import MAPPED_READ, OMITTED, OPENING, SET_UP, Call
from ..results.case import Case, key
from ..results.summary import Summary
from ..uapi.vfio import VFIO_DEVICE_RESET
from .contents import Contents


class NoProgram(Exception):
    """No program can be made from a case; the message says why, and what can be done about it."""


class UnknownData(NoProgram):
    """The data of a write was not read by an earlier call, and is too much for a program."""

    def __init__(self, message: str, call: Call) -> None:
        super().__init__(message)
        self.call = call


def calls_of(summary: Summary, case: Case) -> list[Call]:
    """In order, up to the one that shows the failure. Raises NoProgram."""
    failed = case.failed_call
    if not failed:
        raise NoProgram(f"{case.name}: no call shows why it failed: {case.why.whole}")
    spans = [*_of_other_cases(summary, case)]
    last = _last_try(case)
    own = last if last and last[0].serial <= failed else case.calls
    calls = _once(call for call in [*spans, *own] if call.serial <= failed)
    if not any(call.serial <= failed <= call.last for call in calls):
        calls = [call for call in summary.opening if call.serial <= failed]
        if not calls or calls[-1].last < failed:
            raise NoProgram(f"{case.name}: call {failed}, which shows the failure, is not in the journal")
    if any(call.verb == OMITTED for call in calls):
        raise NoProgram(f"{case.name}: some of its calls were left out of the journal, since there were too many")
    return calls


def calls_before(summary: Summary, case: Case, names: Sequence[str], own: Sequence[Call]) -> list[Call]:
    """All calls of earlier cases that are not among its own, and the calls that those were judged from."""
    mine = {call.serial for call in own}
    others = [summary.cases.get(key(name, case.round)) for name in names]
    made = (call for other in others if other for call in [*_of_other_cases(summary, other), *other.calls])
    return _once(call for call in made if call.serial not in mine)


def giver(summary: Summary, case: Case, call: Call, contents: Contents) -> str | None:
    """The last case in which a device gave what ``call`` writes: an earlier one, or this one in an earlier try."""
    wanted, moved = contents.of(call), call.moved
    before = sorted(_before(summary, case), key=lambda each: each.calls[0].serial, reverse=True)
    kept = case.calls[: len(case.calls) - len(_last_try(case))]
    for name, calls in [(case.id, kept), *((each.id, each.calls) for each in before)]:
        for read in calls:
            if read.verb not in ("read", MAPPED_READ) or read.value < call.length:
                continue
            if (read.received, read.received_digest) == moved:
                return name
            if wanted is not None and (there := contents.of(read)) is not None and wanted in there:
                return name
    return None


def earlier(summary: Summary, case: Case) -> Iterator[list[str]]:
    """The names of the cases that the same test process ran just before: one, two, four and so on."""
    ran = sorted(_before(summary, case), key=lambda each: each.calls[0].serial)
    for many in (1, 4, 16):
        yield [each.id for each in ran[-many:]]
        if many >= len(ran):
            return


def _before(summary: Summary, case: Case) -> list[Case]:
    """The cases that the same test process ran before this one."""
    start = min((call.serial for call in case.calls), default=0)
    return [each for each in summary.cases.values() if each.calls and each.calls[0].serial < start]


def _last_try(case: Case) -> Sequence[Call]:
    """Its calls without those of earlier tries, except calls whose results were shared."""
    calls = case.calls
    begins = [at for at in range(1, len(calls)) if calls[at].serial > calls[at - 1].last + 1]
    return calls[begins[-1] :] if begins else calls


def _of_other_cases(summary: Summary, case: Case) -> Iterator[Call]:
    for span in case.stands_on:
        owner = summary.cases.get(key(span.case, case.round))
        calls: Sequence[Call] = owner.calls if owner else ()
        yield from (call for call in calls if span.first <= call.serial <= span.last)


def _once(calls: Iterable[Call]) -> list[Call]:
    """Each call once, in order.

    Calls that first opened the device are left out: the program opens it itself. A refused reset before a case is left
    out, too: the calls that replace it follow.
    """
    found = {call.serial: call for call in calls if call.part != OPENING and not _is_refused_reset(call)}
    return [found[serial] for serial in sorted(found)]


def _is_refused_reset(call: Call) -> bool:
    return call.part == SET_UP and call.number == VFIO_DEVICE_RESET and bool(call.errno)
