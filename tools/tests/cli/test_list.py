# SPDX-License-Identifier: GPL-2.0-only
"""What `list` shows if it does not list rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_compliance import profiles
from vfio_compliance.cli.main import main
from vfio_compliance.migration_v1.sessions import ALPHABET
from vfio_compliance.sections import PROFILE


def test_shipped(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    """Each profile and plan with its name, everything else with its path; all of it exists."""
    assert main(["list", "--shipped"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert all(Path(row[-1]).exists() for row in rows)
    named = {row[1]: Path(row[2]) for row in rows if row[0] == "profile"}
    assert named["reference"] == project / "profiles/reference.yaml"
    assert all(profiles.load(path, PROFILE).name for path in named.values())
    plans = {path.stem for path in (project / "profiles/plans").glob("*.yaml")}
    assert {row[1] for row in rows if row[0] == "plan"} == plans >= {"smoke", "ci", "certification"}
    assert {row[0] for row in rows} == {"profile", "plan", "to", "schema", "suites", "module", "findings"}


def test_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    """Each session with its steps."""
    assert main(["list", "--sessions"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ALPHABET)
    for line, session in zip(lines, ALPHABET, strict=True):
        assert line == f"{session.name:44}{'; '.join(map(str, session.moves))}"
