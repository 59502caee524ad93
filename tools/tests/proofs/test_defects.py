# SPDX-License-Identifier: GPL-2.0-only
"""Every rule can fail: each defect of the reference device is caught by the test of the rule that it breaks.

All rules of the interface judge the broken device, and none but those that are written down as broken by the defect
fail. Of rules that are not there to catch it a case is taken; ``--whole`` takes all cases of all rules. ``--target
profiles/refdriver-kernel.yaml`` proves the same on the kernel module, where it is loaded.
"""

from __future__ import annotations

import pytest
import yaml
from proofs import CATALOGUE, DEFECTS, shown, side_failures

from vfio_compliance import profiles
from vfio_compliance.dirty_type1 import fixtures
from vfio_compliance.migration_v1.exploration import stress
from vfio_compliance.results.summary import TROUBLE
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.sections import PROFILE

#: What is judged on request only, each rule with each of its defects.
EXPLORED = [(rule.id, defect) for rule in CATALOGUE if rule.on_request for defect in rule.defects]

#: Found by a walk through two migrations, for which an emulated machine makes too few walks.
LATE = ("left-cancelled-kept", "resume-again-ignored")

#: Cases of each rule beside those that the defect is there to break, and rounds of copying memory by its bitmaps.
CASES, ROUNDS = 1, 6


@pytest.fixture(scope="module")
def in_kernel(target) -> bool:
    """Whether the reference driver is the kernel module."""
    return profiles.load(target, PROFILE).device.transport == "kernel-group"


@pytest.fixture(scope="module")
def lacks(in_kernel, project):
    """Whether a defect is none of the kernel module, which has no interrupts, for one."""
    table = (project / "tools/kmod/defects/defects.h").read_text()
    return lambda defect: in_kernel and f'"{defect}"' not in table


@pytest.fixture(scope="module")
def breakable(in_kernel) -> set[str]:
    """The rules that the reference driver can break: behind a kernel not those that the kernel keeps for it."""
    return {rule.id for rule in CATALOGUE if not rule.on_request and not (in_kernel and rule.side == "kernel")}


@pytest.fixture
def judge_defect(judge_in_process, target, tmp_path, breakable, monkeypatch, pytestconfig):
    """Judges the device with a defect by every rule that the driver can break, of the interface that it is about."""
    whole = pytestconfig.getoption("--whole")

    def judge(defect):
        interfaces = {CATALOGUE.rules[rule].interface for rule in DEFECTS[defect]}
        judging = [rule for rule in sorted(breakable) if whole or CATALOGUE.rules[rule].interface in interfaces]
        only = [f"--only={rule}" for rule in judging]
        if not whole and DEFECTS[defect].keys().isdisjoint(LONG):
            monkeypatch.setattr(fixtures, "ROUNDS", ROUNDS)
        few = {} if whole else {"most": CASES, "whole": DEFECTS[defect]}
        return judge_in_process(target, tmp_path, *only, f"--defect={defect}", **few)

    return judge


#: Rules whose cases go on until enough has happened.
LONG = {"dirty.history.never-a-false-clean"}


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_is_caught(judge_defect, breakable, lacks, pytestconfig, count, defect):
    """The rule that it is there to break is broken, with a message that says how, and no other one by surprise."""
    proves = {rule: shows for rule, shows in DEFECTS[defect].items() if rule in breakable}
    if not proves:
        pytest.skip("a driver cannot break what the kernel does for it")
    if lacks(defect):
        pytest.skip("the kernel module does not have this defect")
    result = judge_defect(defect)
    assert not result.stops, result.stops
    broken = {rule: verdict for rule, verdict in result.verdicts.items() if verdict in TROUBLE}
    assert set(broken.values()) == {Verdict.FAIL}, broken
    for rule, shows in proves.items():
        said = [str(case.failure) for case in result.cases_of(rule) if case.verdict is Verdict.FAIL]
        assert any(shown(shows, words) for words in said), f"{rule}: none of these says {shows!r}: {said}"
    written = set(side_failures().get(defect, {})) & breakable
    beside = set(broken) - set(proves)
    assert beside <= written, {
        rule: str(case.failure)
        for rule in sorted(beside - written)
        for case in result.cases_of(rule)
        if case.verdict is Verdict.FAIL
    }
    if pytestconfig.getoption("--whole"):
        assert beside == written
    count(
        defects_caught=1,
        pairs_of_a_rule_and_a_defect_that_breaks_it=len(proves),
        rules_that_failed_besides_as_written_down=len(beside),
        cases_judged_on_broken_devices=len(result.cases),
    )


def without_memory(target, folder):
    """A profile of the same device alone: faults of the kernel's own container would be found first."""
    document = yaml.safe_load(target.read_text())
    document["interfaces"] = ["migration_v1"]
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rule", "defect"), EXPLORED, ids=["-".join(pair) for pair in EXPLORED])
def test_defect_is_found_by_exploring(
    judge_in_process, target, in_kernel, lacks, tmp_path, monkeypatch, count, rule, defect
):
    """What random operations are there to find they find, within a time that is many times what is needed."""
    if lacks(defect):
        pytest.skip("the kernel module does not have this defect")
    if in_kernel and defect in LATE:
        pytest.skip("it takes more walks than an emulated machine makes in the time")
    if in_kernel:
        target = without_memory(target, tmp_path)
    monkeypatch.setattr(stress, "MOST_FINDINGS", 1)
    exploring = ("--stress=300s", "--seed=1", f"--only={rule}")
    result = judge_in_process(target, tmp_path, *exploring, f"--defect={defect}")
    assert not result.stops, result.stops
    assert result.verdicts == {rule: Verdict.FAIL}
    (case,) = result.cases.values()
    assert shown(DEFECTS[defect][rule], str(case.failure))
    count(pairs_of_a_rule_and_a_defect_that_breaks_it=1)


@pytest.mark.skipif("config.getoption('--every') > 1", reason="proofs are few where the good device was judged before")
def test_good_device_passes(judge_in_process, target, tmp_path, breakable):
    """Without a defect all these rules hold: what is caught above is the defect and nothing else."""
    provable = {rule for proves in DEFECTS.values() for rule in proves} & breakable
    result = judge_in_process(target, tmp_path, *(f"--only={rule}" for rule in sorted(provable)))
    assert result.verdicts == dict.fromkeys(result.verdicts, Verdict.PASS)
    assert set(result.verdicts) == provable
