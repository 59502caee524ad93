# SPDX-License-Identifier: GPL-2.0-only
"""The table of rows, for people as text, and for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from measuring import Row, Spread, spread
from vfio_compliance.common.words import columns

_HEAD: Final = ("case", "ours", "limit", "the limit is", "clock", "ratio (quartiles)", "aim", "rounds", "")
_SIZES: Final = (("GiB", 30), ("MiB", 20), ("KiB", 10), ("bytes", 0))
_UNITS: Final = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
#: Columns of numbers.
_NUMBERS: Final = frozenset({1, 2, 5, 7})


def size_in_words(size: int) -> str:
    """A number of bytes in the largest unit that gives at least 1: ``64 MiB``."""
    return next(f"{size >> shift} {unit}" for unit, shift in _SIZES if size >> shift or not shift)


def time_in_words(seconds: float) -> str:
    """A time in a readable unit: ``31.4 us``."""
    unit, size = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    number = seconds / size
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f} {unit}"


def ratio_in_words(ratios: Spread) -> str:
    """``1.25 (1.22-1.31)``."""
    return f"{ratios.median:.2f} ({ratios.lower:.2f}-{ratios.upper:.2f})"


def aim_in_words(row: Row) -> str:
    """``<= 1.30 met``, or by how much it is missed; empty without an aim."""
    if row.aim is None:
        return ""
    said = f"<= {row.aim:.2f}"
    if row.met is None:
        return said
    return f"{said} met" if row.met else f"{said} missed by {spread(row.ratios).median / row.aim - 1:.0%}"


def as_text(rows: Sequence[Row]) -> str:
    """The table, one line for each row."""
    return "\n".join(columns([_HEAD, *map(_cells, rows)], _NUMBERS))


def _cells(row: Row) -> tuple[str, ...]:
    if not row.measured:
        return (row.case, "", "", row.limit, row.clock.value, "", aim_in_words(row), "", row.note)
    ours, theirs, ratios = (spread(values) for values in (row.ours, row.theirs, row.ratios))
    figures = (
        time_in_words(ours.median),
        time_in_words(theirs.median),
        row.limit,
        row.clock.value,
        ratio_in_words(ratios),
    )
    return (row.case, *figures, aim_in_words(row), str(len(row.ours)), row.note)


def as_json(machine: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The same for programs: an object with ``machine`` and ``rows``; times are in seconds, of one operation."""
    return json.dumps({"format": 1, "machine": dict(machine), "rows": [*map(_fields, rows)]}, indent=1) + "\n"


def _fields(row: Row) -> dict[str, Any]:
    named: dict[str, Any] = {"case": row.case, "limit": row.limit, "clock": row.clock.value}
    if row.measured:
        for name, values in (("ours", row.ours), ("theirs", row.theirs), ("ratio", row.ratios)):
            named[name] = spread(values)._asdict() | {"rounds": list(values)}
    return named | {"aim": row.aim, "met": row.met, "note": row.note}
