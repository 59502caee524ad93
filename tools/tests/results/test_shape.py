# SPDX-License-Identifier: GPL-2.0-only
"""Records of a journal in which a field is not of its type."""

from __future__ import annotations

import pytest
from vfio_compliance.results.shape import fits, is_call, is_record
from vfio_compliance.results.terminal import render

from vfio_compliance.results.journal import JournalError
from vfio_compliance.results.summary import summarise

CALL = ["read", "region 9", 8, 8, "", "0100000000000000", 8, 0, 12, 3]


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (None, (str, None), True),
        (1.5, (int, float), True),
        (["a", 1], [str], False),
        ({"a": 1, "b": "x"}, {"a": int, str: str}, True),
        ({"a": 1, "b": 2}, {"a": int, str: str}, False),
        ({"b": "x"}, {"a": int, str: str}, False),
        ({}, {"a?": int}, True),
        ({"a": "x"}, {"a?": int}, False),
        ({"b": []}, {"a?": int}, True),
    ],
)
def test_values_fit_shapes(value, shape, expected):
    """Types are told apart, keys may be missing or others, lists are of one shape."""
    assert fits(value, shape) is expected


@pytest.mark.parametrize(
    "call",
    [None, [], CALL[:9], [*CALL, "ab", "cd"], [*CALL, "xy"], [*CALL[:2], "8", *CALL[3:]], [*CALL[:4], "0", *CALL[5:]]],
)
def test_what_is_no_call(call):
    """Too few or too many fields, a text for a number, odd or other digits."""
    assert is_call(CALL)
    assert not is_call(call)


def test_good_records_are_taken(records):
    """All that a run writes is of the shape that is asked for."""
    assert all(map(is_record, records("pass", "fail", others=("pass", "n/a"))))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("time", value) for value in (None, "x", 1e300, float("nan"), -1)),
        *(("profile", value) for value in (None, {}, {"path": 1})),
        *(("areas", value) for value in ([], {"DS": {}})),
        *(("rules", value) for value in ({}, [[]], [{"id": 1, "defects": []}])),
        *(("waivers", value) for value in ([{}], [{"rule": "v1.one", "expires": "soon"}])),
        ("device", {"vendor": 1}),
        ("description", []),
    ],
)
def test_a_first_record_with_a_wrong_field(records, key, value):
    """It is none of this version."""
    run, *rest = records("pass")
    with pytest.raises(JournalError, match="first record"):
        summarise([run | {key: value}, *rest])


@pytest.mark.parametrize(
    ("event", "key", "value"),
    [
        *(("plan", "cases", value) for value in ([["x"]], [["x", 1]], {})),
        *(("target", "identity", value) for value in ([], {"transport": 1})),
        *(("end", "failure", value) for value in ({}, {"seen": "x"}, {"what": "x", "expected": "y"}, [])),
        *(("end", "calls", value) for value in ([[]], [CALL[:9]], None)),
        *(("end", "observed", value) for value in ([], {"how": {}})),
        ("end", "verdict", "perhaps"),
        ("end", "time", "x"),
        ("finish", "calls", "1"),
    ],
)
def test_a_record_with_a_wrong_field(records, event, key, value):
    """It is one more reason why not everything could be judged, and the report can be shown."""
    made = summarise([record | ({key: value} if record["event"] == event else {}) for record in records("fail")])
    assert any("is damaged" in stop["message"] for stop in made.stops)
    assert "is damaged" in render(made)
