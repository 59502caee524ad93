# SPDX-License-Identifier: GPL-2.0-only
"""How pytest is started on the suites."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def command(root: Path, *options: str) -> list[str]:
    """pytest with these options, on the suites of the checkout ``root``."""
    return [
        *(sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider"),
        *(f"--rootdir={root}", "-c", str(root / "tox.ini"), str(root / "suites")),
    ]


def environment() -> dict[str, str]:
    """That of this process without what somebody set for runs of pytest of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
