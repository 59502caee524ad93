# SPDX-License-Identifier: GPL-2.0-only
"""The same device gets the same verdicts, run after run, in whatever order the cases come."""

from __future__ import annotations

import pytest

from vfio_compliance.dirty_type1 import fixtures

#: Rounds of copying memory by its bitmaps, which are many in a run and say nothing about order.
ROUNDS = 20


@pytest.mark.timeout(0)
def test_same_verdicts_in_any_order(judge_in_process, target, tmp_path, monkeypatch, pytestconfig, tell):
    """As many runs as ``--runs`` says: each case gets the verdict that it got before, each question the same answer."""
    monkeypatch.setattr(fixtures, "ROUNDS", ROUNDS)
    first = None
    runs = pytestconfig.getoption("--runs")
    for run in range(runs):
        order = [f"--seed={run}", "--shuffle"] if run else []
        folder = tmp_path / str(run)
        folder.mkdir()
        result = judge_in_process(target, folder, *order)
        assert not result.stops
        now = {case.id: (case.verdict.value, case.failure and case.failure.what) for case in result.cases.values()}
        now |= {question: dict(answers) for question, answers in result.observed.items()}
        first = first or now
        assert now.keys() == first.keys()
        differing = {key: (was, now[key]) for key, was in first.items() if now[key] != was}
        assert not differing, f"--shuffle --seed {run}"
    tell(f"{runs} runs in as many orders: the same {len(first)} verdicts and answers")
