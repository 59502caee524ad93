# SPDX-License-Identifier: GPL-2.0-only
"""What a run would run, and what that would cost the device, before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator

from ...common.words import counted, printable
from ...common.wrap import wrap
from ..costs import Forecast
from ..summary import Summary
from .terminal.unjudged import left_out

_LABEL = 14


def render(summary: Summary, cost: Forecast, width: int) -> str:
    """Lines for the terminal."""
    return "\n".join(map(printable, _lines(summary, cost, width)))


def _lines(summary: Summary, cost: Forecast, width: int) -> Iterator[str]:
    run, of_device = summary.run, summary.number_of_cases
    rules, own = counted(len(summary.device_verdicts), "rule"), len(summary.suite_verdicts)
    beside = f", and {own} of the suite itself with {counted(len(summary.cases) - of_device, 'case')}" if own else ""
    rounds = f", in {counted(run.rounds, 'round')}" if run.rounds > 1 else ""
    yield from wrap("", f"{run.profile.name}, by plan {run.plan.name}:", width)
    yield from _labelled("cases", f"{of_device} of {rules}{beside}{rounds}", width)
    yield from _labelled("resets", f"about {cost.resets}, as on the reference device", width)
    most = run.limits.get("passes")
    cap = f"; if the state is larger than 1 MiB, {most:g} at most (limits.passes)" if most else ""
    yield from _labelled("save passes", f"about {cost.passes}, as on the reference device{cap}", width)
    if cost.unknown:
        yield from _labelled("unknown", f"the cost of {counted(cost.unknown, 'case')}", width)
    yield from _labelled("time", _time(summary, cost), width)
    yield from left_out(summary, width)
    yield ""
    yield "Nothing was opened, and nothing was judged."


def _time(summary: Summary, cost: Forecast) -> str:
    times, limits = summary.run.times, summary.run.limits
    stated = [
        (key, number, times[key]) for key, number in (("reset", cost.resets), ("save", cost.passes)) if key in times
    ]
    ends = f"a run is ended after {limits.get('run', 0):g} s (limits.run)"
    if not stated:
        return f"unknown: the profile does not say how long a reset and a save pass take (times); {ends}"
    parts = " and ".join(f"{counted(number, 'time')} {each:g} s (times.{key})" for key, number, each in stated)
    total = sum(number * each for _, number, each in stated)
    short = "; raise it" if total > limits.get("run", 0) * summary.run.rounds else ""
    return f"{total:.0f} s for {parts}, and everything else; {ends}{short}"


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    return wrap(f"  {label:{_LABEL}}", text, width)
