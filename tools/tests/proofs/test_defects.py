# SPDX-License-Identifier: GPL-2.0-only
"""Every rule can fail: each defect of the reference device is caught by the test of the rule that it breaks.

All rules of the interface judge the broken device, and only those that are listed as broken by the defect fail. A rule
that need not catch it is judged by one case; ``--complete`` takes all cases of all rules. ``--target
profiles/refdriver-kernel.yaml`` proves the same on the kernel module, if it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from proofs import CATALOGUE, DEFECTS, shown, side_failures

from vfio_compliance import profiles
from vfio_compliance.dirty_type1 import fixtures
from vfio_compliance.migration_v1.exploration import stress
from vfio_compliance.results.summary import TROUBLE, Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.sections import PROFILE

#: Rules that are judged on request only, each with each of its defects.
EXPLORED = [(rule.id, defect) for rule in CATALOGUE if rule.on_request for defect in rule.defects]

#: Only a walk through two migrations finds these, and an emulated machine makes too few walks.
LATE = ("left-cancelled-kept", "resume-again-ignored")

#: Cases of each rule that the defect need not break, and rounds of copying memory by its bitmaps.
CASES, ROUNDS = 1, 6

#: Rules whose cases continue until enough has happened.
LONG = {"dirty.history.never-a-false-clean"}


@pytest.fixture(scope="module")
def in_kernel(target: Path) -> bool:
    """Whether the reference driver is the kernel module."""
    return profiles.load(target, PROFILE).device.transport == "kernel-group"


@pytest.fixture(scope="module")
def lacks(in_kernel: bool, project: Path) -> Callable[[str], bool]:
    """Whether the kernel module does not have a defect: it has no interrupts, for example."""
    table = (project / "tools/kmod/defects/defects.h").read_text()
    return lambda defect: in_kernel and f'"{defect}"' not in table


@pytest.fixture(scope="module")
def breakable(in_kernel: bool) -> set[str]:
    """The rules that the reference driver can break: those that a kernel keeps for it are left out behind a kernel."""
    return {rule.id for rule in CATALOGUE if not rule.on_request and not (in_kernel and rule.side == "kernel")}


@pytest.fixture
def judge_defect(
    judge_in_process: Callable[..., Summary],
    target: Path,
    tmp_path: Path,
    breakable: set[str],
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> Callable[[str], Summary]:
    """Judges the device with a defect by every rule of the defect's interface that the driver can break."""
    whole = pytestconfig.getoption("--complete")

    def judge(defect: str) -> Summary:
        interfaces = {CATALOGUE.rules[rule].interface for rule in DEFECTS[defect]}
        judging = [rule for rule in sorted(breakable) if whole or CATALOGUE.rules[rule].interface in interfaces]
        only = [f"--only={rule}" for rule in judging]
        if not whole and DEFECTS[defect].keys().isdisjoint(LONG):
            monkeypatch.setattr(fixtures, "ROUNDS", ROUNDS)
        few = {} if whole else {"most": CASES, "whole": DEFECTS[defect]}
        return judge_in_process(target, tmp_path, *only, f"--defect={defect}", **few)

    return judge


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_is_caught(
    judge_defect: Callable[[str], Summary],
    breakable: set[str],
    lacks: Callable[[str], bool],
    pytestconfig: pytest.Config,
    count: Callable[..., None],
    defect: str,
) -> None:
    """Each rule that the defect proves is broken, with a message that says how, and no other rule fails unlisted."""
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
        messages = [str(case.failure) for case in result.cases_of(rule) if case.verdict is Verdict.FAIL]
        assert any(shown(shows, message) for message in messages), f"{rule}: no message has {shows!r}: {messages}"
    listed = set(side_failures().get(defect, {})) & breakable
    others = set(broken) - set(proves)
    assert others <= listed, {
        rule: str(case.failure)
        for rule in sorted(others - listed)
        for case in result.cases_of(rule)
        if case.verdict is Verdict.FAIL
    }
    if pytestconfig.getoption("--complete"):
        assert others == listed
    count(
        defects_caught=1,
        pairs_of_a_rule_and_a_defect_that_breaks_it=len(proves),
        other_rules_that_failed_as_listed=len(others),
        cases_judged_on_broken_devices=len(result.cases),
    )


def without_memory(target: Path, folder: Path) -> Path:
    """A profile of the same device without its container: the walks would find the faults of the kernel's own first."""
    document = yaml.safe_load(target.read_text())
    document["interfaces"] = ["migration_v1"]
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rule", "defect"), EXPLORED, ids=["-".join(pair) for pair in EXPLORED])
def test_defect_is_found_by_exploring(
    judge_in_process: Callable[..., Summary],
    target: Path,
    in_kernel: bool,
    lacks: Callable[[str], bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: Callable[..., None],
    rule: str,
    defect: str,
) -> None:
    """Random operations find each of these defects, in a fraction of the time allowed."""
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


@pytest.mark.skipif("config.getoption('--every') > 1", reason="with --every, the good device is judged elsewhere")
def test_good_device_passes(
    judge_in_process: Callable[..., Summary], target: Path, tmp_path: Path, breakable: set[str]
) -> None:
    """Without a defect, all these rules pass: the failures above are due to the defect alone."""
    provable = {rule for proves in DEFECTS.values() for rule in proves} & breakable
    result = judge_in_process(target, tmp_path, *(f"--only={rule}" for rule in sorted(provable)))
    assert result.verdicts == dict.fromkeys(result.verdicts, Verdict.PASS)
    assert set(result.verdicts) == provable
