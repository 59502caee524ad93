# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes of a run as numbers: the part of ``flows`` that every format has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ..common.words import counted
from .flows import KINDS, Measures

_UNITS: Final = ((1, "s"), (1e-3, "ms"), (1e-6, "us"))
_MIB: Final = 1 << 20

#: Which numbers of flows are given in words.
OF_FLOWS: Final = "the median of the complete ones"


def figures(measures: Measures) -> dict[str, Any]:
    """Seconds, bytes and bytes per second: for each device by state, and for each kind of flow."""
    states = {
        name: {state: spent / 1e9 for state, spent in known.items()} for name, known in measures.nanoseconds.items()
    }
    return {"states": states, "flows": dict(_flows(measures))}


def _flows(measures: Measures) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in KINDS:
        flows, unfinished = measures.of(kind), measures.unfinished.get(kind, 0)
        if not flows and not unfinished:
            continue
        spreads = {
            "bytes": spread(flow.moved for flow in flows),
            "seconds": spread(flow.seconds for flow in flows),
            "call_seconds": spread(flow.call_seconds for flow in flows),
            "bytes_per_second": spread(flow.throughput for flow in flows),
            "downtime": spread(flow.downtime for flow in flows),
            "downtime_to_running": spread(flow.downtime_to_running for flow in flows),
        }
        known = {name: each for name, each in spreads.items() if each}
        yield kind, {"whole": len(flows), "unfinished": unfinished, **known}


def spread(values: Iterable[float | None]) -> dict[str, float]:
    """The minimum, median and maximum of the known values; empty if none is known."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return {}
    return {"number": len(known), "least": known[0], "median": known[len(known) // 2], "most": known[-1]}


def flow_in_words(flow: Mapping[str, Any]) -> Iterator[str]:
    """What ``figures`` has of one kind of flow, part by part; of each spread the median."""
    yield f"{flow['whole']} complete" + (f", {flow['unfinished']} cut short" if flow["unfinished"] else "")
    if "bytes" in flow:
        yield f"{counted(flow['bytes']['median'], 'byte')} in {time_in_words(flow['seconds']['median'])}"
    if "bytes_per_second" in flow:
        yield f"{flow['bytes_per_second']['median'] / _MIB:.1f} MiB/s"
    if "downtime" in flow:
        yield f"stopped to last byte {time_in_words(flow['downtime']['median'])}"
    if "downtime_to_running" in flow:
        yield f"to target running {time_in_words(flow['downtime_to_running']['median'])}"


def time_in_words(seconds: float) -> str:
    """With one digit after the decimal point, in the unit that keeps it short."""
    unit, name = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds / unit:.1f} {name}"


def flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Each number in nested mappings, by its keys joined with dots."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
