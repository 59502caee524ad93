# SPDX-License-Identifier: GPL-2.0-only
"""The software and the machine of a measurement: the figures mean nothing without them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from targets import PROJECT

#: The packages on which the project depends, and those that affect its speed.
_PACKAGES = ("cffi", "pytest", "PyYAML", "rich", "packaging")


def described() -> dict[str, str]:
    """The versions, the machine and its load, by name."""
    return {
        "commit": _said(["git", "describe", "--always", "--dirty", "--abbrev=12"]) or "not a git checkout",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "compiler": (_said(["cc", "--version"]) or "none").splitlines()[0] + ", -O2",
        "kernel": os.uname().release,
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} to be used",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES),
    }


def _processor() -> str:
    try:
        found = re.search(r"(?m)^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _said(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
