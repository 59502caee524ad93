# SPDX-License-Identifier: GPL-2.0-only
"""Writes programs to files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from . import c, python
from .program import Program

#: The folder in that of a run.
NAME: Final = "repro"

_LANGUAGES: Final = {".c": c.render, ".py": python.render}

_ARGUMENTS: Final = {
    "vfio-user": ("SOCKET", "SOCKET_OF_A_SECOND_DEVICE"),
    "kernel-group": ("/sys/bus/pci/devices/ADDRESS", "/sys/bus/pci/devices/ANOTHER"),
}


def write(program: Program, folder: Path) -> list[Path]:
    """Write the program in each language, to files named after its rule. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for ending, render in _LANGUAGES.items():
        path = folder / (program.rule.id + ending)
        path.write_text(render(program, _head(program, ending, path.name)), encoding="utf-8")
        if ending == ".py":
            path.chmod(0o755)
        written.append(path)
    return written


def _head(program: Program, ending: str, name: str) -> str:
    """What it shows, and how to run it."""
    rule, fault = program.rule, program.fault
    devices = " ".join(_ARGUMENTS[program.transport][: program.devices])
    made = f"cc -o /tmp/shows {name} && /tmp/shows {devices}" if ending == ".c" else f"python3 {name} {devices}"
    return "\n".join(
        [
            "SPDX-License-Identifier: GPL-2.0-only",
            "",
            f"{rule.id} ({', '.join(rule.clauses)}, {rule.source})",
            f"{rule.says}",
            "",
            f"Found by {program.case}:",
            f"expected {fault.expected}, seen {fault.seen}.",
            "",
            f"    {made}",
            "",
            "exits with 1 if the fault shows, 0 if it does not, 2 if that cannot be decided. What it does is at",
            "the end, in reproduce(); everything before that is the same in each such program.",
        ]
    )
