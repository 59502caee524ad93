# SPDX-License-Identifier: GPL-2.0-only
"""The programs that show faults of Linux: whole, and calm where there is no device."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted((PROJECT / "tools/findings").glob("*.c"))


@pytest.fixture(params=PROGRAMS, ids=lambda path: path.stem)
def program(request, tmp_path):
    """A program, built as its comment says, and with every warning an error."""
    built = tmp_path / request.param.stem
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", built, request.param], check=True)
    return built


def test_it_builds_and_says_what_it_lacks(program, tmp_path):
    """Exit code 2, which is neither that of a good kernel nor that of a broken one."""
    for arguments in [], [tmp_path] * 2 if program.stem == "two_devices" else [tmp_path]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("cannot be shown here: ")
    assert "leads to no group" in done.stderr


def test_the_findings_name_each_program():
    """And no other."""
    text = (PROJECT / "tools/findings/README.md").read_text()
    assert PROGRAMS
    assert [path.name for path in PROGRAMS if f"`{path.name}`" not in text] == []
