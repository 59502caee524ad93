# SPDX-License-Identifier: GPL-2.0-only
"""Numbers with their nouns, and lists, for sentences and tables."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import groupby

_SIBILANTS = ("s", "x", "z", "ch", "sh")


def counted(number: int, noun: str, form: str = "") -> str:
    """``1 byte``, ``8 bytes``; ``form`` is how the number is written, such as ``#x``."""
    return f"{number:{form}} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """``bytes``, ``passes``, ``entries``; of several words, the last one changes."""
    if noun.endswith(_SIBILANTS):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def enumerated(items: Iterable[str], last: str = "or") -> str:
    """``a``, ``a or b``, ``a, b or c``; empty if there are no items."""
    *others, end = [*items] or [""]
    return f"{', '.join(others)} {last} {end}" if others else end


def columns(rows: Sequence[Sequence[str]], right: Container[int]) -> list[str]:
    """A line for each row of cells, columns two blanks apart and as wide as needed.

    The columns of the numbers in ``right`` are flush right, the others left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def printable(text: str) -> str:
    """One line without control characters: they are shown as escape sequences."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def runs(numbers: Iterable[int]) -> Iterator[str]:
    """``5 to 8`` for numbers that follow one another, ``12`` for one by itself."""
    for _, run in groupby(enumerate(numbers), key=lambda placed: placed[1] - placed[0]):
        members = [number for _, number in run]
        yield str(members[0]) if len(members) == 1 else f"{members[0]} to {members[-1]}"
