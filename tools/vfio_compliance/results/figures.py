# SPDX-License-Identifier: GPL-2.0-only
"""Time and bytes of a run as numbers: what every format has of ``flows``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .flows import KINDS, Measures


def figures(measures: Measures) -> dict[str, Any]:
    """Seconds, bytes, and bytes a second: of each device by state, and of each kind of flow."""
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
    """The least, the one in the middle and the most, of those that are known; nothing where none is."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return {}
    return {"number": len(known), "least": known[0], "median": known[len(known) // 2], "most": known[-1]}


def flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Each number of nested ones, by a name whose parts have dots between them."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
