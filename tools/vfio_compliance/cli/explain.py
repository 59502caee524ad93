# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance explain RULE`: everything about a rule."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..results.verdict import EXIT_OK
from .checkout import catalogue, matching, root
from .parser import Commands

if TYPE_CHECKING:
    from ..rules import Catalogue, Rule
    from ..rules.tests import Test

_LABEL = 10


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("explain", help="show everything about a rule")
    parser.add_argument("rule", help="a rule, its beginning, or a clause")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Print each rule, where it comes from, and its tests."""
    known = catalogue()
    rules = matching(known, arguments.rule)
    from ..rules.tests import by_rule

    tests = by_rule(root() / "suites")
    for rule in rules:
        print(rule.id)
        for label, text in _about(rule, known, tests.get(rule.id, [])).items():
            print(f"   {label:{_LABEL}}{text}")
    return EXIT_OK


def _about(rule: Rule, known: Catalogue, tests: list[Test]) -> dict[str, str]:
    return {
        "rule": rule.says,
        "clause": "; ".join(f"{clause} {known.clauses[clause]}" for clause in rule.clauses),
        "level": f"{rule.level}, {rule.status}, to be kept by the {rule.side}"
        + ("" if rule.blocking else "; a device that breaks it can still conform")
        + ("; judged only by run --stress" if rule.on_request else ""),
        "source": rule.source,
        "needs": ", ".join(rule.stands_on) or "no other rule",
        **_described(tests),
        "defects": ", ".join(rule.defects) or f"no defect can prove it: {rule.unprovable}",
    }


def _described(tests: list[Test]) -> dict[str, str]:
    """Where the tests of a rule are, and their docstrings."""
    if not tests:
        return {"test": "none"}
    lines: dict[str, str] = {}
    for number, test in enumerate(tests, 1):
        which = f" {number}" if len(tests) > 1 else ""
        lines[f"test{which}"] = f"{test.file.relative_to(root())}:{test.line} {test.name}"
        lines["checks" + which] = test.says
    return lines
