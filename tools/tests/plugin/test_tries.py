# SPDX-License-Identifier: GPL-2.0-only
"""Which of the tries of a case counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from vfio_compliance.plugin.stash import Phase
from vfio_compliance.plugin.tries import Tries
from vfio_compliance.results.verdict import Verdict

PASS, FAIL, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.NOT_RUN


def tried(
    *verdicts: Verdict, left_over: bool = True, in_time: bool = True, device_blamed: bool = True, lost: bool = False
) -> tuple[Verdict, int, list[int], bool]:
    """The tries of a case whose body ends so each time: which counts, how many there were, after which came a reset."""
    resets: list[int] = []
    tries = Tries(device_blamed=device_blamed)
    opened: Any = SimpleNamespace(left_over=left_over, lost=lost, start_over=lambda: resets.append(len(tries.phases)))
    for verdict in verdicts:
        if not tries.over([Phase(PASS), Phase(verdict), Phase(PASS)], opened, in_time=in_time):
            break
    return verdicts[tries.counts], len(tries.phases), resets, tries.blames_another


@pytest.mark.parametrize(
    ("verdicts", "counts", "often", "another"),
    [
        ((PASS,), PASS, 1, False),
        ((Verdict.NOT_APPLICABLE,), Verdict.NOT_APPLICABLE, 1, False),
        ((FAIL, FAIL), FAIL, 2, False),
        ((FAIL, PASS, FAIL), PASS, 3, True),
        ((FAIL, PASS, PASS), FAIL, 3, False),
        ((FAIL, NOT_RUN), FAIL, 2, False),
        ((NOT_RUN, PASS), PASS, 2, False),
        ((NOT_RUN, FAIL), FAIL, 2, False),
        ((Verdict.HANG,), Verdict.HANG, 1, False),
        ((Verdict.BROKEN,), Verdict.BROKEN, 1, False),
    ],
)
def test_after_an_earlier_case(verdicts: tuple[Verdict, ...], counts: Verdict, often: int, another: bool) -> None:
    """On a device that was not reset; a reset comes before the second try, and none before the third."""
    assert tried(*verdicts) == (counts, often, [1] if often > 1 else [], another)


@pytest.mark.parametrize(
    "why", [{"left_over": False}, {"in_time": False}, {"device_blamed": False}, {"lost": True}], ids=str
)
def test_once(why: Mapping[str, bool]) -> None:
    """After a reset, without time for more, for another reason than the device, and where that is gone, once is all."""
    assert tried(FAIL, PASS, FAIL, **why) == (FAIL, 1, [], False)
