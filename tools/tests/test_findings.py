# SPDX-License-Identifier: GPL-2.0-only
"""The programs that show faults of Linux: whole, and calm where there is no device."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted((PROJECT / "tools/findings").glob("*.c"))

#: Written by hand, each with the reason in its comment; no more than two may be. The others are named for their rule.
BY_HAND = ("silent", "unseen")

#: What a program says first that cannot tell.
LACKS = {True: "cannot be shown here: ", False: "could not tell: "}


@pytest.fixture(params=PROGRAMS, ids=lambda path: path.stem)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A program, built as its comment says, and with every warning an error."""
    built: Path = tmp_path / request.param.stem
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", built, request.param], check=True)
    return built


def test_it_builds_and_says_what_it_lacks(program: Path, tmp_path: Path) -> None:
    """Exit code 2, which is neither that of a good kernel nor that of a broken one."""
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, "usage: " in done.stderr) == (2, True)
    done = subprocess.run([program, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).startswith(LACKS[program.stem in BY_HAND])


def test_most_are_made_by_the_suite() -> None:
    """From a run in which the fault showed: their first lines name the rule and the case."""
    made = [path for path in PROGRAMS if path.stem not in BY_HAND]
    assert len(PROGRAMS) - len(made) == len(BY_HAND) <= 2
    assert [path.name for path in made if "Found by test_" not in path.read_text()] == []


def test_the_findings_name_each_program() -> None:
    """And no other."""
    text = (PROJECT / "tools/findings/README.md").read_text()
    assert PROGRAMS
    assert [path.name for path in PROGRAMS if f"`{path.name}`" not in text] == []
