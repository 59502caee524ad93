# SPDX-License-Identifier: GPL-2.0-only
"""Records what a QEMU does, by strace, so that it can be judged as a client."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Final

from ..clients.importers.strace import NAMES
from . import program
from .errors import QemuError

#: What a file of them costs more than it tells: no device of VFIO is read or written so.
_LEFT_OUT: Final = {"read", "write", "readv", "writev"}

#: A call that this machine's strace does not know is no error.
_CALLS: Final = ",".join(f"?{name}" for name in NAMES if name not in _LEFT_OUT)

#: The tracer is a child of QEMU's, not the other way round: QEMU ends as it would alone, and with this process.
_OPTIONS: Final = ("-D", "-qq", "-f", "--seccomp-bpf", "-ttt", "-T", "-xx", "-e", f"trace={_CALLS}")

#: Bytes of a call's data that are written down, four characters each: all of a state that is no larger than the first.
_WHOLE, _PART = 4 << 20, 64


@dataclass(frozen=True)
class Strace:
    """A strace that works here."""

    path: str
    options: tuple[str, ...]

    def command(self, file: str) -> list[str]:
        """What to put before a command whose calls are to be in ``file``."""
        return [self.path, *self.options, "-o", file]


def find(largest_state: int, patience: float) -> Strace | str:
    """The strace of this machine, or why there is none; of states up to ``largest_state`` bytes it shows the content.

    It is tried within ``patience`` seconds: a machine may not let processes be traced.
    """
    path = shutil.which("strace")
    if path is None:
        return "there is no strace in PATH"
    strace = Strace(path, (*_OPTIONS, "-s", str(largest_state if largest_state <= _WHOLE else _PART)))
    first, *rest = strace.command("/dev/null")
    try:
        program.ask(first, [*rest, path, "-V"], patience)
    except QemuError as error:
        return str(error)
    return strace
