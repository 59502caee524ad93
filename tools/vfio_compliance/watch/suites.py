# SPDX-License-Identifier: GPL-2.0-only
"""How pytest is started on the suites."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Plugins of pytest that the suites do not use: they take time to load, or in each case.
UNUSED = (
    *("cacheprovider", "doctest", "junitxml", "legacypath", "pastebin", "setuponly", "setupplan", "stepwise"),
    *("logging", "subtests", "threadexception", "unittest", "unraisableexception", "warnings"),
)

#: Modules are not looked for in the current folder, which may be anyone's.
_SAFELY = ["-P"] if sys.version_info >= (3, 11) else []


def command(root: Path, *options: str) -> list[str]:
    """pytest with these options, on the suites of the tree ``root``."""
    return [
        *(sys.executable, *_SAFELY, "-m", "vfio_compliance.plugin", *options),
        *("-p", "pytest_timeout", *(f"-pno:{plugin}" for plugin in UNUSED)),
        *(f"--rootdir={root}", "-c", str(root / "tox.ini"), str(root / "suites")),
    ]


def environment() -> dict[str, str]:
    """The environment of this process without pytest's variables; plugins are loaded only if they are named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
