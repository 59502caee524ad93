# SPDX-License-Identifier: GPL-2.0-only
"""What the cases of a rule cost, as counted by a run of the reference device, and an estimate for other runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .summary import Summary
from .verdict import Verdict

#: Written by ``python -m vfio_compliance.cli.costs RUN``.
TABLE = Path(__file__).with_name("costs.json")


class Cost(NamedTuple):
    """Of a number of cases: how often the device was reset, and its whole state saved."""

    cases: int
    resets: float
    passes: float


class Forecast(NamedTuple):
    """What a run will cost, as on the reference device."""

    cases: int
    resets: int
    passes: int
    #: How many of the cases are of rules without a measurement on the reference device.
    unknown: int


def measured(summary: Summary) -> dict[str, Cost]:
    """What each rule of a run cost, if all its cases were judged to their end."""
    costs = {}
    for rule, verdict in summary.verdicts.items():
        if verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE):
            continue
        cases = summary.cases_of(rule)
        resets = sum(case.totals.resets for case in cases)
        costs[rule] = Cost(len(cases), resets, sum(case.passes for case in cases))
    return costs


def table() -> dict[str, Cost]:
    """What was measured on the reference device."""
    return {rule: Cost(*numbers) for rule, numbers in json.loads(TABLE.read_text(encoding="utf-8")).items()}


def forecast(summary: Summary, costs: Mapping[str, Cost]) -> Forecast:
    """What the cases of a run will cost, in all its rounds."""
    resets = passes = 0.0
    unknown = 0
    for case in summary.cases.values():
        cost = costs.get(case.rule)
        if cost is None:
            unknown += 1
            continue
        resets += cost.resets / cost.cases
        passes += cost.passes / cost.cases
    rounds = summary.run.rounds
    return Forecast(len(summary.cases) * rounds, round(resets * rounds), round(passes * rounds), unknown * rounds)
