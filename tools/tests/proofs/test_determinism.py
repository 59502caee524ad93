# SPDX-License-Identifier: GPL-2.0-only
"""The same device gets the same verdicts, run after run, in whatever order the cases come."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from proofs import CATALOGUE, DEFECTS

from vfio_compliance.dirty_type1 import fixtures

sys.path.insert(0, str(Path(__file__).parents[1] / "foreign"))

import profiles
from styles import STYLES

#: Rounds of copying memory by its bitmaps, which are many in a run and say nothing about order.
ROUNDS = 20

#: Devices of another hand that are peculiar about when they are asked, or how they get back to where they were.
PECULIAR = ["info-at-open-only", "reset-keeps-state", "no-reset-few-arrows"]

#: Defects that leave something behind.
LEAVING = ["tracking-stale-after-stop", "state-latched-after-failure", "bad-size-outlives-reset"]


@pytest.fixture
def same_in_any_order(judge_in_process, tmp_path, monkeypatch, report_line):
    """Judges a device again and again, each time in another order; takes options, and how many runs there are."""
    monkeypatch.setattr(fixtures, "ROUNDS", ROUNDS)

    def compare(profile, runs, *options, **few):
        first = None
        for run in range(runs):
            order = ["--shuffle"] if run else []
            folder = tmp_path / str(run)
            folder.mkdir()
            result = judge_in_process(profile, folder, *options, f"--seed={run}", *order, **few)
            assert not result.stops
            now = {case.id: (case.verdict.value, case.failure and case.failure.what) for case in result.cases.values()}
            now |= {question: dict(answers) for question, answers in result.observed.items()}
            first = first or now
            assert now.keys() == first.keys()
            differing = {key: (was, now[key]) for key, was in first.items() if now[key] != was}
            assert not differing, f"--shuffle --seed {run}"
        report_line(f"{runs} runs of {profile.stem} in as many orders: the same {len(first)} verdicts and answers")

    return compare


@pytest.mark.timeout(0)
def test_same_verdicts_in_any_order(same_in_any_order, target, pytestconfig):
    """As many runs as ``--runs`` says: each case gets the verdict that it got before, each question the same answer."""
    same_in_any_order(target, pytestconfig.getoption("--runs"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("style", PECULIAR)
def test_same_verdicts_on_a_peculiar_device(same_in_any_order, tmp_path, pytestconfig, style):
    """The same on devices of another hand, by a case of each rule, one run less."""
    profile = profiles.put(style, STYLES[style], tmp_path / "device")
    same_in_any_order(profile, pytestconfig.getoption("--runs") - 1, most=1, whole=STYLES[style].breaks)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("broken", LEAVING)
def test_same_verdicts_on_a_broken_device(same_in_any_order, target, pytestconfig, broken):
    """The same on devices that are broken in a way that outlives the case that shows it."""
    interfaces = {CATALOGUE.rules[rule].interface for rule in DEFECTS[broken]}
    asked = [f"--only={rule.id}" for rule in CATALOGUE if rule.interface in interfaces and not rule.on_request]
    options = (f"--defect={broken}", *asked)
    same_in_any_order(target, pytestconfig.getoption("--runs") - 1, *options, most=1, whole=DEFECTS[broken])
