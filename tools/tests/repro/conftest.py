# SPDX-License-Identifier: GPL-2.0-only
"""A failed run of the reference device, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_compliance import profiles
from vfio_compliance.results.summary import Summary
from vfio_compliance.sections import PROFILE


@pytest.fixture(scope="session")
def profile(project: Path) -> profiles.Profile:
    """The profile of the reference device."""
    return profiles.load(project / "profiles/reference.yaml", PROFILE)


@pytest.fixture(scope="session")
def broken_run(
    judge_in_process: Callable[..., Summary], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run in which the reserved register was not zero, and one rule passed."""
    folder: Path = tmp_path_factory.mktemp("broken") / "run"
    folder.mkdir()
    tests = [
        f"{project}/suites/migration_v1/test_registers.py::{name}"
        for name in ("test_reserved_reads_zero", "test_reserved_ignores_writes")
    ]
    judge_in_process(project / "profiles/reference.yaml", folder, *tests, "--defect=reserved-garbage", "--keep-data")
    return folder
