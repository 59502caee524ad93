# SPDX-License-Identifier: GPL-2.0-only
"""The command that a report prints for a failing case shows its failure again.

Some of the defects are tried; ``--complete`` takes all.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from proofs import CATALOGUE, DEFECTS

from vfio_compliance.dirty_type1 import fixtures
from vfio_compliance.results import journal
from vfio_compliance.results.case import Case
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.rerun import rerun
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.watch.reruns import Reruns

sys.path.insert(0, str(Path(__file__).parents[1] / "foreign"))

import profiles
from styles import STYLES

#: Without --complete, every EVERYth defect is tried; and rounds of copying memory by its bitmaps.
EVERY, ROUNDS = 80, 6

#: Defects that break no rule judged on request.
JUDGED = [defect for defect, rules in DEFECTS.items() if not any(CATALOGUE.rules[rule].on_request for rule in rules)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try each defect, or some."""
    if "broken" in metafunc.fixturenames:
        metafunc.parametrize("broken", JUDGED[:: 1 if metafunc.config.getoption("--complete") else EVERY])


@pytest.mark.timeout(900)
def test_rerun_shows_the_failure_again(
    judge_in_process: Callable[..., Summary],
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: Callable[..., None],
    broken: str,
) -> None:
    """The first failing case of each rule fails again if its command is run exactly as printed."""
    monkeypatch.setattr(fixtures, "ROUNDS", ROUNDS)
    folders = iter(range(1 << 16))
    few = {"most": 1, "whole": DEFECTS[broken]}

    def judge(*options: str, **thin: Any) -> Summary:
        out = tmp_path / str(next(folders))
        out.mkdir()
        return judge_in_process(target, out, *options, **thin)

    def play(cases: Sequence[str]) -> Verdict:
        named = [f"--only={case}" for case in cases]
        return judge(f"--defect={broken}", "--seed=1", *named).cases[cases[-1]].verdict

    def again(case: Case) -> Case:
        command = shlex.split(rerun(summary, case))
        assert command[:2] == ["vfio-compliance", "run"]
        whole = "--only" not in command
        return judge(*command[3:], **(few if whole else {})).cases[case.id]

    interfaces = {CATALOGUE.rules[rule].interface for rule in DEFECTS[broken]}
    asked = [f"--exclude={rule.id}" for rule in CATALOGUE if rule.interface not in interfaces and not rule.on_request]
    summary = judge(f"--defect={broken}", "--seed=1", *asked, **few)
    failed: dict[str, Case] = {}
    for case in summary.cases.values():
        if case.verdict is Verdict.FAIL:
            failed.setdefault(case.rule, case)
    assert failed
    passed = [case for case in failed.values() if again(case).verdict is not Verdict.FAIL]
    if passed:  # an earlier case is needed for these
        for made in Reruns(summary, play):
            summary.cases[made.case].reruns.append(made)
    for case in passed:
        assert case.passes_alone
        assert again(case).verdict is Verdict.FAIL, (rerun(summary, case), case.reruns)
    count(reruns_that_show_the_failure_again=len(failed), reruns_that_need_earlier_cases=len(passed))


@pytest.mark.timeout(300)
def test_rerun_on_a_device_that_remembers(project: Path, tmp_path: Path) -> None:
    """The earlier case that a failure needs is named, and the printed command runs both."""
    profile = profiles.put(
        "reserved-garbage-after-pre-copy", STYLES["reserved-garbage-after-pre-copy"], tmp_path / "device"
    )

    def run(out: str, *options: str) -> tuple[str, dict[str, Verdict]]:
        command = [sys.executable, "-m", "vfio_compliance", "run", str(profile), "--out", str(tmp_path / out), *options]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done
        cases = summarise(journal.read(tmp_path / out / journal.NAME)).cases.values()
        return done.stdout, {case.name: case.verdict for case in cases}

    suites = "suites/migration_v1/test_registers.py::test_"
    cases = [f"{suites}register_places[pre-copy-device_state]", f"{suites}reserved_reads_zero[running]"]
    printed, _ = run("all", *(word for case in cases for word in ("--only", case)))
    names = [case.rpartition("/")[2] for case in cases]
    words = " ".join(printed.split())
    assert f"it passed alone, and failed after {names[0]}" in words
    (line,) = [line for line in printed.splitlines() if line.startswith("   rerun ")]
    asked = shlex.split(line.split(None, 1)[1])[3:]
    assert asked == ["--only", cases[0], "--only", cases[1]]
    assert run("again", *asked)[1] == {names[0]: Verdict.PASS, names[1]: Verdict.FAIL}
