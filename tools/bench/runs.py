# SPDX-License-Identifier: GPL-2.0-only
"""Cases of whole runs: the cost of one, and how it grows with the rules and with devices judged at the same time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from measuring import Case, Clock, Cost, Effort, Row, beside, interleaved
from targets import OURS, in_c, of_process, of_processes
from vfio_compliance.results import journal
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary

_PROFILE = "profiles/reference.yaml"

#: A run is compared with a fixed loop (c/work.c).
_WORK = "fixed loop"

#: Quarters of the rules; all four are the whole run.
_QUARTERS = (1, 2, 3)
#: Devices that are judged at the same time, each by a run of its own.
_AT_ONCE = (2, 4, 8)


def cases(effort: Effort, *, quick: bool) -> list[Case]:
    """All of them; ``quick`` ones use the plan smoke."""
    plan = "smoke" if quick else "ci"
    return [
        *(Case(f"growth with the rules: {25 * each} %", partial(_part, effort, plan, each)) for each in _QUARTERS),
        Case(f"whole run, plan {plan}; growth with the rules: 100 %", partial(_whole, effort, plan)),
        *(Case(f"growth with the devices: {count} at once", partial(_at_once, effort, count)) for count in _AT_ONCE),
    ]


def command(out: Path, plan: str, *words: str) -> list[str]:
    """A run of the reference device that leaves its results in a folder."""
    return [*OURS, "run", _PROFILE, "--plan", plan, "--out", str(out), *words]


def _work() -> Cost:
    return in_c("work")[0]


def _whole(effort: Effort, plan: str) -> Sequence[Row]:
    name = f"whole run, plan {plan}"
    costs, found, peak = _measured(effort, plan)
    totals = found.totals
    moved = (totals["bytes_read"] + totals["bytes_written"]) >> 10
    done = (
        f"{len(found.cases)} cases, {totals['calls']} calls, {totals['opens']} opens, {totals['resets']} resets, "
        f"{totals['passes']} passes, {moved} KiB moved"
    )
    return [
        _growth("growth with the rules: 100 %", costs, found),
        beside(name, costs, "run", _WORK, note=f"at most {peak >> 10} MiB, all processes together"),
        beside(name, costs, "run", _WORK, Clock.CPU, note=done),
    ]


def _part(effort: Effort, plan: str, quarters: int) -> Sequence[Row]:
    chosen = [rule for number, rule in enumerate(_rules(plan)) if number % 4 < quarters]
    costs, found, _ = _measured(effort, plan, *(word for rule in chosen for word in ("--only", rule)))
    return [_growth(f"growth with the rules: {25 * quarters} %", costs, found)]


@cache
def _rules(plan: str) -> list[str]:
    """The rules of which a plan has cases."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        of_process(command(out, plan))
        return sorted({case.rule for case in summarise(journal.read(out / journal.NAME)).cases.values()})


def _growth(name: str, costs: dict[str, list[Cost]], found: Summary) -> Row:
    ours = sorted(cost.cpu for cost in costs["run"])
    each = ours[len(ours) // 2] / len(found.cases)
    return beside(
        name, costs, "run", _WORK, Clock.CPU, note=f"{each * 1e3:.2f} ms for each of {len(found.cases)} cases"
    )


def _measured(effort: Effort, plan: str, *words: str) -> tuple[dict[str, list[Cost]], Summary, int]:
    """Rounds of a run and the fixed loop; what the last run did, and the most KiB that any run used."""
    with tempfile.TemporaryDirectory() as folder:
        outs: list[Path] = []
        peak = 0

        def run() -> Cost:
            nonlocal peak
            outs.append(Path(folder, str(len(outs))))
            cost, most = of_processes([command(outs[-1], plan, *words)], watched=True)
            peak = max(peak, most)
            return cost

        costs = interleaved({"run": run, _WORK: _work}, effort)
        return costs, summarise(journal.read(outs[-1] / journal.NAME)), peak


def _at_once(effort: Effort, count: int) -> Sequence[Row]:
    """Runs at the same time, compared with the same number in sequence: a second processor makes it less than 1."""
    with tempfile.TemporaryDirectory() as folder:
        made = 0

        def runs(many: int) -> list[list[str]]:
            nonlocal made
            made += many
            return [command(Path(folder, str(made - each)), "smoke") for each in range(many)]

        def alone() -> Cost:
            cost, _ = of_processes(runs(1))
            return Cost(cost.wall * count, cost.cpu * count)

        limit = f"{count} x one run"
        costs = interleaved({"at once": lambda: of_processes(runs(count))[0], limit: alone}, effort)
    name = f"growth with the devices: {count} at once, plan smoke"
    return [beside(name, costs, "at once", limit), beside(name, costs, "at once", limit, Clock.CPU)]
