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

#: Seconds for shortening what an exploration has found.
SHORTENING = 40.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vfio-compliance")
    group.addoption("--profile", type=Path, help="the device to judge: a file of profiles/")
    group.addoption("--journal", type=Path, help="append every event to this file")
    group.addoption("--clock-offset", type=float, help="seconds from the monotonic clock to the time of day")
    group.addoption("--progress-fd", type=int, help="also write every event to this descriptor")
    group.addoption("--inflight-fd", type=int, help="record every call in this shared memory before it is made")
    group.addoption("--rounds", type=int, default=1, help="how many times to run the cases; this is the first")
    group.addoption("--handover", type=Path, help="continue a run from what an earlier test process left")
    group.addoption("--only", action="append", default=[], help="run only this rule, start of a rule, clause, or case")
    group.addoption(
        "--exclude", action="append", default=[], help="leave out this rule, start of a rule, clause, or case"
    )
    group.addoption("--plan", help="smoke, ci (the default), certification, or the file of your own plan")
    group.addoption(
        "--waivers", type=Path, action="append", default=[], help="a file of known deviations of the device"
    )
    group.addoption("--no-should", action="store_true", help="rules of level should or may do not block")
    group.addoption(
        "--state", type=Path, action="append", default=[], help="at the end, restore this state on the device"
    )
    group.addoption("--seed", type=int, help="the random seed; by default, each run draws one")
    group.addoption("--shuffle", action="store_true", help="run the cases in a random order, given by the seed")
    group.addoption("--keep-data", action="store_true", help="keep all data that was moved, next to the journal")
    group.addoption("--stress", metavar="TIME", help="run only the rules of suites/stress, for this long")
    group.addoption("--defect", action="append", default=[], help="break the reference device in this way")


def data_store(config: pytest.Config) -> DataStore | None:
    """Where data is kept; None if that was not requested."""
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
    """For how long to explore; None if that was not requested."""
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
