# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module is a good driver with defects laid over it; neither knows more about the other than needed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

#: A row of the table in defects/defects.h, and one that lays a defect over a second step.
DEFECT = re.compile(r'^\tDEFECT\((\w+), "([a-z0-9-]+)", (\w+)\)', re.MULTILINE)
ALSO = re.compile(r"^\tALSO\((\w+), (\w+)\)", re.MULTILINE)
WITNESS = re.compile(r"^\tWITNESS\((\w+)\)", re.MULTILINE)
STEP = re.compile(r"^\t[\w ]+[ *]\(\*(\w+)\)\(struct refd_device \*refd", re.MULTILINE)
#: The head of a function that is not static, and a use of a macro of shapes.h that makes one.
FUNCTION = re.compile(r"^(?!static)\w[\w *]*?\b((?:defect|past)_\w+)\(", re.MULTILINE)
SHAPE = re.compile(r"^[A-Z_]+\((\w+),", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(project: Path) -> Path:
    """The folder of the module's sources."""
    return project / "tools/kmod"


@pytest.fixture(scope="module")
def good(folder: Path) -> dict[str, str]:
    """The good driver's files, by name."""
    return {file.name: file.read_text() for file in (*folder.glob("*.[ch]"), folder / "Makefile")}


@pytest.fixture(scope="module")
def table(folder: Path) -> str:
    """The file with the table."""
    return (folder / "defects/defects.h").read_text()


@pytest.fixture(scope="module")
def overlays(folder: Path) -> dict[str, int]:
    """The functions of defects and their memory, each with its number of lines; a use of a shape is one line."""
    found = []
    for file in folder.glob("defects/*.c"):
        text = file.read_text()
        found += [
            (match[1], text[match.start() : text.index("\n}\n", match.start())]) for match in FUNCTION.finditer(text)
        ]
        if '"shapes.h"' in text:
            found += [(f"defect_{match[1]}", "") for match in SHAPE.finditer(text)]
    assert [name for name, times in Counter(name for name, _ in found).items() if times > 1] == []
    return {name: text.count("\n") + 1 for name, text in found}


@pytest.fixture(scope="module")
def rows(table: str) -> list[tuple[str, str, str]]:
    """The table: defect, name, step."""
    return DEFECT.findall(table)


def test_the_good_driver_does_not_mention_defects(good: dict[str, str]) -> None:
    """Neither by that word nor by the terms of the defects folder."""
    words = re.compile(r"defect|broken on purpose|\bpast\b|under\(|refd_past", re.IGNORECASE)
    assert {name: found for name, text in good.items() if (found := words.findall(text))} == {}


def test_the_good_driver_names_no_defect(good: dict[str, str], rows: list[tuple[str, str, str]]) -> None:
    """Neither as in the table nor as in a profile."""
    names = {spelling for symbol, name, _ in rows for spelling in (symbol, symbol.upper(), name)}
    words = {file: set(re.findall(r"[\w-]+", text)) for file, text in good.items()}
    assert {file: found & names for file, found in words.items() if found & names} == {}


def test_overlays_are_applied_by_one_call(good: dict[str, str]) -> None:
    """The driver includes none of their headers."""
    calls = [file for file, text in good.items() for _ in re.findall(r"\brefd_overlay\(refd\)", text)]
    assert calls == ["main.c"]
    assert [file for file, text in good.items() if re.search(r'#include "\w*/', text)] == []


def test_each_step_belongs_to_the_driver(good: dict[str, str]) -> None:
    """A step is declared once, has one good function of its name, and is used by the driver itself."""
    steps = STEP.findall(good["vfio_refdriver.h"])
    assert Counter(steps) == Counter(re.findall(r"^\tOP\((\w+)\),", good["ops.c"], re.MULTILINE))
    text = "".join(text for name, text in good.items() if name.endswith(".c"))
    assert [step for step in steps if not re.search(rf"^[^\s/*].*\brefd_{step}\(", text, re.MULTILINE)] == []
    assert [step for step in steps if f"ops->{step}(" not in text] == []


def test_each_defect_is_one_row_of_the_table(rows: list[tuple[str, str, str]]) -> None:
    """No defect is in it twice, and a symbol is the name with underscores."""
    assert [name for name, times in Counter(name for _, name, _ in rows).items() if times > 1] == []
    assert [symbol for symbol, name, _ in rows if symbol != name.replace("-", "_")] == []
    assert len(rows) > 150


def test_each_row_has_its_function(table: str, rows: list[tuple[str, str, str]], overlays: dict[str, int]) -> None:
    """Each defect has one function, and another for each ALSO; there are no others."""
    expected = Counter(f"defect_{symbol}" for symbol, _, _ in rows)
    expected.update(f"defect_{symbol}_{step}" for symbol, step in ALSO.findall(table))
    expected.update(f"past_{step}" for step in WITNESS.findall(table))
    assert set(expected) == overlays.keys()
    assert max(expected.values()) == 1
    assert {symbol for symbol, _ in ALSO.findall(table)} <= {symbol for symbol, _, _ in rows}


def test_rows_name_steps(good: dict[str, str], table: str, rows: list[tuple[str, str, str]]) -> None:
    """Each row names a step, and no defect overlays a step twice."""
    steps = set(STEP.findall(good["vfio_refdriver.h"]))
    pairs = [(symbol, step) for symbol, _, step in rows] + ALSO.findall(table)
    assert {step for _, step in pairs} | set(WITNESS.findall(table)) <= steps
    assert [pair for pair, times in Counter(pairs).items() if times > 1] == []


def test_defects_are_small(overlays: dict[str, int]) -> None:
    """A function of a defect has at most 20 lines."""
    assert {name: lines for name, lines in overlays.items() if lines > 20} == {}
