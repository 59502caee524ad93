# SPDX-License-Identifier: GPL-2.0-only
"""Finds a QEMU, and whether it is a client of the interface."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from ..common import processes
from .errors import Hung, NotApplicable, Untried
from .output import DYING, Tail, ending, quoted

#: Its usual name.
USUAL = "qemu-system-x86_64"

#: Versions that have the client, the first and the last.
FIRST, LAST = (5, 2), (7, 2)

#: The property that makes it migrate devices of this interface.
OPTION = "x-enable-migration"

#: The most bytes of its answers that are read.
_MOST = 1 << 20


@dataclass(frozen=True)
class Program:
    """A QEMU that can be tried."""

    path: str
    #: The first line of its --version.
    says: str


def find(named: str | None, patience: float) -> Program:
    """The QEMU of this name or path; without one, the usual QEMU.

    Raises NotApplicable for one that is not a client of the interface, Untried and Hung for one that does not run.
    """
    path = shutil.which(named or USUAL)
    if path is None and named is None:
        raise NotApplicable(f"there is no {USUAL} in PATH; install QEMU {_span()}, or name one with --qemu")
    if path is None:
        raise Untried(f"there is no program {named}; correct --qemu")
    said = ask(path, ["--version"], patience)
    match = re.search(r"QEMU emulator version (\d{1,4})\.(\d{1,4})", said)
    if match is None:
        raise Untried(f"{path} --version says {quoted(said)}, which is not QEMU")
    version = int(match[1]), int(match[2])
    if not FIRST <= version <= LAST:
        seen = f"{path} is QEMU {version[0]}.{version[1]}"
        raise NotApplicable(f"{seen}; clients of this interface are {_span()}: name one of these with --qemu")
    if OPTION not in ask(path, ["-device", "vfio-pci,help"], patience):
        raise NotApplicable(f"the device vfio-pci of {path} has no option {OPTION}")
    return Program(path, said.strip().splitlines()[0])


def _span() -> str:
    return f"{FIRST[0]}.{FIRST[1]} to {LAST[0]}.{LAST[1]}"


def ask(path: str, arguments: list[str], patience: float) -> str:
    """What a program prints. Raises Untried for one that fails, Hung."""
    command = " ".join([path, *arguments])
    try:
        process = processes.start([path, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise Untried(f"{path} cannot be run: {error.strerror}") from None
    output = Tail(process, _MOST)
    try:
        if not processes.await_exit(process, patience):
            raise Hung(f"`{command}` did not end within {patience:g} s")
    finally:
        processes.end(process, 0, DYING)
        output.close()
    if process.returncode:
        raise Untried(f"`{command}` {ending(process)}: {quoted(output.text())}")
    return output.text()
