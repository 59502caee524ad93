# SPDX-License-Identifier: GPL-2.0-only
"""Changed profiles of the reference device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def document(project: Path) -> Any:
    """The profile of the reference device, to be changed."""
    return yaml.safe_load((project / "profiles/reference.yaml").read_text())


@pytest.fixture
def save_profile(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a profile to a file, and returns its path."""

    def save(document: Any) -> Path:
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return save
