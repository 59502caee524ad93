# SPDX-License-Identifier: GPL-2.0-only
"""Output for KCIDB and LAVA: a submission that the database's own library accepts, and a test case for each rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from stories import ended, run_of, timed, written

from vfio_compliance.results import journal
from vfio_compliance.results.events import Broken, Event

#: In place of LAVA's own program; records its arguments.
LAVA = '#!/bin/sh\necho "$@" >>"$(dirname "$0")/asked"\n'


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs on one kernel; the second has two failures outside any rule."""
    made: list[Path] = []
    stories: tuple[tuple[str, list[Event]], ...] = (
        ("one", [ended("a[1]", "pass"), ended("b", "fail", seen="that"), ended("c", "n/a"), ended("d", "not-run")]),
        ("two", [ended("a[1]", "pass"), Broken("it fell over", "lift it", None), Broken("and again", "lift it", None)]),
    )
    for name, events in stories:
        folder = tmp_path / name
        folder.mkdir()
        lines = run_of(*events, seed=len(made) + 1)
        (folder / journal.NAME).write_bytes(written((time + len(made), event) for time, event in timed(lines)))
        made.append(folder)
    return made


def called(project: Path, script: str, *words: str | Path, **environment: Any) -> subprocess.CompletedProcess[str]:
    """A finished call of a script in tools/ci."""
    command = [sys.executable, project / "tools" / "ci" / script, *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_submission(project: Path, runs: list[Path]) -> None:
    """One document for all runs, with the sender's origin; data that two runs share appears once."""
    schema = pytest.importorskip("kcidb_io").schema.LATEST
    done = called(project, "kcidb.py", "some_lab", *runs)
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    schema.validate(schema.upgrade(made))
    assert [len(made[name]) for name in ("checkouts", "builds")] == [1, 1]
    assert {each["origin"] for name in ("checkouts", "builds", "tests") for each in made[name]} == {"some_lab"}
    assert {each["build_id"] for each in made["tests"]} == {made["builds"][0]["id"]}
    assert made["builds"][0]["checkout_id"] == made["checkouts"][0]["id"]
    identities = [each["id"] for each in made["tests"]]
    assert len({*identities}) == len(identities) > 5
    assert all(each.startswith("some_lab:") for each in identities)


@pytest.mark.parametrize("words", [[], ["some_lab"], ["Some-Lab", "{run}"], ["some_lab", "{run}", "none"]])
def test_no_submission(project: Path, runs: list[Path], words: Sequence[str]) -> None:
    """Nothing is printed that could be sent; exit code 2 and one line."""
    done = called(project, "kcidb.py", *(word.format(run=runs[0]) for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_cases_for_lava(project: Path, runs: list[Path], tmp_path: Path) -> None:
    """Each rule by its name, one that was not judged as unknown, and no name twice."""
    tool = tmp_path / "bin" / "lava-test-case"
    tool.parent.mkdir()
    tool.write_text(LAVA)
    tool.chmod(0o755)
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    for run in runs:
        assert called(project, "lava/cases.py", run, PATH=path).returncode == 0
    asked = (tool.parent / "asked").read_text().splitlines()
    assert asked == [
        "vfio_compliance.v1.a --result pass",
        "vfio_compliance.v1.b --result fail",
        "vfio_compliance.v1.c --result skip",
        "vfio_compliance.v1.d --result unknown",
        "vfio_compliance.v1.a --result pass",
        "vfio_compliance.outside_of_any_rule --result unknown",
        "vfio_compliance.outside_of_any_rule-2 --result unknown",
    ]


def test_cases_without_lava(project: Path, runs: list[Path]) -> None:
    """Exit code 2: a job whose cases were lost does not pass."""
    done = called(project, "lava/cases.py", runs[0], PATH="/nowhere")
    assert done.returncode == 2
    assert "lava-test-case" in done.stderr
