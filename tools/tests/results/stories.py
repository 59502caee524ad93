# SPDX-License-Identifier: GPL-2.0-only
"""Journals of runs that never were, event by event."""

from __future__ import annotations

from typing import Any

from vfio_compliance.results.journal import FORMAT, Record

NOON = 1_800_000_000.0

CALL: Record = {
    **{"verb": "read", "target": "region 9", "number": 8, "length": 8, "received": "0100000000000000", "value": 8},
    **{"duration_ns": 12_000, "serial": 7, "times": 3},
}


#: Rules that do not block.
OTHERS = ("one", "two")


RULE: Record = {
    **{"id": "v1.one", "clause": "DS-01", "says": "It does one thing.", "level": "must"},
    **{"status": "documented", "side": "driver", "source": "text, line 1", "suite": "s"},
    **{"also": [], "defects": ["d"], "unprovable": ""},
}


def first(waivers: list[Record], cases: dict[str, str], rules: list[Record] | None = None) -> Record:
    aside = {"clause": "Q-01", "suite": "q", "blocking": False}
    rules = rules or [dict(RULE), *(RULE | aside | {"id": f"q.{name}"} for name in OTHERS)]
    run: Record = {"event": "run", "format": FORMAT, "version": "0", "kernel": "Linux", "description": "a device"}
    run |= {"profile": {"path": "p.yaml", "name": "p"}, "defects": [], "limits": {}}
    run |= {"areas": {"DS": "Device state", "Q": "Works with Q"}}
    run |= {"plan": {"name": "default", "path": "", "left_out": []}, "skips": []}
    run |= {"selection": {"only": [], "skip": [], "rules": len(set(cases.values())), "cases": len(cases)}}
    return run | {"waivers": waivers, "rules": rules}


def case(name: str) -> str:
    """The whole name of a case."""
    return f"suites/s/test_it.py::test_{name}"


def ended(name: str, verdict: str, **failure: str) -> Record:
    """A case ``a.b[c]`` of rule v1.a.b is over."""
    made: Record = {"event": "end", "case": case(name), "rule": f"v1.{name.partition('[')[0]}", "verdict": verdict}
    made |= {"seconds": 0.1, "observed": {}, "calls": [CALL] * 15}
    what = {} if verdict == "pass" else {"what": "doing it"} | failure
    return made | {"failure": what or None}


def told(
    *events: Record, rules: dict[str, Record] | None = None, planned: tuple[str, ...] = (), **run: Any
) -> list[Record]:
    """A run of these events, with a plan of all cases in them and of those ``planned``, and the end.

    ``rules`` has more of each rule, by its id; ``run`` has fields of the first record.
    """
    names = dict.fromkeys([*(each["case"] for each in events if each["event"] == "end"), *map(case, planned)])
    cases = {name: f"v1.{name.partition('::test_')[2].partition('[')[0]}" for name in names}
    known = dict.fromkeys([*(rules or {}), *cases.values()])
    made = [RULE | {"id": rule} | (rules or {}).get(rule, {}) for rule in known]
    begun = [first([], cases, made) | run, {"event": "plan", "cases": [list(each) for each in cases.items()]}]
    totals = dict.fromkeys(("calls", "opens", "resets", "bytes_read", "bytes_written"), 1)
    records = [*begun, *events, {"event": "finish", **totals}]
    return [{"time": NOON + second} | record for second, record in enumerate(records)]


def waiver(**keys: Any) -> Record:
    """A waiver of rule v1.one."""
    waived = {"rule": "v1.one", "reason": "known", "link": "", "expires": None}
    return waived | {"shows": None, "case": None, "sometimes": False} | keys
