# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance list`: the rules in a table, or the defects that prove them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..results.verdict import EXIT_OK
from .checkout import catalogue, matching, root
from .parser import Commands

if TYPE_CHECKING:
    from ..rules import Rule


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("list", help="all rules: clause, rule, level, who has to keep it, test")
    parser.add_argument("pattern", nargs="?", help="a rule, its beginning, or a clause")
    parser.add_argument("--defects", action="store_true", help="the defects that prove them, and what none proves")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Print the table."""
    known = catalogue()
    rules = matching(known, arguments.pattern) if arguments.pattern else list(known)
    if arguments.defects:
        _defects(rules)
    else:
        _rules(rules)
    return EXIT_OK


def _rules(rules: list[Rule]) -> None:
    from ..rules import numbers
    from ..rules.tests import find

    tests = {test.rule: test for test in find(root() / "suites")}
    print(f"{'clause':8}{'rule':44}{'level':7}{'status':12}{'side':8}test")
    for rule in rules:
        test = tests.get(rule.id)
        where = f"{test.file.name}::{test.name}" if test else "none"
        print(f"{rule.clause:8}{rule.id:44}{rule.level:7}{rule.status:12}{rule.side:8}{where}")
    covered = {clause for rule in rules for clause in rule.clauses}
    print(f"{numbers(rules)}; {len(covered)} clauses, {sum(rule.id in tests for rule in rules)} with a test")


def _defects(rules: list[Rule]) -> None:
    """Each defect with the rules that it breaks, then the rules that none does, with the reason."""
    from ..rules import by_defect

    proofs = by_defect(rules)
    for defect, proven in proofs.items():
        print(f"{defect:44}{', '.join(proven)}")
    unprovable: dict[str, list[str]] = {}
    for rule in rules:
        if rule.unprovable:
            unprovable.setdefault(rule.unprovable, []).append(rule.id)
    print(f"{len(proofs)} defects, {sum(bool(rule.defects) for rule in rules)} of {len(rules)} rules proven by them")
    for reason, names in unprovable.items():
        print(f"not proven by a defect: {', '.join(names)}\n    {reason}")
