# SPDX-License-Identifier: GPL-2.0-only
"""The rules of a run as tables: one for each area of the device's, and one for the suite itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .faults import OF_THE_SUITE
from .summary import Summary
from .verdict import Verdict


class Table(NamedTuple):
    """Rules that belong together, in order, with their verdicts."""

    title: str
    verdicts: dict[str, Verdict]


def tables(summary: Summary) -> Iterator[Table]:
    """The tables that are not empty. None if the run ended before the first case: then there is only the reason."""
    if not summary.started:
        return
    device = summary.device_verdicts
    areas = [
        Table(title, {rule: verdict for rule, verdict in device.items() if summary.rules[rule].area == area})
        for area, title in summary.run.areas.items()
    ]
    yield from (table for table in (*areas, Table(OF_THE_SUITE.capitalize(), summary.suite_verdicts)) if table.verdicts)


def cases(summary: Summary, rule: str, verdict: Verdict) -> str:
    """How many cases of a rule have its verdict, and of how many if not all do."""
    found = Counter(case.verdict for case in summary.cases_of(rule))
    return str(found[verdict]) if len(found) == 1 else f"{found[verdict]} of {found.total()}"
