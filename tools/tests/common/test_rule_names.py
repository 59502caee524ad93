# SPDX-License-Identifier: GPL-2.0-only
"""Former ids of rules are understood, and CHANGELOG lists them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vfio_compliance import rules
from vfio_compliance.common.rule_names import RENAMED, current, renamed_in_json

PROJECT = Path(__file__).resolve().parents[3]
_ROW = re.compile(r"^\| `([a-z0-9.-]+)` \| `([a-z0-9.-]+)` \|$", re.MULTILINE)


def test_each_names_a_rule() -> None:
    """A present id is one of a rule, a former id is not."""
    catalogue = rules.load(PROJECT / "suites")
    assert set(RENAMED.values()) <= catalogue.rules.keys()
    assert RENAMED.keys().isdisjoint(catalogue.rules)


def test_changelog_has_the_same_map() -> None:
    assert dict(_ROW.findall((PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"))) == RENAMED


@pytest.mark.parametrize("former", RENAMED)
def test_explained_by_its_former_id(former: str) -> None:
    (found,) = rules.load(PROJECT / "suites").matching(former)
    assert found.id == current(former) == RENAMED[former]


def test_other_words_stay() -> None:
    assert current("v1.reserved.reads-zero") == "v1.reserved.reads-zero"


def test_json() -> None:
    """Only a string that is an id as a whole is replaced."""
    text = '["v1.state.write-is-whole", "in v1.state.write-is-whole", "v1.state.write-is-whole-2"]'
    expected = '["v1.state.write-is-complete", "in v1.state.write-is-whole", "v1.state.write-is-whole-2"]'
    assert renamed_in_json(text) == expected
