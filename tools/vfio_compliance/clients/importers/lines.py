# SPDX-License-Identifier: GPL-2.0-only
"""Lines of a file that nobody has checked: of any length, and cut anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ...common.words import counted
from ..trace import TraceError, refuse_pipe

#: Bytes of a line that are read whole. 2 MiB of data take that much, when each byte is written as \\x00.
LONGEST: Final = 8 << 20

_PIECE: Final = 1 << 20
_CONTROL: Final = frozenset(range(32)) - set(b"\t\n\r\x1b")


class Line(NamedTuple):
    """One line, without its end."""

    number: int
    text: bytes
    #: It was longer than what is read, or the file ends inside it: the text is its beginning.
    cut: bool


def lines(path: Path) -> Iterator[Line]:
    """The lines of a file. Raises TraceError for one that cannot be read, or is not text."""
    number = 0
    try:
        with path.open("rb") as file:
            readline = file.readline
            while text := readline(LONGEST):
                number += 1
                if text[-1] == 10:
                    yield Line(number, text[:-1], False)
                    continue
                yield Line(number, text, True)
                while text and text[-1] != 10:
                    text = file.readline(_PIECE)
    except OSError as error:
        raise TraceError(f"{path}:{number + 1}: {error.strerror}") from None


def refuse_binary(path: Path) -> None:
    """Raise TraceError for a file that is empty, cannot be read, or has bytes that no text has."""
    try:
        refuse_pipe(path)
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    if not head:
        raise TraceError(f"{path}: the file is empty")
    if strange := sum(byte in _CONTROL for byte in head):
        raise TraceError(f"{path}:1: not a text file: {counted(strange, 'control character')} at its beginning")
