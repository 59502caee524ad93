# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes: how long the devices were in each state, and what the flows moved and took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ....common.words import counted
from ....common.wrap import wrap
from ...figures import figures
from ...summary import Summary

_UNITS: Final = ((1, "s"), (1e-3, "ms"), (1e-6, "us"))
_MIB: Final = 1 << 20


def time_and_bytes(summary: Summary, width: int) -> Iterator[str]:
    """A line for each device and each kind of flow; of flows the one in the middle."""
    known = figures(summary.measures)
    if not known["states"] and not known["flows"]:
        return
    yield ""
    yield "Time and bytes (for flows: the median of the complete ones)"
    for name, states in known["states"].items():
        text = ", ".join(f"{state} {_time(seconds)}" for state, seconds in states.items())
        yield from wrap(f"  {name:14} ", text, width)
    for kind, flow in known["flows"].items():
        yield from wrap(f"  {kind:14} ", ", ".join(_flow(flow)), width)


def _flow(flow: Mapping[str, Any]) -> Iterator[str]:
    yield f"{flow['whole']} complete" + (f", {flow['unfinished']} cut short" if flow["unfinished"] else "")
    if "bytes" in flow:
        yield f"{counted(flow['bytes']['median'], 'byte')} in {_time(flow['seconds']['median'])}"
    if "bytes_per_second" in flow:
        yield f"{flow['bytes_per_second']['median'] / _MIB:.1f} MiB/s"
    if "downtime" in flow:
        yield f"stopped to last byte {_time(flow['downtime']['median'])}"
    if "downtime_to_running" in flow:
        yield f"to target running {_time(flow['downtime_to_running']['median'])}"


def _time(seconds: float) -> str:
    unit, name = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds / unit:.1f} {name}"
