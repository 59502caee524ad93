# SPDX-License-Identifier: GPL-2.0-only
"""The order in which cases come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vfio_compliance.results import summary

CASES = [f"suites/migration_v1/test_registers.py::test_reserved_reads_zero[{state}]" for state in ("running", "stop")]


@pytest.mark.parametrize("order", [CASES, CASES[::-1]], ids=["as in the file", "the other way"])
def test_cases_come_as_they_are_named(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path, order: Sequence[str]
) -> None:
    """A command that runs one case after another means that order."""
    result = judge_in_process(project / "profiles/reference.yaml", tmp_path, *(f"--only={case}" for case in order))
    assert list(result.cases) == order
