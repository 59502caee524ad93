# SPDX-License-Identifier: GPL-2.0-only
"""The cost of a run, estimated from counts on the reference device, and how a dry run shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from stories import CALL, case, ended, made_by, run_of

from vfio_compliance import rules
from vfio_compliance.common.calls import Call
from vfio_compliance.results import costs
from vfio_compliance.results.costs import Cost, Forecast
from vfio_compliance.results.events import End
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers import dry
from vfio_compliance.uapi.vfio import VFIO_DEVICE_RESET

RESET = Call("ioctl", "device", VFIO_DEVICE_RESET, serial=9, times=2)


def planned(*names: str, **run: Any) -> Summary:
    """A plan of these cases, none of which was run."""
    return summarise(run_of(planned=names, **run))


def test_measured_costs() -> None:
    """Resets are counted from the calls of the cases, passes as recorded by each case."""
    end = End(case("a[1]"), "v1.a", Verdict.PASS, 0.1, None, {}, **made_by((CALL, RESET)), passes=3)
    others = [ended("a[2]", "pass"), ended("b", "pass"), ended("c", "not-run"), ended("d", "fail")]
    assert costs.measured(summarise(run_of(end, *others))) == {"v1.a": Cost(2, 2, 3), "v1.b": Cost(1, 0, 0)}


def test_forecast_of_a_run() -> None:
    """In proportion to the number of cases, for all rounds; cases with unknown costs are counted."""
    known = {"v1.a": Cost(4, 8, 2), "v1.b": Cost(1, 1, 0)}
    plan = planned("a[1]", "a[2]", "b", "c", rounds=3)
    assert costs.forecast(plan, known) == Forecast(12, 15, 3, 3)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({}, "time unknown: the profile does not say how long a reset and a save pass take (times); a run is ended"),
        ({"reset": 1.5}, "time 15 s for 10 times 1.5 s (times.reset), and everything else; a run is ended after 60 s"),
        (
            {"reset": 1.5, "save": 20.0},
            "time 95 s for 10 times 1.5 s (times.reset) and 4 times 20 s (times.save), and everything else; a run",
        ),
    ],
)
def test_forecast_as_text(times: Mapping[str, float], words: str) -> None:
    """With the time, as far as the profile states it, and the limits of the run."""
    plan = planned("a", "b", times=times, limits={"run": 60.0, "passes": 4.0})
    text = " ".join(dry.render(plan, Forecast(2, 10, 4, 1), 100).split())
    assert words in text
    assert "cases 2 of 2 rules resets about 10, as on the reference device save passes about 4" in text
    assert text.count("after 60 s (limits.run); raise it") == (len(times) == 2)
    assert "larger than 1 MiB, 4 at most (limits.passes)" in text
    assert "unknown the cost of 1 case" in text
    assert text.endswith("Nothing was opened, and nothing was judged.")


def test_every_rule_was_measured(project: Path) -> None:
    """The table has exactly the rules of the suites, except those that only --stress runs."""
    wanted = {rule.id for rule in rules.load(project / "suites") if not rule.on_request}
    assert costs.table().keys() == wanted, "renew it: python -m vfio_compliance.cli.costs RUN"
