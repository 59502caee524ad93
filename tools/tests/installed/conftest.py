# SPDX-License-Identifier: GPL-2.0-only
"""One installation for all tests here, and copies of it that a test may damage."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from installation import Installation, build, clean

#: The package's folder in a copy of the installation, and a function that runs commands of the copy.
Damaged: TypeAlias = tuple[Path, Callable[..., subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="session")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    pytest.importorskip("hatchling")
    return build(project, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel, installed."""
    pytest.importorskip("pip")
    made = Installation(tmp_path_factory.mktemp("installed") / "venv", tmp_path_factory.mktemp("home"))
    made.install(wheel)
    return made


@pytest.fixture
def damaged(installed: Installation, tmp_path: Path) -> Damaged:
    """A copy of the installation, to be damaged."""
    site = tmp_path / "site"
    for name in ("vfio_compliance", "refdriver"):
        shutil.copytree(installed.site / name, site / name)
    (tmp_path / "cwd").mkdir()

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        environment = clean(tmp_path / "home") | {"PYTHONPATH": str(site)}
        command = [sys.executable, "-m", "vfio_compliance", *words]
        return subprocess.run(command, cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True)

    return site / "vfio_compliance", call
