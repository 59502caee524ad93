# SPDX-License-Identifier: GPL-2.0-only
"""Events to JSON and back, and journal lines with a field of the wrong type."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Any, get_args

import pytest
from stories import CALL, FINISH, NOON, RULE, first, waiver

from vfio_compliance.common.calls import Span
from vfio_compliance.results import events, fields
from vfio_compliance.results.events import Event
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.flows import LIVE, Flow, Measures
from vfio_compliance.results.inflight import LastCall
from vfio_compliance.results.journal import Damaged, Recorded, line, parse
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import LeftOut, Register, Skip, UsedRegion
from vfio_compliance.results.totals import Totals
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers.terminal import render

FAILED = Failure("doing", "x", "", skipped=True)

#: One of each kind, with every field set.
ALL = [
    first([RULE], {"c": "v1.one"}, [waiver(expires=date(2027, 1, 15), shows="x", case="y", link="z", sometimes=True)]),
    events.Plan((("c", "v1.one"),)),
    events.Process(2, "the first one hung"),
    FINISH,
    events.Note("two\nlines"),
    events.State("a driver (saved once, a.state)", "yes, the same state", "7 values", ("driver: a; here b",)),
    events.Changed("/sys/a", "0"),
    events.Restored("/sys/a"),
    events.Way(0, 2),
    events.Opening((CALL,)),
    events.Target(
        {"transport": "none"},
        (UsedRegion(9, "v1", (Register("state", 0, 4, {"1": "running"}),), (("stop", "running"),)),),
    ),
    events.Kernel(("BUG: it",), "c"),
    events.Death("the server", "ended", "at close", False, None),
    events.Unanswered("a call", "wait"),
    events.Hang("a call", "wait", "c", LastCall("read", "region 9", 2**64 - 1, 8, 0.5), {"wchan": "0"}),
    events.Lost("no way is left"),
    events.Broken("no cable", "plug it in", None),
    events.Start("c", "v1.one"),
    events.Explored(7),
    events.End(
        "c",
        "v1.one",
        Verdict.FAIL,
        0.5,
        Failure("doing", "x", "", skipped=True),
        {"how": "so"},
        failed_call=7,
        stands_on=(Span(1, 2, "d"),),
        seeded=True,
        passes=1,
        call_ns=2**40,
        reset_ns=7,
        totals=Totals(calls=3, opens=1),
        measures=Measures(
            {"device": {"stop": 7}},
            (Flow(LIVE, 1, 2, stopped=3, whole=True, course=((1, 2**64 - 1, 0), (2, 0, 7))),),
            {LIVE: 2},
            {"stop -> running": {"refused": 1}},
            3,
        ),
    ),
    events.Environment({"kernel": "6.12"}, {"p.yaml": "ab"}, ("--seed=1",), "/x"),
    events.Resumed(3),
    events.Closed(7, "ab"),
    events.Rerun("c", Verdict.FAIL, ("a", "b")),
    events.Programs("c", ("repro/c.c", "repro/c.py"), True, "2 calls of 4 left"),
    events.Unwritten("no room", "make some"),
]


def test_the_list_has_one_of_each_kind() -> None:
    """None is missing, and each has its own name."""
    assert {type(event) for event in ALL} == set(get_args(events.Event)) == set(events.KINDS.values())


def anything(*values: Any) -> tuple[Any, ...]:
    """Values of any types."""
    return values


@pytest.mark.parametrize("event", ALL, ids=lambda event: events.name(type(event)))
def test_round_trip(event: Event) -> None:
    """An event that was written is read back as an equal object of the same types."""
    assert parse(line(event, NOON)) == Recorded(NOON, event)
    assert repr(parse(line(event, NOON))) == repr(Recorded(NOON, event))


def test_unknown_events_and_fields() -> None:
    """They may come from another version, and are ignored."""
    assert parse(b'{"event": "eclipse", "time": 1, "of": "the sun"}') == Recorded(1.0, None)
    assert parse(b'{"event": "note", "time": 1, "text": "x", "of": "y"}') == Recorded(1.0, events.Note("x"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", '"note"', "{", "[" * 100_000),
        *('{"time": 1}', '{"event": 1, "time": 1}', '{"event": "note", "text": "x"}', '{"event": [], "time": 1}'),
        *(f'{{"event": "note", "text": "x", "time": {time}}}' for time in ('"1"', "1e300", "NaN", "-1", "true")),
    ],
)
def test_a_malformed_line(text: str) -> None:
    """It is read as damaged, with the reason."""
    found = parse(text)
    assert isinstance(found, Damaged)
    assert found.why


class Colour(Enum):
    """An enumeration for the fields below."""

    RED = "red"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 1, 1),
        (float, 1, 1.0),
        (bool, True, True),
        (str | None, None, None),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (tuple[str, int], ["a", 1], ("a", 1)),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (date, "2027-01-15", date(2027, 1, 15)),
        (Colour, "red", Colour.RED),
        (Skip, {"case": "a", "reason": "b", "more": 1}, Skip("a", "b")),
        (tuple[LeftOut, ...], [{"rule": "a", "reason": "b"}], (LeftOut("a", "b"),)),
    ],
    ids=str,
)
def test_a_field_is_read_by_its_type(kind: Any, value: Any, expected: Any) -> None:
    """Unknown fields of a record are ignored."""
    assert fields.read(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((int, value) for value in (True, 1.5, "1", None, 1 << 64, -(1 << 64))),
        *((float, value) for value in (True, "1", 10**400)),
        *((bool, value) for value in (1, "yes")),
        *((tuple[str, ...], value) for value in anything("ab", [1], {})),
        *((tuple[str, int], value) for value in (["a"], ["a", 1, 2], [1, "a"])),
        *((Mapping[str, int], value) for value in anything([], {"a": "b"})),
        *((date, value) for value in ("soon", 20270115, None)),
        *((Colour, value) for value in anything("green", [], None)),
        *((Skip, value) for value in anything({"case": "a"}, {"case": "a", "reason": 1}, [])),
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(kind: Any, value: Any) -> None:
    """Values of another type, and records with missing fields."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is not part of the interface
        fields.read(kind, value)


