# SPDX-License-Identifier: GPL-2.0-only
"""How verdicts add up, and the exit codes that they lead to."""

from __future__ import annotations

from itertools import combinations

import pytest

from vfio_compliance.results.verdict import Verdict, exit_code, gravest

GRAVEST_FIRST = ["hang", "fail", "stale", "kernel", "broken", "not-run", "waived", "pass", "n/a"]

CODES = {"hang": 3, "fail": 1, "stale": 1, "kernel": 1, "broken": 2, "not-run": 2, "waived": 0, "pass": 0, "n/a": 4}


def test_every_verdict_has_its_place():
    """None is left out of the order that the tests below rest on."""
    assert sorted(GRAVEST_FIRST) == sorted(verdict.value for verdict in Verdict) == sorted(CODES)


@pytest.mark.parametrize(("first", "second"), list(combinations(GRAVEST_FIRST, 2)))
def test_the_graver_decides(first, second):
    """Of two verdicts the graver one stands for both, in either order."""
    both = [Verdict(first), Verdict(second)]
    assert gravest(both) is gravest(reversed(both)) is both[0]
    assert exit_code(both) == exit_code(reversed(both)) == CODES[first]


@pytest.mark.parametrize(("verdict", "code"), CODES.items())
def test_exit_code(verdict, code):
    """Nothing but a run in which something held and nothing was broken ends in 0."""
    assert exit_code([Verdict(verdict)]) == code


def test_nothing():
    """A rule without a case was not run, and a run without a rule judged nothing."""
    assert gravest([]) is Verdict.NOT_RUN
    assert exit_code([]) == 4
