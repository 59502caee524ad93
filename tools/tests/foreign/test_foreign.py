# SPDX-License-Identifier: GPL-2.0-only
"""Devices of another hand are judged as their styles say: no rule too many, none too few, and all else judged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import matrix
import profiles
from style import Style
from styles import STYLES

#: Cases of each rule; those of the rules that a style breaks are all run.
MOST = 1

#: Styles that take minutes.
ONLY_WHOLE = {"slow-answers", "slow-first-answer", "endless-same-large"}


def needs_a_run(style: type[Style]) -> bool:
    """Whether a style wants what a whole run has: its exit code, or another process when one does not go on."""
    return style.dies or style.exit is not None


@pytest.mark.proof
@pytest.mark.parametrize("name", [name for name in STYLES if name not in ONLY_WHOLE])
def test_style_is_judged_as_it_says(name: str, request: pytest.FixtureRequest, project: Path, tmp_path: Path) -> None:
    """Exactly the rules that a style breaks are broken, and the others are judged."""
    style = STYLES[name]
    if needs_a_run(style):
        outcome = matrix.run(name, project, tmp_path, MOST, timeout=300)
    else:
        judge = request.getfixturevalue("judge_in_process")
        path = profiles.put(name, style, tmp_path)
        judge(path, tmp_path, most=MOST, whole=style.breaks)
        outcome = matrix.read(tmp_path / "journal.jsonl", None, "")
    assert not matrix.differences(style, outcome), matrix.table(name, outcome, matrix.differences(style, outcome))


@pytest.mark.parametrize("name", STYLES)
def test_style_says_what_it_is(name: str) -> None:
    """A style that is good breaks nothing, one that is not breaks a rule, dies, hangs, or is judged too thinly."""
    style = STYLES[name]
    faults = bool(style.breaks or style.dies or style.exit in (1, 3) or name.startswith("forgets-all-"))
    assert style.good != faults
