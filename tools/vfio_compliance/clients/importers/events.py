# SPDX-License-Identifier: GPL-2.0-only
"""The syntax of QEMU's trace events, as its log back end writes them: from lines to events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from .lines import Line

_EVENT: Final = re.compile(
    rb"\s{0,20}(?:\d{1,10}@(?P<time>\d{1,12}\.\d{1,9}):)?(?P<name>vfio_[a-z0-9_]{1,60}) (?P<text>.{0,4000})", re.DOTALL
)


class Event(NamedTuple):
    """One event."""

    line: int
    #: Seconds; None if QEMU did not write them.
    time: float | None
    name: str
    #: What follows the name.
    text: str
    #: The line is incomplete.
    cut: bool


def read(lines: Iterable[Line]) -> Iterator[Event]:
    """The events of VFIO; everything else in the log is skipped."""
    for line in lines:
        if found := _EVENT.match(line.text):
            time = float(found["time"]) if found["time"] else None
            text = found["text"].decode(errors="backslashreplace")
            yield Event(line.number, time, found["name"].decode(), text, line.cut)
