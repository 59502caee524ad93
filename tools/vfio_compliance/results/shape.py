# SPDX-License-Identifier: GPL-2.0-only
"""What the records of a journal look like, so that who reads one that was damaged need not ask at each step."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Final, TypeAlias

#: A type, or None; a list with the shape of its items; a mapping from keys to shapes, in which ``str`` stands for any
#: other key and a key that ends in "?" may be missing; several that will do; or a function that decides.
Shape: TypeAlias = "type[Any] | list[Any] | dict[Any, Any] | tuple[Any, ...] | Callable[[Any], bool] | None"

#: Seconds since 1970 up to which there are dates.
_LAST_SECOND = 253_402_300_799


def fits(value: Any, shape: Shape) -> bool:
    """Whether a value read from JSON is of a shape. True and false are no numbers."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and _record_fits(value, shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if shape is None or isinstance(shape, type):
        return value is None if shape is None else type(value) is shape
    return shape(value)


def _record_fits(value: dict[str, Any], shape: dict[Any, Any]) -> bool:
    named = {key.rstrip("?"): key for key in shape if isinstance(key, str)}
    if any(name not in value for name, key in named.items() if not key.endswith("?")):
        return False
    others = shape.get(str)
    return all(
        fits(item, shape[named[key]]) if key in named else others is None or fits(item, others)
        for key, item in value.items()
    )


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _LAST_SECOND


def _is_date(value: Any) -> bool:
    try:
        datetime.date.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_pair(value: Any) -> bool:
    return fits(value, [str]) and len(value) == 2


_RULE: Final[Shape] = {
    "defects": ([str], {str: str}),
    "also?": [str],
    "provokes?": [str],
    "stands_on?": [str],
    "blocking?": bool,
    "on_request?": bool,
    str: str,
}

_WAIVER: Final[Shape] = {
    "rule": str,
    "reason": str,
    "case": (str, None),
    "shows": (str, None),
    "expires": (_is_date, None),
    "sometimes": bool,
}

_PLAN: Final[Shape] = {"name": str, "path?": str, "left_out": [{"rule": str, "reason": str}]}

_SELECTION: Final[Shape] = {"only": [str], "skip": [str], "rules": int, "cases": int}

#: Saying what was expected without what was seen says nothing.
_FAILURE: Final[Shape] = ({"what": str, "expected": str, "seen": str, str: str}, {"what": str, str: str})


def _is_failure(value: Any) -> bool:
    return fits(value, _FAILURE) and ("expected" not in value or "seen" in value)


#: By event; what is not listed here is of no interest to a report.
RECORDS: Final[dict[str, Shape]] = {
    "run": {
        "time": _is_time,
        "profile": {"path": str, str: str},
        "description?": str,
        "version?": str,
        "kernel?": str,
        "device?": {str: str},
        "defects": [str],
        "areas": {str: str},
        "rules": [_RULE],
        "waivers": [_WAIVER],
        "interfaces?": [str],
        "plan?": _PLAN,
        "selection?": _SELECTION,
        "skips?": [{"case": str, "reason": str}],
    },
    "plan": {"cases": [_is_pair]},
    "target": {"identity?": {str: str}, "migration?": (int, None)},
    "start": {"case": str, "rule": str},
    "end": {
        "case": str,
        "rule": str,
        "verdict": str,
        "seconds": (int, float),
        "failure": (None, _is_failure),
        "failed_call?": int,
        "observed": {str: str},
        "stands_on?": [_is_object],
        "calls": [_is_object],
    },
    "opening": {"calls": [_is_object]},
    "note": {"text": str},
    "kernel": {"case": (str, None), "lines": [str]},
    "broken": {"message": str, "remedy": str, "case?": (str, None)},
    "death": {"who": str, "how": str, "when": str, "case": (str, None)},
    "process": {"number": int, "why": str},
    "lost": {"message": str},
    "hang": {"case": (str, None), "message": str, "remedy": str},
    "unanswered": {"message": str, "remedy": str},
    "finish": {
        **dict.fromkeys(("calls", "opens", "resets", "bytes_read", "bytes_written", "passes?"), int),
    },
}


def is_record(record: Any) -> bool:
    """Whether a record is of the shape of its event, and says when that was."""
    return fits(record, {"event": str, "time": _is_time}) and fits(record, RECORDS.get(record["event"], {}))
