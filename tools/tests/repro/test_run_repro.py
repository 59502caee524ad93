# SPDX-License-Identifier: GPL-2.0-only
"""`run --repro` writes programs of the failures, and every report names them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vfio_compliance.cli.main import main
from vfio_compliance.results.writers import FORMATS

RULE = "v1.reserved.reads-zero"


@pytest.fixture(scope="module")
def made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder and the exit code of a run of a broken device, with programs and all reports."""
    out = tmp_path_factory.mktemp("run") / "run"
    reports = [f"--report={name}={out.parent / name}" for name in FORMATS]
    asked = ["run", str(project / "profiles/reference.yaml"), "--only", "v1.reserved", "--defect=reserved-garbage"]
    return out, main([*asked, "--repro", "--quiet", f"--out={out}", *reports])


def test_only_the_failed_rule_has_programs(made: tuple[Path, int]) -> None:
    """The other rules have none; the exit code is that of the run."""
    out, code = made
    assert code == 1
    assert sorted(path.name for path in (out / "repro").iterdir()) == [f"{RULE}.c", f"{RULE}.py"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_report_names_the_programs(made: tuple[Path, int], name: str) -> None:
    """Each report names both files."""
    out, _ = made
    text = (out.parent / name).read_text()
    for ending in "c", "py":
        assert f"{RULE}.{ending}" in text.replace("\\", "")


def test_programs_are_tried_on_the_device(made: tuple[Path, int]) -> None:
    """The report says that both were seen to show the fault."""
    out, _ = made
    report = json.loads((out.parent / "json").read_text())
    (programs,) = [case["programs"] for rule in report["rules"] for case in rule["cases"] if "programs" in case]
    assert programs["shown"]
    assert "the one in Python shows it, the one in C shows it" in programs["remark"]


def test_a_run_without_failures_writes_no_program(project: Path, tmp_path: Path) -> None:
    """If nothing fails, there is no folder of programs."""
    asked = ["run", str(project / "profiles/reference.yaml"), "--only", RULE, "--repro", "--quiet"]
    assert main([*asked, f"--out={tmp_path / 'run'}"]) == 0
    assert not (tmp_path / "run" / "repro").exists()


def test_a_fault_that_kills_the_device(project: Path, tmp_path: Path) -> None:
    """Each try starts its own server, so a fault that kills the server can be shown with as few calls as any other."""
    words = (project / "profiles/reference.yaml").read_text()
    server = project / "tools/tests/servers/restoring.py"
    profile = tmp_path / "mortal.yaml"
    profile.write_text(
        words.replace('"-m", "refdriver", "--socket-path={socket}"', f'"{server}", "dies", "--socket-path={{socket}}"')
    )
    rule, report = "v1.resuming.offset-each-buffer", tmp_path / "report"
    asked = ["run", str(profile), f"--only={rule}", "--repro", "--quiet", f"--report=json={report}"]
    assert main([*asked, f"--out={tmp_path / 'run'}"]) == 1
    ((case,),) = [rule["cases"] for rule in json.loads(report.read_text())["rules"]]
    assert "the one in Python shows it, the one in C shows it" in case["programs"]["remark"]
