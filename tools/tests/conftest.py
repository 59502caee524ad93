# SPDX-License-Identifier: GPL-2.0-only
"""Options of the self-tests."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--target",
        type=Path,
        default=Path("profiles/reference.yaml"),
        help="the reference device in which defects are switched on: its server, or its kernel module",
    )


@pytest.fixture(scope="session")
def project(pytestconfig: pytest.Config) -> Path:
    """The checkout."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config, project: Path) -> Path:
    """Profile of the reference device that is broken on purpose."""
    return project / pytestconfig.getoption("--target")
