# SPDX-License-Identifier: GPL-2.0-only
"""Journals of invented runs, event by event."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from vfio_compliance.common.calls import Call
from vfio_compliance.results import chain, journal
from vfio_compliance.results.events import Closed, End, Event, Finish, Plan, Run
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.flows import Measures
from vfio_compliance.results.journal import FORMAT, Recorded
from vfio_compliance.results.setting import ChosenPlan, JudgedProfile, Selection, Waiver
from vfio_compliance.results.totals import count
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.rules import Rule

E = TypeVar("E", bound=Event)

NOON = 1_800_000_000.0

CALL = Call("read", "region 9", 8, 8, b"", b"\1" + bytes(7), 8, duration_ns=12_000, serial=7, times=3)

RULE = Rule(
    id="v1.one",
    clause="DS-01",
    says="It does one thing.",
    level="must",
    status="documented",
    side="driver",
    source="text, line 1",
    suite="s",
    interface="v1",
    defects={"d": "another"},
)

FINISH = Finish(calls=1, opens=1, resets=1, bytes_read=1, bytes_written=1, passes=0)


def first(rules: Iterable[Rule], cases: Mapping[str, str], waivers: Iterable[Waiver] = ()) -> Run:
    """The first event of a run of these rules and cases."""
    return Run(
        format=FORMAT,
        version="0",
        profile=JudgedProfile("p.yaml", "p", "0" * 64),
        description="a device",
        interfaces=("v1",),
        device={},
        kernel="Linux",
        defects=(),
        seed=1,
        limits={},
        plan=ChosenPlan("default", "", ()),
        selection=Selection((), (), len(set(cases.values())), len(cases)),
        skips=(),
        waivers=tuple(waivers),
        areas={"DS": "Device state", "Q": "Works with Q"},
        rules=tuple(rules),
    )


def chained(lines: Iterable[bytes]) -> list[bytes]:
    """Records as in a journal, each chained to the one before."""
    made, before = [], ""
    for line in lines:
        data, before = chain.linked(line, before)
        made.append(data)
    return made


def written(events: Iterable[tuple[float, Event]]) -> bytes:
    """A closed journal of these events, each with its time."""
    made = chained(record for time, event in events for record in journal.records(event, time))
    end = Closed(len(made), hashlib.sha256(b"".join(made)).hexdigest())
    last, _ = chain.linked(journal.line(end, NOON), chain.digest_of(made[-1]))
    return b"".join([*made, last])


def recorded(*events: Event) -> list[Recorded]:
    """These events, one a second."""
    return [Recorded(NOON + second, event) for second, event in enumerate(events)]


def event_of(line: journal.Line, kind: type[E]) -> E:
    """The event of a whole line, which is of this kind."""
    assert isinstance(line, Recorded)
    assert isinstance(line.event, kind)
    return line.event


def timed(lines: Iterable[Recorded]) -> list[tuple[float, Event]]:
    """The events of lines, each with its time."""
    return [(line.time, line.event) for line in lines if line.event is not None]


def case(name: str) -> str:
    """The full name of a case."""
    return f"suites/s/test_it.py::test_{name}"


def made_by(calls: Sequence[Call], measures: Measures | None = None) -> dict[str, Any]:
    """The fields of an event ``end`` that are about the calls of its case."""
    return {"calls": calls, "totals": count(calls), "measures": measures or Measures()}


def ended(name: str, verdict: str, **failure: Any) -> End:
    """The end of a case ``a.b[c]`` of rule v1.a.b."""
    why = None if verdict == "pass" else Failure(**{"what": "doing it", **failure})
    return End(case(name), f"v1.{name.partition('[')[0]}", Verdict(verdict), 0.1, why, {}, **made_by((CALL,) * 15))


def run_of(
    *events: Event,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    planned: tuple[str, ...] = (),
    waivers: Iterable[Waiver] = (),
    **run: Any,
) -> list[Recorded]:
    """A run of these events, with a plan of all cases in them and of those ``planned``, and the end.

    ``rules`` has further fields of each rule, by its id; ``run`` has fields of the first event.
    """
    names = dict.fromkeys([*(each.case for each in events if isinstance(each, End)), *map(case, planned)])
    cases = {name: f"v1.{name.partition('::test_')[2].partition('[')[0]}" for name in names}
    known = dict.fromkeys([*(rules or {}), *cases.values()])
    made = [replace(RULE, id=rule, **(rules or {}).get(rule, {})) for rule in known]
    begun = replace(first(made, cases, waivers), **run)
    return recorded(begun, Plan(tuple(cases.items())), *events, FINISH)


def waiver(**keys: Any) -> Waiver:
    """A waiver of rule v1.one."""
    return Waiver(**{"rule": "v1.one", "reason": "known", **keys})
