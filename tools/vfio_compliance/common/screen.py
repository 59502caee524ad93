# SPDX-License-Identifier: GPL-2.0-only
"""Output of a command: to a terminal, a log, or a pipe whose reader may go away."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO, cast

from .words import printable_lines

if TYPE_CHECKING:
    from rich.console import Console


def show(out: TextIO, text: str) -> None:
    """Print ``text``. If that fails, the command continues without output."""
    try:
        print(text, end="", file=out, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # there is a reader, but the disk is full
            complain(f"cannot show the run: {error.strerror}")
        give_up(out)


def complain(text: str) -> None:
    """Print ``text`` on standard error. If that fails, too, there is no one left to inform."""
    try:
        print(f"vfio-compliance: {printable_lines(text)}", file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def give_up(out: TextIO) -> None:
    """Discard all further output to ``out``."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)


def is_terminal(out: TextIO) -> bool:
    """Whether lines can be changed and coloured there."""
    return out.isatty() and os.environ.get("TERM") != "dumb"


def console(out: TextIO, width: int) -> Console:
    """The terminal, for rich, which interprets no markup in texts; without colours if NO_COLOR is set."""
    from rich.console import Console  # not needed for a log or a pipe

    file = cast(TextIO, _Careful(out))
    return Console(
        file=file, width=width, force_terminal=True, markup=False, highlight=False, emoji=False, soft_wrap=True
    )


class _Careful:
    """A terminal that may go away: what cannot be written is dropped."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    @property
    def encoding(self) -> str:
        return getattr(self._out, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        show(self._out, text)
        return len(text)

    def flush(self) -> None:
        """Everything was written already."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._out.fileno()
