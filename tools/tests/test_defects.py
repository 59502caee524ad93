# SPDX-License-Identifier: GPL-2.0-only
"""Every rule can fail: each defect of the reference device is caught by the test of the rule that it breaks.

``--target profiles/refdriver-kernel.yaml`` proves the same on the kernel module, where it is loaded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_compliance import profiles, spec
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.spec.tests import find

PROJECT = Path(__file__).resolve().parents[2]

TESTS = {test.rule: f"{test.file}::{test.name}" for test in find(PROJECT / "suites")}
PROOFS = [(rule, defect) for rule in spec.load(PROJECT / "suites") for defect in rule.defects]


def breakable(rule: spec.Rule, target: Path) -> bool:
    """Whether the reference driver that is the target can break this rule: a server breaks what a kernel keeps, too."""
    return rule.side != "kernel" or profiles.load(target).device.transport != "kernel-group"


@pytest.mark.parametrize(("rule", "defect"), PROOFS, ids=[f"{rule.id}-{defect}" for rule, defect in PROOFS])
def test_defect_is_caught(judge_in_process, target, tmp_path, rule, defect):
    """With the defect the rule is broken, and the failure says what was expected and what was seen."""
    if not breakable(rule, target):
        pytest.skip("a driver cannot break what the kernel does for it")
    result = judge_in_process(target, tmp_path, TESTS[rule.id], f"--defect={defect}")
    assert not result.stops, result.stops
    assert result.verdicts == {rule.id: Verdict.FAIL}
    for case in result.cases.values():
        if case.verdict is Verdict.FAIL:
            assert case.failure["expected"] != case.failure["seen"]


def test_good_device_passes(judge_in_process, target, tmp_path):
    """Without a defect all these rules hold: what is caught above is the defect and nothing else."""
    provable = dict.fromkeys(rule.id for rule, _ in PROOFS if breakable(rule, target))
    result = judge_in_process(target, tmp_path, *(TESTS[rule] for rule in provable))
    assert result.verdicts == dict.fromkeys(provable, Verdict.PASS)
