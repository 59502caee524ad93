# SPDX-License-Identifier: GPL-2.0-only
"""The options of a run, and what they name."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from .. import profiles, rules
from ..common import project
from ..profiles import plan as plans
from ..results import data
from ..results.data import DataStore

#: Seconds in which what an exploration has found is made short.
SHORTENING = 40.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vfio-compliance")
    group.addoption("--profile", type=Path, help="the device to judge: a file of profiles/")
    group.addoption("--journal", type=Path, help="append every event to this file")
    group.addoption("--clock-offset", type=float, help="seconds from the monotonic clock to the time of day")
    group.addoption("--progress-fd", type=int, help="write every event to this descriptor too")
    group.addoption("--inflight-fd", type=int, help="note every call in this shared memory before it is made")
    group.addoption("--rounds", type=int, default=1, help="how many times the cases are to be run; this is the first")
    group.addoption("--handover", type=Path, help="continue a run: what an earlier test process left")
    group.addoption("--only", action="append", default=[], help="a rule, the start of one, a clause, or a case")
    group.addoption(
        "--exclude", action="append", default=[], help="leave out a rule, the start of one, a clause, or a case"
    )
    group.addoption("--plan", help="smoke, ci (the default), certification, or a file with a plan of your own")
    group.addoption(
        "--waivers", type=Path, action="append", default=[], help="a file of known deviations of the device"
    )
    group.addoption("--no-should", action="store_true", help="rules of level should or may do not block")
    group.addoption(
        "--state", type=Path, action="append", default=[], help="at the end, give the device the state of this file"
    )
    group.addoption("--seed", type=int, help="of what is random; every run takes another one unless told")
    group.addoption("--shuffle", action="store_true", help="run the cases in a random order, which the seed gives")
    group.addoption("--keep-data", action="store_true", help="keep all data that was moved beside the journal")
    group.addoption("--stress", metavar="TIME", help="run the rules of suites/stress alone, so long")
    group.addoption("--defect", action="append", default=[], help="break the reference device in this way")


def data_store(config: pytest.Config) -> DataStore | None:
    """Where data is kept; None where that was not asked for."""
    if not config.getoption("--keep-data"):
        return None
    journal: Path | None = config.getoption("--journal")
    if journal is None:
        raise pytest.UsageError("--keep-data needs --journal: the data goes into the same folder")
    try:
        return DataStore(journal.parent / data.NAME)
    except OSError as error:
        raise pytest.UsageError(f"{journal.parent / data.NAME}: {error.strerror}") from None


def stress_seconds(config: pytest.Config) -> float | None:
    """For how long to explore; None where that was not asked for."""
    text: str | None = config.getoption("--stress")
    if text is None:
        return None
    if not importlib.util.find_spec("hypothesis"):
        raise pytest.UsageError("--stress needs the package hypothesis: " + project.pip("stress"))
    try:
        return profiles.duration(text, "1s", "24h")
    except ValueError as error:
        raise pytest.UsageError(f"--stress: {error}") from None


def plan_of(config: pytest.Config, catalogue: rules.Catalogue) -> plans.Plan:
    """The plan of the run. Raises ProfileError."""
    plan = plans.chosen(config.getoption("--plan"))
    if problems := plan.problems(catalogue.rules):
        raise profiles.ProfileError(problems)
    plan = plan.on(os.uname().release)
    return plan.without_should() if config.getoption("--no-should") else plan
