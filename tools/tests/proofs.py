# SPDX-License-Identifier: GPL-2.0-only
"""What proves each rule: the defects that break it, what its failure says then, and what breaks beside it.

``python tools/tests/proofs.py > PROOFS.md`` writes it down for those who read verdicts.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from vfio_compliance import spec

PROJECT = Path(__file__).resolve().parents[2]
CATALOGUE = spec.load(PROJECT / "suites")

#: Each defect with the rules that it is there to prove, and what their failures say.
DEFECTS: dict[str, dict[str, str]] = {}
for _rule in CATALOGUE:
    for _defect, _shows in _rule.defects.items():
        DEFECTS.setdefault(_defect, {})[_rule.id] = _shows

SIDE_FAILURES = Path(__file__).with_name("side_failures.yaml")


def side_failures() -> dict[str, dict[str, str]]:
    """Each defect that breaks more than it is there for: those rules, each with the reason."""
    groups = yaml.safe_load(SIDE_FAILURES.read_text(encoding="utf-8")) or {}
    return {
        defect: {rule: group["because"] for group in those for rule in group["rules"]}
        for defect, those in groups.items()
    }


def shown(pattern: str, sentence: str) -> bool:
    """Whether a failure says what the pattern says, with anything in place of each ``*``."""
    words = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.search(words, sentence, re.DOTALL) is not None
