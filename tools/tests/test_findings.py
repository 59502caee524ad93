# SPDX-License-Identifier: GPL-2.0-only
"""The programs that show faults of Linux build, and say what they need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted((PROJECT / "tools/findings").glob("*.c"))

#: At most two are written by hand, each with the reason in its comment. The others are named after their rule.
BY_HAND = ("silent", "unseen")

#: The beginning of the message of a program that cannot run its test; by whether it was written by hand.
LACKS = {True: "cannot be shown here: ", False: "could not tell: "}


@pytest.fixture(params=PROGRAMS, ids=lambda path: path.stem)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A program, built as its comment says, with warnings as errors."""
    built: Path = tmp_path / request.param.stem
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", built, request.param], check=True)
    return built


def test_a_program_without_a_device(program: Path, tmp_path: Path) -> None:
    """The exit code is 2: neither that of a good kernel nor that of a broken one."""
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, "usage: " in done.stderr) == (2, True)
    done = subprocess.run([program, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).startswith(LACKS[program.stem in BY_HAND])


def test_most_programs_are_made_by_the_suite() -> None:
    """Their comments name the case that found the fault."""
    made = [path for path in PROGRAMS if path.stem not in BY_HAND]
    assert len(PROGRAMS) - len(made) == len(BY_HAND) <= 2
    assert [path.name for path in made if "Found by test_" not in path.read_text()] == []


def test_the_readme_names_each_program() -> None:
    """None is missing."""
    text = (PROJECT / "tools/findings/README.md").read_text()
    assert PROGRAMS
    assert [path.name for path in PROGRAMS if f"`{path.name}`" not in text] == []
