# SPDX-License-Identifier: GPL-2.0-only
"""Helpers that build sentences, and a check that every message that counts something uses them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vfio_compliance.common.words import counted, enumerated, plural

PROJECT = Path(__file__).resolve().parents[2]

#: Nouns that messages count.
NOUNS = (
    *("access", "area", "bit", "bitmap", "buffer", "byte", "call", "capability", "case", "clause", "command"),
    *("defect", "descriptor", "device", "entry", "error", "finding", "IOVA range", "level", "line", "link", "mapping"),
    *("message", "microsecond", "offence", "page", "pass", "piece", "problem", "process", "range", "reason", "region"),
    *("register", "request", "reset", "round", "rule", "second", "step", "test", "time", "waiver", "walk", "way"),
    *("word", "write"),
)

_COUNTED = re.compile(rf" (more |other )?({'|'.join(map(plural, NOUNS))})\b")


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "byte", "0 bytes"),
        (1, "byte", "1 byte"),
        (2, "byte", "2 bytes"),
        (-1, "byte", "-1 bytes"),
        (1, "full save pass", "1 full save pass"),
        (4, "full save pass", "4 full save passes"),
        (3, "entry", "3 entries"),
        (3, "other way", "3 other ways"),
        (2, "switch", "2 switches"),
        (2, "IOVA range", "2 IOVA ranges"),
    ],
)
def test_a_noun_is_counted(number: int, noun: str, words: str) -> None:
    """Only one has the singular."""
    assert counted(number, noun) == words


def test_a_number_in_another_format() -> None:
    """For example, in hexadecimal."""
    assert counted(0x1000, "byte", "#x") == "0x1000 bytes"
    assert counted(1, "byte", "#x") == "0x1 byte"


@pytest.mark.parametrize(
    ("items", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")]
)
def test_a_list_reads_as_a_sentence(items: Sequence[str], words: str) -> None:
    """With commas, and a word before the last item."""
    assert enumerated(items) == words
    assert enumerated(iter(items), "and") == words.replace("or", "and")


def counts_by_hand(source: str) -> Iterator[int]:
    """Lines of f-strings that put a plural after any number, or choose the ending themselves."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, [*node.values[1:], ast.Constant("")], strict=True):
                if isinstance(value, ast.FormattedValue) and (_is_ending(value.value) or _counts(value.value, after)):
                    yield node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\w\(e?s\)", node.value):
            yield node.lineno


def _counts(number: ast.expr, after: ast.expr) -> bool:
    return isinstance(after, ast.Constant) and _COUNTED.match(str(after.value)) is not None


def _is_ending(value: ast.expr) -> bool:
    """Whether it is ``"" if number == 1 else "s"``, or the other way round."""
    return isinstance(value, ast.IfExp) and all(
        isinstance(end, ast.Constant) and end.value in ("", "s", "es") for end in (value.body, value.orelse)
    )


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("f'{size} bytes'", True),
        ("f'about {size:#x} bytes at {place}'", True),
        ("f'{len(rules)} more rules'", True),
        ('f\'{number} rule{"" if number == 1 else "s"}\'', True),
        ("'a number of time(s)'", True),
        ("f'{size}-byte pages'", False),
        ("f'{counted(size, \"byte\")} at {place}'", False),
        ("f'{name} takes bytes'", False),
    ],
)
def test_counting_by_hand_is_found(source: str, found: bool) -> None:
    """In f-strings and plain strings."""
    assert bool(list(counts_by_hand(source))) == found


@pytest.mark.parametrize("folder", ["tools/vfio_compliance", "suites"])
def test_nothing_is_counted_by_hand(folder: str) -> None:
    """A message says "1 byte", never "1 bytes": every number and its noun are joined by ``counted``."""
    assert [
        f"{file.relative_to(PROJECT)}:{line}"
        for file in sorted((PROJECT / folder).rglob("*.py"))
        for line in counts_by_hand(file.read_text(encoding="utf-8"))
    ] == []
