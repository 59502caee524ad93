# SPDX-License-Identifier: GPL-2.0-only
"""How many cases of a rule a run has, by the depth of its plan."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vfio_compliance.migration_v1.sessions import ALPHABET


def collected(project, suite, *options):
    """The cases of a run, in order, by name."""
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", "--profile=profiles/reference.yaml", *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, suite], cwd=project, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize(
    ("options", "first_and_second"),
    [
        pytest.param([], len(ALPHABET), id="ci"),
        pytest.param(["--plan=certification"], len(ALPHABET) ** 2, id="certification"),
    ],
)
def test_pairs_of_sessions(project, options, first_and_second):
    """A run without a plan has each session first and second, a certificate every pair."""
    cases = collected(project, "suites/migration_v1/test_sessions.py", *options)
    lines = [line for line in cases if "_after_two[" in line or "_after_another[" in line]
    pairs = {line.partition("[")[2].rpartition(", then ")[0] for line in lines}
    assert len(pairs) == first_and_second


def test_a_shallow_run_lacks_only_what_is_deep(project):
    """That deep cases are not even made leaves out no other, and changes neither names nor order."""
    every, shallow = (collected(project, "suites", *only) for only in (["--plan=certification"], ["-m", "not deep"]))
    marked = collected(project, "suites", "--plan=certification", "-m", "not deep")
    assert shallow == marked
    assert len(every) > len(marked)
