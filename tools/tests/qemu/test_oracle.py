# SPDX-License-Identifier: GPL-2.0-only
"""The rules of client_sequences and a real QEMU agree about a device.

The kernel module, good and with each defect that those rules must find, is judged twice for "Works with QEMU": by the
suite, and by a QEMU that migrates the device. If the two answers differ, disagreements.yaml says why. To run them in a
guest:

    vfio-compliance vm --kernels 6.1 -- \\
        pytest -p no:cacheprovider tools/tests/qemu/test_oracle.py --target profiles/refdriver-kernel.yaml
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml
from proofs import CATALOGUE

from vfio_compliance import profiles
from vfio_compliance.profiles import KernelGroupDevice
from vfio_compliance.qemu import program
from vfio_compliance.qemu.answer import SAYS, Answer, Outcome
from vfio_compliance.qemu.command import place
from vfio_compliance.qemu.errors import NotApplicable
from vfio_compliance.qemu.flows import BACK, CANCEL, LIVE, PAUSED, Flows
from vfio_compliance.results import summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.run.defects import DefectSwitch
from vfio_compliance.sections import PROFILE

SUITE = "suites/client_sequences/test_qemu.py"

RULES = [rule for rule in CATALOGUE if rule.id.startswith("qemu.")]

#: The flow that shows what a rule is about, if it is not the live migration.
FLOWS = {
    "qemu.paused.migrates": PAUSED,
    "qemu.cancel.returns-to-running": CANCEL,
    "qemu.source.runs-again": BACK,
    "qemu.load.waits-for-guest": PAUSED,
}


def in_module() -> set[str]:
    """Names of the defects that the module has."""
    text = Path(__file__).parents[2].joinpath("kmod/defects/defects.h").read_text()
    return {rule_defect for rule in RULES for rule_defect in rule.defects if f'"{rule_defect}"' in text}


#: Each defect with the rules that it must break.
DEFECTS = {
    defect: [rule.id for rule in RULES if defect in rule.defects]
    for defect in dict.fromkeys(name for rule in RULES for name in rule.defects)
    if defect in in_module()
}

#: Devices that break rules of the specification but work with QEMU, which resets them and writes running first.
FIT = {
    "open-in-stop": ["qemu.save.begins-in-running"],
    "reset-to-stop": ["qemu.save.begins-in-running", "qemu.error.next-guest-runs"],
}

#: Defects that affect the start of a QEMU.
AT_START = {"region-subtype-zero", "region-type-missing", "open-in-stop", "reset-to-stop", "self-write-moves"}

DISAGREEMENTS = yaml.safe_load(Path(__file__).with_name("disagreements.yaml").read_text()) or {}


#: Whether a device with a defect works, by these rules, and why.
Answering: TypeAlias = Callable[[str, Collection[str]], tuple[bool, str]]

#: Whether both agree, whether it works, and a line for the table.
Comparing: TypeAlias = Callable[[str, Collection[str]], tuple[bool, bool, str]]


@pytest.fixture(scope="module")
def qemu(target: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flows]:
    """The flows of a QEMU on the module; its source keeps running from defect to defect as long as nothing fails."""
    profile = profiles.load(target, PROFILE)
    device = profile.device
    if not isinstance(device, KernelGroupDevice) or len(device.spares) < 2:
        pytest.skip("for --target profiles/refdriver-kernel.yaml")
    # The suite uses the other devices, as a device has one user at a time.
    source, other = (place(profile, spare) for spare in device.spares[:2])
    try:
        found = program.find(None, profile.limits.test)
    except NotApplicable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("qemu")
    with Flows(found.path, profile, source, other, folder, folder) as flows:
        yield flows


@pytest.fixture
def by_qemu(qemu: Flows) -> Answering:
    """Whether the device with a defect works, by QEMU's report and the state on the target; and a summary."""

    def ask(defect: str, rules: Collection[str]) -> tuple[bool, str]:
        flows = {FLOWS.get(rule, LIVE) for rule in rules}
        answers: list[Answer] = []
        switch = DefectSwitch(qemu.profile, [defect] if defect else [], lambda event: None)
        try:
            switch.on()
            if defect in AT_START:
                qemu.end_source()
            answers = [*qemu.carry_out(flows)]
        finally:
            switch.restore()
            if defect in AT_START or any(answer.outcome is not Outcome.COMPLETED for answer in answers):
                qemu.end_source()
        assert not [answer.why for answer in answers if answer.outcome is Outcome.UNTRIED]
        bad = [answer for answer in answers if answer.outcome is not Outcome.COMPLETED]
        return not bad, "; ".join(f"{answer.flow}: {SAYS[answer.outcome]}" for answer in bad or answers)

    return ask


@pytest.fixture
def by_suite(
    judge_in_process: Callable[..., summary.Summary], target: Path, project: Path, tmp_path: Path
) -> Answering:
    """Whether it works by the rules of the suite, and the rules that it breaks."""
    tree = ast.parse((project / SUITE).read_text())
    cases = [
        f"{project / SUITE}::{each.name}"
        for each in tree.body
        if each.__class__ is ast.FunctionDef and each.name.startswith("test_")
    ]

    def ask(defect: str, rules: Collection[str]) -> tuple[bool, str]:
        options = [f"--defect={defect}"] if defect else []
        if defect in DEFECTS:  # one broken rule is enough for a no
            options += [f"--only={rule}" for rule in rules]
        result = judge_in_process(target, tmp_path, *cases, *options, most=1, whole=rules)
        assert not result.stops, result.stops
        broken = [rule for rule, verdict in result.verdicts.items() if verdict is Verdict.FAIL]
        return not broken, ", ".join(broken) or "no rule is broken"

    return ask


@pytest.fixture
def compare(by_qemu: Answering, by_suite: Answering, report_line: Callable[[str], None]) -> Comparing:
    """Compares both answers for a device with a defect, or for a good one."""

    def ask(defect: str, rules: Collection[str]) -> tuple[bool, bool, str]:
        works, seen = by_qemu(defect, rules)
        expected, broken = by_suite(defect, rules)
        word = {True: "yes", False: "no"}
        line = f"{defect or 'good':34} suite {word[expected]:4} QEMU {word[works]:4} {seen} ({broken})"
        report_line(line)
        return works == expected, works, line

    return ask


@pytest.mark.timeout(600)
def test_good_device_works(compare: Comparing) -> None:
    """Both say so, for all flows."""
    agree, works, line = compare("", [rule.id for rule in RULES])
    assert agree, line
    assert works, line


@pytest.mark.timeout(600)
@pytest.mark.parametrize("defect", [*FIT, *DEFECTS])
def test_suite_and_qemu_agree(compare: Comparing, defect: str) -> None:
    """The suite gives the answer of the real client, unless there is a reason for a difference."""
    agree, works, line = compare(defect, (DEFECTS | FIT)[defect])
    assert works or defect not in FIT, line
    if defect in DISAGREEMENTS:
        assert not agree, f"they agree: take it out of disagreements.yaml; {line}"
    else:
        assert agree, line


def test_reasons_are_about_defects() -> None:
    """Each entry of disagreements.yaml is about a defect that is tested."""
    assert set(DISAGREEMENTS) <= DEFECTS.keys()
