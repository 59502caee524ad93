# SPDX-License-Identifier: GPL-2.0-only
"""The order of cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vfio_compliance.results import summary

CASES = [f"suites/migration_v1/test_registers.py::test_reserved_reads_zero[{state}]" for state in ("running", "stop")]


@pytest.mark.parametrize("order", [CASES, CASES[::-1]], ids=["as in the file", "reversed"])
def test_cases_run_in_the_order_of_the_options(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path, order: Sequence[str]
) -> None:
    """The order of several --only is kept."""
    result = judge_in_process(project / "profiles/reference.yaml", tmp_path, *(f"--only={case}" for case in order))
    assert list(result.cases) == order
