# SPDX-License-Identifier: GPL-2.0-only
"""The command that a report prints for a failing case shows its failure again.

Of the defects some are taken; ``--whole`` takes all.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from proofs import CATALOGUE, DEFECTS

from vfio_compliance.dirty_type1 import fixtures
from vfio_compliance.results import journal
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.rerun import rerun
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.watch.reruns import Reruns

sys.path.insert(0, str(Path(__file__).parents[1] / "foreign"))

import profiles
from styles import STYLES

#: Every so manyth defect is taken without --whole, and rounds of copying memory by its bitmaps.
EVERY, ROUNDS = 80, 6

#: What no exploration has to find.
JUDGED = [defect for defect, rules in DEFECTS.items() if not any(CATALOGUE.rules[rule].on_request for rule in rules)]


def pytest_generate_tests(metafunc):
    """Each defect, or some."""
    if "broken" in metafunc.fixturenames:
        metafunc.parametrize("broken", JUDGED[:: 1 if metafunc.config.getoption("--whole") else EVERY])


@pytest.mark.timeout(900)
def test_rerun_shows_the_failure_again(judge_in_process, target, tmp_path, monkeypatch, count, broken):
    """The first failing case of each rule fails again when its command is run, with what that says and no more."""
    monkeypatch.setattr(fixtures, "ROUNDS", ROUNDS)
    folders = iter(range(1 << 16))
    few = {"most": 1, "whole": DEFECTS[broken]}

    def judge(*options, **thin):
        out = tmp_path / str(next(folders))
        out.mkdir()
        return judge_in_process(target, out, *options, **thin)

    def play(cases):
        named = [f"--only={case}" for case in cases]
        return judge(f"--defect={broken}", "--seed=1", *named).cases[cases[-1]].verdict

    def again(case):
        command = shlex.split(rerun(summary, case))
        assert command[:2] == ["vfio-compliance", "run"]
        whole = "--only" not in command
        return judge(*command[3:], **(few if whole else {})).cases[case.id]

    interfaces = {CATALOGUE.rules[rule].interface for rule in DEFECTS[broken]}
    asked = [f"--exclude={rule.id}" for rule in CATALOGUE if rule.interface not in interfaces and not rule.on_request]
    summary = judge(f"--defect={broken}", "--seed=1", *asked, **few)
    failed = {}
    for case in summary.cases.values():
        if case.verdict is Verdict.FAIL:
            failed.setdefault(case.rule, case)
    assert failed
    passed = [case for case in failed.values() if again(case).verdict is not Verdict.FAIL]
    if passed:  # then an earlier case has to do with it
        for made in Reruns(summary, play):
            summary.cases[made.case].reruns.append(made)
    for case in passed:
        assert case.passes_alone
        assert again(case).verdict is Verdict.FAIL, (rerun(summary, case), case.reruns)
    count(reruns_that_show_the_failure_again=len(failed), reruns_that_take_earlier_cases=len(passed))


@pytest.mark.timeout(300)
def test_rerun_on_a_device_that_remembers(project, tmp_path):
    """The earlier case that a failure takes is named, and the command that is printed runs both."""
    profile = profiles.put(
        "reserved-garbage-after-pre-copy", STYLES["reserved-garbage-after-pre-copy"], tmp_path / "device"
    )

    def run(out, *options):
        command = [sys.executable, "-m", "vfio_compliance", "run", str(profile), "--out", str(tmp_path / out), *options]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done
        cases = summarise(journal.read(tmp_path / out / journal.NAME)).cases.values()
        return done.stdout, {case.name: case.verdict for case in cases}

    suites = "suites/migration_v1/test_registers.py::test_"
    cases = [f"{suites}register_places[pre-copy-device_state]", f"{suites}reserved_reads_zero[running]"]
    said, _ = run("all", *(word for case in cases for word in ("--only", case)))
    names = [case.rpartition("/")[2] for case in cases]
    words = " ".join(said.split())
    assert f"it passed alone, and failed after {names[0]}" in words
    (line,) = [line for line in said.splitlines() if line.startswith("   rerun ")]
    asked = shlex.split(line.split(None, 1)[1])[3:]
    assert asked == ["--only", cases[0], "--only", cases[1]]
    assert run("again", *asked)[1] == {names[0]: Verdict.PASS, names[1]: Verdict.FAIL}
