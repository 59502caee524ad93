# SPDX-License-Identifier: GPL-2.0-only
"""Where a command shows what it has to say: a terminal, a log, or a pipe that somebody may stop reading."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO, cast

from .words import printable_lines

if TYPE_CHECKING:
    from rich.console import Console


def show(out: TextIO, text: str) -> None:
    """Print ``text``. Where that fails the command goes on without being seen."""
    try:
        print(text, end="", file=out, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # somebody wants to read it, but the disk is full
            complain(f"cannot show the run: {error.strerror}")
        give_up(out)


def complain(text: str) -> None:
    """Say ``text`` on standard error. Where that fails, too, there is nobody left to tell."""
    try:
        print(f"vfio-compliance: {printable_lines(text)}", file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def give_up(out: TextIO) -> None:
    """What is left to be written there goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)


def is_terminal(out: TextIO) -> bool:
    """Whether lines can change there, and be coloured."""
    return out.isatty() and os.environ.get("TERM") != "dumb"


def console(out: TextIO, width: int) -> Console:
    """The terminal, for rich, which takes nothing in a text for markup; without colours where NO_COLOR says so."""
    from rich.console import Console  # a log or a pipe does without

    file = cast(TextIO, _Careful(out))
    return Console(
        file=file, width=width, force_terminal=True, markup=False, highlight=False, emoji=False, soft_wrap=True
    )


class _Careful:
    """A terminal that may go away: what it does not take is not missed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    @property
    def encoding(self) -> str:
        return getattr(self._out, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        show(self._out, text)
        return len(text)

    def flush(self) -> None:
        """All of it has been written."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._out.fileno()
