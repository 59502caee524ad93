# SPDX-License-Identifier: GPL-2.0-only
"""What /proc says about a process that makes no progress, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_FILES = ("wchan", "stack", "syscall", "status")

#: At most this many functions of the kernel are named, the innermost first.
_MOST = 5

_STATE = re.compile(r"^State:\s*(\w) \(([^)]*)\)", re.MULTILINE)
_FUNCTION = re.compile(r"^\[<\w+>\] ([\w.$]+)\+0x", re.MULTILINE | re.ASCII)

#: The start of the file ``syscall`` outside any system call.
_NO_CALL = "-1 "


def seen(pid: int, proc: Path = Path("/proc")) -> dict[str, str]:
    """The files that show where it is, by name; for an unreadable one, the reason."""
    found = {}
    for name in _FILES:
        try:
            found[name] = (proc / str(pid) / name).read_text()
        except OSError as error:
            found[name] = f"not readable: {error.strerror}"
    return found


def words(process: Mapping[str, str]) -> str:
    """Its state and the functions of the kernel that it is in; empty if nothing is known."""
    parts = []
    if state := _STATE.search(process.get("status", "")):
        parts.append(f"in state {state[1]} ({state[2]})")
    if functions := _FUNCTION.findall(process.get("stack", "")):
        parts.append(f"in the kernel at {' < '.join(functions[:_MOST])}")
        if process.get("syscall", "").startswith(_NO_CALL):
            parts.append("outside any system call: while reading or writing mapped memory")
    return ", ".join(parts)
