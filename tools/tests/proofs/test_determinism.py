# SPDX-License-Identifier: GPL-2.0-only
"""The same device gets the same verdicts in each run, whatever the order of the cases."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proofs import CATALOGUE, DEFECTS

from vfio_compliance.dirty_type1 import fixtures
from vfio_compliance.results.summary import Summary

sys.path.insert(0, str(Path(__file__).parents[1] / "foreign"))

import profiles
from styles import STYLES

#: Rounds of copying memory by its bitmaps: a usual run makes more, which show nothing about order.
ROUNDS = 20

#: Devices by another author, for which it matters when they are asked, or how they return to running.
PECULIAR = ["info-at-open-only", "reset-keeps-state", "no-reset-few-arrows"]

#: Defects that leave something behind.
LEAVING = ["tracking-stale-after-stop", "state-latched-after-failure", "bad-size-outlives-reset"]


@pytest.fixture
def same_in_any_order(
    judge_in_process: Callable[..., Summary],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    report_line: Callable[[str], None],
) -> Callable[..., None]:
    """Judges a device the given number of times, each time in another order, with the given options."""
    monkeypatch.setattr(fixtures, "ROUNDS", ROUNDS)

    def compare(profile: Path, runs: int, *options: str, **few: Any) -> None:
        first: dict[str, object] = {}
        for run in range(runs):
            order = ["--shuffle"] if run else []
            folder = tmp_path / str(run)
            folder.mkdir()
            result = judge_in_process(profile, folder, *options, f"--seed={run}", *order, **few)
            assert not result.stops
            now: dict[str, object] = {
                case.id: (case.verdict.value, case.failure and case.failure.what) for case in result.cases.values()
            }
            now |= {question: dict(answers) for question, answers in result.observed.items()}
            first = first or now
            assert now.keys() == first.keys()
            differing = {key: (was, now[key]) for key, was in first.items() if now[key] != was}
            assert not differing, f"--shuffle --seed {run}"
        report_line(f"{runs} runs of {profile.stem} in as many orders: the same {len(first)} verdicts and answers")

    return compare


@pytest.mark.timeout(0)
def test_same_verdicts_in_any_order(
    same_in_any_order: Callable[..., None], target: Path, pytestconfig: pytest.Config
) -> None:
    """In ``--runs`` runs, each case gets the same verdict, and each question the same answer."""
    same_in_any_order(target, pytestconfig.getoption("--runs"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("style", PECULIAR)
def test_same_verdicts_on_a_peculiar_device(
    same_in_any_order: Callable[..., None], tmp_path: Path, pytestconfig: pytest.Config, style: str
) -> None:
    """The same on devices by another author, by a case of each rule, with one run fewer."""
    profile = profiles.put(style, STYLES[style], tmp_path / "device")
    same_in_any_order(profile, pytestconfig.getoption("--runs") - 1, most=1, whole=STYLES[style].breaks)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("broken", LEAVING)
def test_same_verdicts_on_a_broken_device(
    same_in_any_order: Callable[..., None], target: Path, pytestconfig: pytest.Config, broken: str
) -> None:
    """The same on devices whose fault outlives the case that shows it."""
    interfaces = {CATALOGUE.rules[rule].interface for rule in DEFECTS[broken]}
    asked = [f"--only={rule.id}" for rule in CATALOGUE if rule.interface in interfaces and not rule.on_request]
    options = (f"--defect={broken}", *asked)
    same_in_any_order(target, pytestconfig.getoption("--runs") - 1, *options, most=1, whole=DEFECTS[broken])
