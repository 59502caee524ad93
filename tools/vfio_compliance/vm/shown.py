# SPDX-License-Identifier: GPL-2.0-only
"""A call's output on the terminal."""

import os
import sys
from pathlib import Path


def say(label: str, stage: str, text: str, detail: str = "") -> None:
    """A line about a kernel, and another program's output about it, indented."""
    print(f"{label:6} {stage:7} {text}", flush=True)
    for line in detail.splitlines():
        print(f"    {line}", flush=True)


def show(text: str) -> None:
    """Output of a guest."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def short(path: Path) -> str:
    """A path as short as it can be from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
