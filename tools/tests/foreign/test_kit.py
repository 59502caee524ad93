# SPDX-License-Identifier: GPL-2.0-only
"""Whole devices of other hands: good ones keep every rule, and each fault is reported at the rule that it breaks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kit_matrix
import matrix

#: Cases of each rule; those of the rules that a fault breaks are all run.
MOST = 1

ALL = {each.name: each for each in kit_matrix.devices()}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the devices that are written in C."""
    folder = tmp_path_factory.mktemp("kit")
    kit_matrix.build(folder)
    return folder


@pytest.mark.proof
@pytest.mark.parametrize("name", ALL)
def test_a_device_is_judged_as_its_author_expects(
    name: str, request: pytest.FixtureRequest, built: Path, tmp_path: Path
) -> None:
    """Exactly the rules that it breaks are broken, and the others are judged."""
    judged = ALL[name]
    expected = judged.expected
    if expected.dies or expected.exit is not None:
        outcome = kit_matrix.run(judged, built, tmp_path, MOST)
        journal = tmp_path / name / "result" / "journal.jsonl"
    else:
        path = kit_matrix.put(judged, built, tmp_path)
        request.getfixturevalue("judge_in_process")(path, tmp_path, most=MOST, whole=expected.breaks)
        journal = tmp_path / "journal.jsonl"
        outcome = matrix.read(journal, None, "")
    wrong = kit_matrix.differences(expected, outcome, journal)
    assert not wrong, matrix.lines(name, expected.what, expected.breaks, outcome, wrong)


@pytest.mark.parametrize("name", ALL)
def test_a_device_says_what_it_is(name: str) -> None:
    """A good device breaks nothing; one that is not, and each fault, breaks a rule, dies, or does not answer."""
    expected = ALL[name].expected
    assert expected.good != bool(expected.breaks or expected.dies or expected.exit in (1, 3))
