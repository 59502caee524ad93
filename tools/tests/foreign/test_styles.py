# SPDX-License-Identifier: GPL-2.0-only
"""Devices by another author are judged as their styles say: exactly these rules break, and all others are judged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fnmatch import filter as matching
from pathlib import Path

import pytest
from proofs import CATALOGUE

from vfio_compliance.results.summary import Summary

sys.path.insert(0, str(Path(__file__).parent))

import matrix
import profiles
from style import Style
from styles import STYLES

#: Cases of each rule; rules that a style breaks are judged by all their cases.
MOST = 1

#: Styles that take minutes.
ONLY_WHOLE = {"slow-answers", "slow-first-answer", "endless-same-large"}


def needs_a_run(style: type[Style]) -> bool:
    """Whether a style needs a run of its own: for its exit code, or for another process after one hangs or dies."""
    return bool(style.dies) or style.exit is not None


IN_A_RUN = [name for name, style in STYLES.items() if needs_a_run(style)]
IN_PROCESS = [name for name in STYLES if name not in IN_A_RUN and name not in ONLY_WHOLE]


def check(name: str, outcome: matrix.Outcome) -> None:
    """Exactly the rules that the style breaks are broken, and the others are judged."""
    wrong = matrix.differences(STYLES[name], outcome)
    assert not wrong, matrix.table(name, outcome, wrong)


@pytest.mark.proof
@pytest.mark.parametrize("name", IN_PROCESS)
def test_style_is_judged_as_it_says(name: str, judge_in_process: Callable[..., Summary], tmp_path: Path) -> None:
    """By the suite in this process."""
    path = profiles.put(name, STYLES[name], tmp_path)
    judge_in_process(path, tmp_path, most=MOST, whole=STYLES[name].breaks)
    check(name, matrix.read(tmp_path / "journal.jsonl", None, ""))


@pytest.mark.proof
@pytest.mark.parametrize("name", IN_A_RUN)
def test_style_that_hangs_or_dies_is_judged_as_it_says(name: str, project: Path, tmp_path: Path) -> None:
    """By a run of its own, with its exit code."""
    check(name, matrix.run(name, project, tmp_path, MOST, timeout=300))


@pytest.mark.parametrize("name", STYLES)
def test_style_says_whether_it_is_good(name: str) -> None:
    """A good style breaks nothing; another one breaks a rule, dies, hangs, or is judged too thinly."""
    style = STYLES[name]
    faults = bool(style.breaks or style.dies or style.exit in (1, 3) or name.startswith("forgets-all-"))
    assert style.good != faults


@pytest.mark.parametrize("name", STYLES)
def test_style_names_existing_rules(name: str) -> None:
    """Each of its patterns matches a rule."""
    style = STYLES[name]
    patterns = style.breaks | style.may | style.unjudged | style.judged
    assert {pattern for pattern in patterns if not matching(CATALOGUE.rules, pattern)} == set()
