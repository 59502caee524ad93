# SPDX-License-Identifier: GPL-2.0-only
"""Lines of an unchecked file: of any length, and cut anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ...common.words import counted
from ..trace import TraceError, refuse_pipe

#: The most bytes of a line that is read whole. 2 MiB of data take that much if each byte is written as \\x00.
LONGEST: Final = 8 << 20

_PIECE: Final = 1 << 20
_CONTROL: Final = frozenset(range(32)) - set(b"\t\n\r\x1b")


class Line(NamedTuple):
    """One line, without its end."""

    number: int
    text: bytes
    #: It was too long, or the file ends inside it: ``text`` is its beginning.
    cut: bool


def lines(path: Path) -> Iterator[Line]:
    """The lines of a file. Raises TraceError if it cannot be read, or is not text."""
    number = 0
    try:
        with path.open("rb") as file:
            while text := file.readline(LONGEST):
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
    """Raise TraceError for a file that is empty, cannot be read, or is not text."""
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
