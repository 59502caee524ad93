# SPDX-License-Identifier: GPL-2.0-only
"""The rule set has a version, which changes with what its rules ask for."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from stories import ended, told

from vfio_compliance import rules
from vfio_compliance.results.about import about
from vfio_compliance.results.events import Environment, Target
from vfio_compliance.results.reading import summarise
from vfio_compliance.rules.version import ERRATA, VERSION, Erratum, known_errors

#: Of what the rules of this version ask for. Whoever changes that raises VERSION, and puts the new digest here.
DIGEST = "d3d906fdb8d66910"


def test_the_version_changes_with_the_rules(project: Path) -> None:
    """What a rule asks for, of whom and how strictly: a result means another thing when one of these changes."""
    whole = hashlib.sha256()
    for rule in sorted(rules.load(project / "suites"), key=lambda rule: rule.id):
        whole.update(f"{rule.id} {rule.clause} {rule.says} {rule.level} {rule.status} {rule.side}\n".encode())
    assert whole.hexdigest()[:16] == DIGEST, "raise VERSION in rules/version.py, tell it in CHANGELOG, renew DIGEST"


def test_errata_are_told(project: Path) -> None:
    """Each names a rule that is or was, came before it went, and stands in CHANGELOG."""
    text = (project / "CHANGELOG.md").read_text()
    for each in ERRATA:
        assert 1 <= each.since < each.corrected <= VERSION
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", each.rule)
        assert each.rule in text


def test_known_errors() -> None:
    """An error is known in the versions that have it, and in no other."""
    error = Erratum("v1.one", 2, 4, "Wrong.", "So.")
    assert [version for version in range(1, 6) if known_errors(version, (error,))] == [2, 3]


def test_report_says_which_suite_judged() -> None:
    """By the facts of the run, where it has kept them, as --version says it; else by the version alone."""
    facts = {"suite": "9", "suite commit": "c" * 40, "suite modified": "yes", "rule set": "7"}
    kept = told(Environment(facts, {}, (), "/"), Target({}), ended("a[1]", "pass"))
    assert about(summarise(kept))["judged"].endswith(f" (commit {'c' * 12}+modified, rule set 7)")
    assert "commit" not in about(summarise(told(Target({}), ended("a[1]", "pass"))))["judged"]
