# SPDX-License-Identifier: GPL-2.0-only
"""Which test judges which rule: read from the source of the suites, without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Test:
    """A test function; ``says`` is its docstring."""

    rule: str
    file: Path
    line: int
    name: str
    says: str


def find(suites: Path) -> Iterator[Test]:
    """Every test below ``suites`` that names a rule, in the order of files and lines."""
    for file in sorted(suites.glob("*/test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for rule in _rules(node):
                    yield Test(rule, file, node.lineno, node.name, ast.get_docstring(node) or "")


def by_rule(suites: Path) -> dict[str, list[Test]]:
    """The tests of each rule that has any: one, or one for each way of testing the rule."""
    tests: dict[str, list[Test]] = {}
    for test in find(suites):
        tests.setdefault(test.rule, []).append(test)
    return tests


def places(tests: list[Test]) -> str:
    """Where the tests of one rule are: ``test_it.py::test_one, test_other``."""
    return f"{tests[0].file.name}::{', '.join(test.name for test in tests)}"


def _rules(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and ast.unparse(decorator.func) == "pytest.mark.rule"
            and isinstance(decorator.args[0], ast.Constant)
        ):
            yield str(decorator.args[0].value)
