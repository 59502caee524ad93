# SPDX-License-Identifier: GPL-2.0-only
"""How much was done, by the calls that were recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..common.calls import OMITTED, SECOND, Call, plain
from ..uapi.requests import VFIO_DEVICE_RESET


def count(calls: Sequence[Call]) -> Counter[str]:
    """Totals of recorded calls, by the names that a ``finish`` record has for them."""
    made = read = written = opens = resets = 0
    for call in plain(calls):
        verb, times, value = call["verb"], call.get("times", 1), call.get("value", 0)
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
    return Counter(calls=made, bytes_read=read, bytes_written=written, opens=opens, resets=resets)


def number(calls: Sequence[Call]) -> int:
    """How many calls they are."""
    return sum(call.get("number", 0) if call["verb"] == OMITTED else call.get("times", 1) for call in plain(calls))