def damaged(recorded: Recorded, key: str, value: Any) -> Damaged:
    """A line with another value of a field."""
    assert recorded.event is not None
    record = json.loads(line(recorded.event, recorded.time)) | {key: value}
    found = parse(json.dumps(record))
    assert isinstance(found, Damaged)
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("time", value) for value in (None, "x", 1e300, float("nan"), -1)),
        *(("profile", value) for value in (None, {}, {"path": 1})),
        *(("areas", value) for value in anything([], {"DS": {}})),
        *(("rules", value) for value in anything({}, [[]], [{"id": 1, "defects": []}])),
        *(("waivers", value) for value in anything([{}], [{"rule": "v1.one", "reason": "x", "expires": "soon"}])),
        ("device", {"vendor": 1}),
        ("description", []),
    ],
)
def test_a_first_line_with_a_wrong_field(records: Callable[..., list[Recorded]], key: str, value: Any) -> None:
    """Nothing is known about the run; the reason names the field."""
    found = damaged(records("pass")[0], key, value)
    assert isinstance(found, Damaged)
    assert key in found.why


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        *((events.Plan, "cases", value) for value in anything([["x"]], [["x", 1]], {})),
        *((events.Target, "identity", value) for value in anything([], {"transport": 1})),
        *(
            (events.End, "failure", value)
            for value in anything({}, {"seen": "x"}, {"what": "x", "expected": "y"}, [], None)
        ),
        *((events.End, "totals", value) for value in anything([], {"calls": "1"}, None)),
        *(
            (events.End, "measures", value)
            for value in anything({"flows": [{}]}, {"nanoseconds": {"device": {"stop": 0.5}}})
        ),
        *((events.End, "observed", value) for value in anything([], {"how": {}})),
        (events.End, "verdict", "perhaps"),
        (events.End, "time", "x"),
        (events.Finish, "calls", "1"),
    ],
)
def test_a_line_with_a_wrong_field(
    records: Callable[..., list[Recorded]],
    kind: type[Event],
    key: str,
    value: Sequence[Sequence[str | int]] | Mapping[str, Any] | str | None,
) -> None:
    """It is one more reason why the run is incomplete, and the report can still be rendered."""
    lines = [damaged(each, key, value) if isinstance(each.event, kind) else each for each in records("fail")]
    made = summarise(lines)
    assert any("is damaged" in stop.message for stop in made.stops)
    assert "is damaged" in render(made)
