# SPDX-License-Identifier: GPL-2.0-only
"""The rule set has a version, which changes with what its rules require."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from stories import ended, run_of

from vfio_compliance import rules
from vfio_compliance.results.about import about
from vfio_compliance.results.events import Environment, Target
from vfio_compliance.results.reading import summarise
from vfio_compliance.rules.version import ERRATA, VERSION, Erratum, known_errors

#: A digest of what the rules of this version require. If you change that, raise VERSION and put the new digest here.
DIGEST = "0bc308036eb472fc"


def test_the_version_changes_with_the_rules(project: Path) -> None:
    """What a rule requires, of which side and how strictly: if one of these changes, a result means something else."""
    whole = hashlib.sha256()
    for rule in sorted(rules.load(project / "suites"), key=lambda rule: rule.id):
        whole.update(f"{rule.id} {rule.clause} {rule.says} {rule.level} {rule.status} {rule.side}\n".encode())
    assert whole.hexdigest()[:16] == DIGEST, "raise VERSION in rules/version.py, describe it in CHANGELOG, renew DIGEST"


def test_errata_are_in_the_changelog(project: Path) -> None:
    """Each names a rule, existing or former, and was corrected in a later version than it came with."""
    text = (project / "CHANGELOG.md").read_text()
    for each in ERRATA:
        assert 1 <= each.since < each.corrected <= VERSION
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", each.rule)
        assert each.rule in text


def test_errors_known_in_a_version() -> None:
    """An error is known in exactly the versions that have it."""
    error = Erratum("v1.one", 2, 4, "Wrong.", "So.")
    assert [version for version in range(1, 6) if known_errors(version, (error,))] == [2, 3]


def test_report_names_the_suite_that_judged() -> None:
    """As --version does, if the run has recorded the facts; else with the version alone."""
    facts = {"suite": "9", "suite commit": "c" * 40, "suite modified": "yes", "rule set": "7"}
    kept = run_of(Environment(facts, {}, (), "/"), Target({}), ended("a[1]", "pass"))
    assert about(summarise(kept))["judged"].endswith(f" (commit {'c' * 12}+modified, rule set 7)")
    assert "commit" not in about(summarise(run_of(Target({}), ended("a[1]", "pass"))))["judged"]
