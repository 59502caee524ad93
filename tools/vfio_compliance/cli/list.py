# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance list`: a table of the rules, the defects that prove them, the sessions, or what is shipped."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..common.words import counted
from ..results.verdict import EXIT_OK
from .checkout import catalogue, matching, root
from .parser import Commands

if TYPE_CHECKING:
    from ..rules import Rule


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("list", help="list the rules: clause, rule, level, who has to keep it, test")
    parser.add_argument("pattern", nargs="?", help="a rule, its beginning, or a clause")
    parser.add_argument(
        "--defects", action="store_true", help="list the defects that prove them, and the rules without one"
    )
    parser.add_argument(
        "--sessions", action="store_true", help="list the sessions that come before a migration in a case"
    )
    parser.add_argument(
        "--shipped", action="store_true", help="list the shipped profiles, plans and sources, with their paths"
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Print the table."""
    if arguments.sessions:
        return _sessions()
    if arguments.shipped:
        return _shipped()
    known = catalogue()
    rules = matching(known, arguments.pattern) if arguments.pattern else list(known)
    if arguments.defects:
        _defects(rules)
    else:
        _rules(rules)
    return EXIT_OK


def _shipped() -> int:
    from .shipped import lines

    for line in lines():
        print(line)
    return EXIT_OK


def _sessions() -> int:
    """Each session by name, with its steps."""
    from ..interfaces import INTERFACES

    for interface in INTERFACES:
        for name, steps in interface.sessions():
            print(f"{name:44}{steps}")
    return EXIT_OK


def _rules(rules: list[Rule]) -> None:
    from ..rules import numbers
    from ..rules.tests import by_rule, places

    tests = by_rule(root() / "suites")
    print(f"{'clause':8}{'rule':44}{'level':7}{'status':12}{'side':8}test")
    for rule in rules:
        where = places(tests[rule.id]) if rule.id in tests else "none"
        print(f"{rule.clause:8}{rule.id:44}{rule.level:7}{rule.status:12}{rule.side:8}{where}")
    covered = {clause for rule in rules for clause in rule.clauses}
    with_test = sum(rule.id in tests for rule in rules)
    print(f"{numbers(rules)}; {counted(len(covered), 'clause')}, {with_test} with a test")


def _defects(rules: list[Rule]) -> None:
    """Each defect with the rules that it breaks, then the rules that no defect breaks, with the reason."""
    from ..rules import by_defect

    proofs = by_defect(rules)
    for defect, proven in proofs.items():
        print(f"{defect:44}{', '.join(proven)}")
    unprovable: dict[str, list[str]] = {}
    for rule in rules:
        if rule.unprovable:
            unprovable.setdefault(rule.unprovable, []).append(rule.id)
    proven_rules = sum(bool(rule.defects) for rule in rules)
    print(f"{counted(len(proofs), 'defect')}, {proven_rules} of {counted(len(rules), 'rule')} proven by them")
    for reason, names in unprovable.items():
        print(f"not proven by a defect: {', '.join(names)}\n    {reason}")
