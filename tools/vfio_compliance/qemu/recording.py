# SPDX-License-Identifier: GPL-2.0-only
"""Records a QEMU by strace, so that it can be judged as a client."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Final

from ..clients.importers.strace import NAMES
from . import program
from .errors import QemuError

#: Left out, because they fill the file for nothing: no VFIO device is read or written by them.
_LEFT_OUT: Final = {"read", "write", "readv", "writev"}

#: A call that this machine's strace does not know is not an error.
_CALLS: Final = ",".join(f"?{name}" for name in NAMES if name not in _LEFT_OUT)

#: The tracer is a child of QEMU, not the other way round: QEMU ends as it would alone, and with this process.
_OPTIONS: Final = ("-D", "-qq", "-f", "--seccomp-bpf", "-ttt", "-T", "-xx", "-e", f"trace={_CALLS}")

#: Bytes of a call's data that are recorded, four characters each: all of a state that is not larger than the first.
_WHOLE, _PART = 4 << 20, 64


@dataclass(frozen=True)
class Strace:
    """A usable strace."""

    path: str
    options: tuple[str, ...]

    def command(self, file: str) -> list[str]:
        """The words to put before a command to record its calls in ``file``."""
        return [self.path, *self.options, "-o", file]


def find(largest_state: int, patience: float) -> Strace | str:
    """This machine's strace, or why it cannot be used; it shows the content of states up to ``largest_state`` bytes.

    It is tried for up to ``patience`` seconds: a machine may forbid tracing.
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
