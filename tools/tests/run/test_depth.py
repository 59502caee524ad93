# SPDX-License-Identifier: GPL-2.0-only
"""The number of cases of a rule, by the depth of the plan."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from vfio_compliance.migration_v1.sessions import ALPHABET


def collected(project: Path, suite: str, *options: str) -> list[str]:
    """The cases of a run, in order, by name."""
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", "--profile=profiles/reference.yaml", *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, suite], cwd=project, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


#: A full name of a session within the name of a case.
SESSION = re.compile("|".join(sorted((re.escape(str(each)) for each in ALPHABET), key=len, reverse=True)))


@pytest.mark.parametrize(
    ("options", "number"),
    [
        pytest.param([], len(ALPHABET), id="ci"),
        pytest.param(["--plan=certification"], len(ALPHABET) ** 2, id="certification"),
    ],
)
def test_pairs_of_sessions(project: Path, options: Sequence[str], number: int) -> None:
    """Without a plan, each session is once first and once second; a certificate has all ordered pairs."""
    cases = collected(project, "suites/migration_v1/test_sessions.py", *options)
    found = [line for line in cases if "_after_two[" in line or "_after_a_row[" in line]
    rows = [SESSION.findall(line.partition("[")[2].rpartition(", then ")[0]) for line in found]
    pairs = {pair for row in rows for pair in itertools.pairwise(row)}
    assert len(pairs) == number
    assert {first for first, _ in pairs} == {second for _, second in pairs} == set(map(str, ALPHABET))


def test_a_shallow_run_lacks_only_what_is_deep(project: Path) -> None:
    """A run that does not generate deep cases has all others, with the same names and in the same order."""
    every, shallow = (collected(project, "suites", *only) for only in (["--plan=certification"], ["-m", "not deep"]))
    marked = collected(project, "suites", "--plan=certification", "-m", "not deep")
    assert shallow == marked
    assert len(every) > len(marked)
