# SPDX-License-Identifier: GPL-2.0-only
"""Former ids of rules are accepted, and CHANGELOG lists them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vfio_compliance import rules
from vfio_compliance.common.rule_names import RENAMED, current, renamed_in_json

PROJECT = Path(__file__).resolve().parents[3]
_ROW = re.compile(r"^\| `([a-z0-9.-]+)` \| `([a-z0-9.-]+)` \|$", re.MULTILINE)


def test_each_former_id_leads_to_a_rule() -> None:
    """Each current id is that of a rule, and no former one is."""
    catalogue = rules.load(PROJECT / "suites")
    assert set(RENAMED.values()) <= catalogue.rules.keys()
    assert RENAMED.keys().isdisjoint(catalogue.rules)


def test_changelog_has_the_same_map() -> None:
    assert dict(_ROW.findall((PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"))) == RENAMED


@pytest.mark.parametrize("former", RENAMED)
def test_explain_accepts_a_former_id(former: str) -> None:
    (found,) = rules.load(PROJECT / "suites").matching(former)
    assert found.id == current(former) == RENAMED[former]


def test_other_ids_are_unchanged() -> None:
    assert current("v1.reserved.reads-zero") == "v1.reserved.reads-zero"


def test_json() -> None:
    """A string is replaced only if all of it is an id."""
    text = '["v1.state.write-is-whole", "in v1.state.write-is-whole", "v1.state.write-is-whole-2"]'
    expected = '["v1.state.write-is-complete", "in v1.state.write-is-whole", "v1.state.write-is-whole-2"]'
    assert renamed_in_json(text) == expected
