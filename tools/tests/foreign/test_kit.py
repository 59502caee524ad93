# SPDX-License-Identifier: GPL-2.0-only
"""Whole devices by other authors: good ones keep every rule, and each fault is reported at the rule that it breaks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fnmatch import filter as matching
from pathlib import Path

import pytest
from proofs import CATALOGUE

from vfio_compliance.results.summary import Summary

sys.path.insert(0, str(Path(__file__).parent))

import kit_matrix
import matrix

#: Cases of each rule; rules that a fault breaks are judged by all their cases.
MOST = 1

ALL = {each.name: each for each in kit_matrix.devices()}
#: They need a run of their own: for its exit code, or for other processes after one that ends.
IN_A_RUN = [name for name, each in ALL.items() if each.expected.dies or each.expected.exit is not None]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the devices that are written in C."""
    folder = tmp_path_factory.mktemp("kit")
    kit_matrix.build(folder)
    return folder


def check(name: str, outcome: matrix.Outcome, journal: Path) -> None:
    """Exactly the rules that the device breaks are broken, and the others are judged."""
    expected = ALL[name].expected
    wrong = kit_matrix.differences(expected, outcome, journal)
    assert not wrong, matrix.lines(name, expected.what, expected.breaks, outcome, wrong)


@pytest.mark.proof
@pytest.mark.parametrize("name", [name for name in ALL if name not in IN_A_RUN])
def test_device_is_judged_as_its_author_expects(
    name: str, judge_in_process: Callable[..., Summary], built: Path, tmp_path: Path
) -> None:
    """By the suite in this process."""
    path = kit_matrix.put(ALL[name], built, tmp_path)
    judge_in_process(path, tmp_path, most=MOST, whole=ALL[name].expected.breaks)
    journal = tmp_path / "journal.jsonl"
    check(name, matrix.read(journal, None, ""), journal)


@pytest.mark.proof
@pytest.mark.parametrize("name", IN_A_RUN)
def test_device_that_ends_is_judged_as_its_author_expects(name: str, built: Path, tmp_path: Path) -> None:
    """By a run of its own, with its exit code."""
    outcome = kit_matrix.run(ALL[name], built, tmp_path, MOST)
    check(name, outcome, tmp_path / name / "result" / "journal.jsonl")


@pytest.mark.parametrize("name", ALL)
def test_device_says_whether_it_is_good(name: str) -> None:
    """A good device breaks nothing; another one, and each fault, breaks a rule, dies, or does not answer."""
    expected = ALL[name].expected
    assert expected.good != bool(expected.breaks or expected.dies or expected.exit in (1, 3))


@pytest.mark.parametrize("name", ALL)
def test_device_names_existing_rules(name: str) -> None:
    """Each pattern of ``expected.yaml`` matches a rule."""
    expected = ALL[name].expected
    patterns = expected.breaks | expected.may | expected.unjudged | expected.judged
    assert {pattern for pattern in patterns if not matching(CATALOGUE.rules, pattern)} == set()
