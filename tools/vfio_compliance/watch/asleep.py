# SPDX-License-Identifier: GPL-2.0-only
"""What /proc says of a process that does not go on, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_FILES = ("wchan", "stack", "syscall", "status")

#: So many functions of the kernel are named, the innermost first.
_MOST = 5

_STATE = re.compile(r"^State:\s*(\w) \(([^)]*)\)", re.MULTILINE)
_FUNCTION = re.compile(r"^\[<\w+>\] ([\w.$]+)\+0x", re.MULTILINE | re.ASCII)

#: What the file ``syscall`` begins with outside of any system call.
_NO_CALL = "-1 "


def seen(pid: int, proc: Path = Path("/proc")) -> dict[str, str]:
    """The files that tell where it is, by their names; why one cannot be read."""
    found = {}
    for name in _FILES:
        try:
            found[name] = (proc / str(pid) / name).read_text()
        except OSError as error:
            found[name] = f"not readable: {error.strerror}"
    return found


def words(process: Mapping[str, str]) -> str:
    """Its state and the functions of the kernel that it is in; empty where nothing is known."""
    parts = []
    if state := _STATE.search(process.get("status", "")):
        parts.append(f"in state {state[1]} ({state[2]})")
    if functions := _FUNCTION.findall(process.get("stack", "")):
        parts.append(f"in the kernel at {' < '.join(functions[:_MOST])}")
        if process.get("syscall", "").startswith(_NO_CALL):
            parts.append("outside of any call: by reading or writing what it has mapped")
    return ", ".join(parts)
