# SPDX-License-Identifier: GPL-2.0-only
"""How much was done, counted from the recorded calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..common.calls import NO_CALLS, OMITTED, SECOND, Call, plain
from ..uapi.requests import VFIO_DEVICE_RESET


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of recorded calls, by their names in the event ``finish``."""

    calls: int = 0
    opens: int = 0
    resets: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


def count(calls: Sequence[Call]) -> Totals:
    """The totals of calls. A call that failed has moved nothing; a failed reset still counts."""
    made = read = written = opens = resets = 0
    for call in plain(calls):
        verb, times, value = call["verb"], call.get("times", 1), call.get("value", 0)
        if verb in NO_CALLS:
            continue
        made += call.get("number", 0) if verb == OMITTED else times
        if value < 0 and verb != "ioctl":
            continue
        if verb == "read":
            read += value * times
        elif verb == "write":
            written += value * times
        elif verb in ("open", "ioctl") and call["target"].removeprefix(SECOND) == "device":
            opens += times * (verb == "open" and not call.get("errno"))
            resets += times * (verb == "ioctl" and call.get("number") == VFIO_DEVICE_RESET)
    return Totals(made, opens, resets, read, written)
