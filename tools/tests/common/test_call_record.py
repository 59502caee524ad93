# SPDX-License-Identifier: GPL-2.0-only
"""The record of a call: to JSON and back, and repeated calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from vfio_compliance.common.calls import Behind, Call, Calls, Span, folded

DIGEST = "0123456789abcdef" * 4

CALLS = [
    Call("read", "region 9", 8, 8, b"", b"\1\0", 2, 0, 5, 6, serial=1, part="set-up"),
    Call("write", "region 9", 0x1000, 100, bytes(64), b"", -1, 22, 1, 2, DIGEST, serial=3, times=4),
    Call("ioctl", "container", 15221, 8, b"\1" * 8, b"\2" * 8, behind=Behind(2, b"\5\0", "", 2, (0, 2))),
    Call("ioctl", "container", 15221, 8, b"\1" * 8, b"\1" * 8, behind=Behind(100, b"", DIGEST)),
    Call("ioctl", "container", 15221, 8, b"\1" * 8, b"\1" * 8, behind=Behind(8, bytes(8), readonly=True)),
    Call("ioctl", "device", 15215),
    Call("omitted", "", 2**64 - 1),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.verb)
def test_json_and_back(call: Call) -> None:
    """JSON has the fields by name, and is read as the same record."""
    value = json.loads(json.dumps(call.to_json()))
    assert Call.from_json(value) == call
    assert not {"times", "errno"} & Call("read", "region 9").to_json().keys()


def test_an_unchanged_argument_is_in_json_once() -> None:
    assert [("received" in call.to_json()) for call in CALLS[2:4]] == [True, False]


#: Wrong records of the memory that an argument points to.
BAD_BEHIND: list[Any] = [None, {}, {"size": -1}, {"size": 1, "first": [-1]}, {"first": []}]

GOOD: dict[str, Any] = {"verb": "read", "target": "region 9"}


@pytest.mark.parametrize(
    "value",
    [
        *([], None, "read", {}, {"verb": "read"}, {"target": "device"}),
        *(GOOD | {"number": number} for number in ("1", -1, 2**64, 1.0, True, None)),
        *(GOOD | {"value": value} for value in (-2, 2**64, "x")),
        *(GOOD | {"sent": sent} for sent in ("0", "zz", "01 02", 5, None)),
        *(GOOD | {"sent_digest": digest} for digest in ("", "ab", DIGEST.upper(), 1)),
        *(GOOD | {"behind": behind} for behind in BAD_BEHIND),
        *(
            GOOD | {"behind": {"size": 1, "readonly": 1}},
            GOOD | {"behind": {"size": 1, "first": 1}},
            GOOD | {"times": 0},
            GOOD | {"part": "lunch"},
        ),
        *(GOOD | {"colour": "red"}, GOOD | {"verb": 1}, GOOD | {"part": []}),
    ],
    ids=str,
)
def test_wrong_records_of_a_call(value: Sequence[Any] | str | Mapping[str, Any] | None) -> None:
    """Wrong types, digits and ranges, fields that are missing or unknown."""
    with pytest.raises(ValueError, match=r"expected|has no|no field|hexadecimal"):
        Call.from_json(value)


@pytest.mark.parametrize("value", [[], {}, {"first": 1, "last": 2}, {"first": 1, "last": "2", "case": "x"}], ids=str)
def test_wrong_records_of_a_span(value: Sequence[Any] | Mapping[str, Any]) -> None:
    """The same for a range of calls."""
    span = Span(1, 2, "x")
    assert Span.from_json(span.to_json()) == span
    with pytest.raises(ValueError, match=r"expected|has no"):
        Span.from_json(value)


def test_repeated_calls_are_one_record() -> None:
    """With the number of the first, their count and total duration; not across parts of a case."""
    calls = [
        CALLS[0]._replace(serial=serial, duration_ns=serial, part="body" if serial > 3 else "set-up")
        for serial in range(1, 6)
    ]
    first, second = Calls(folded(calls))
    assert (first.serial, first.times, first.last, first.duration_ns) == (1, 3, 3, 6)
    assert (second.serial, second.times, second.last, second.duration_ns) == (4, 2, 5, 9)


def test_times_without_noise() -> None:
    """The start in whole microseconds; a duration to the nanosecond below ten microseconds, else with three digits."""
    short, long = (CALLS[0]._replace(started_ns=1_234_567, duration_ns=duration) for duration in (9_999, 12_345))
    (call,) = Calls(folded([short]))
    assert (call.started_ns, call.duration_ns) == (1_234_000, 9_999)
    (call,) = Calls(folded([long]))
    assert (call.started_ns, call.duration_ns) == (1_234_000, 12_300)
