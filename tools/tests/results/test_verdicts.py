# SPDX-License-Identifier: GPL-2.0-only
"""How verdicts add up, and the exit codes that result."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest

from vfio_compliance.results.verdict import Verdict, exit_code, gravest, worst_exit

GRAVEST_FIRST = ["fail", "stale", "kernel", "hang", "broken", "not-run", "waived", "pass", "n/a"]

CODES = {"hang": 3, "fail": 1, "stale": 1, "kernel": 1, "broken": 2, "not-run": 2, "waived": 0, "pass": 0, "n/a": 4}


def test_every_verdict_has_its_place() -> None:
    """The order used by the tests below has all verdicts."""
    assert sorted(GRAVEST_FIRST) == sorted(verdict.value for verdict in Verdict) == sorted(CODES)


@pytest.mark.parametrize(("first", "second"), list(combinations(GRAVEST_FIRST, 2)))
def test_the_graver_decides(first: str, second: str) -> None:
    """The result of two verdicts is the graver one, in either order."""
    both = [Verdict(first), Verdict(second)]
    assert gravest(both) is gravest(reversed(both)) is both[0]
    assert exit_code(both) == exit_code(reversed(both)) == CODES[first]


@pytest.mark.parametrize(("verdict", "code"), CODES.items())
def test_exit_code(verdict: str, code: int) -> None:
    """Only a run in which something held and nothing was broken ends in 0."""
    assert exit_code([Verdict(verdict)]) == code


def test_without_cases_or_rules() -> None:
    """A rule without a case was not run, and a run without a rule judged nothing."""
    assert gravest([]) is Verdict.NOT_RUN
    assert exit_code([]) == 4


@pytest.mark.parametrize(
    ("codes", "code"),
    [([], 0), ([0, 4], 4), ([4, 2], 2), ([2, 3], 3), ([3, 1], 1), ([1, 3, 2, 4, 0], 1), ([0, 137], 1)],
)
def test_several_runs(codes: Sequence[int], code: int) -> None:
    """The exit code is that of a single run with all verdicts: broken before hung before not judged."""
    assert worst_exit(codes) == worst_exit(reversed(codes)) == code
