# SPDX-License-Identifier: GPL-2.0-only
"""The try of a case that counts."""

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
    """For a case whose body ends so each time: the verdict that counts, the number of tries, the place of the reset."""
    resets: list[int] = []
    tries = Tries(device_blamed=device_blamed)
    opened: Any = SimpleNamespace(left_over=left_over, lost=lost, start_over=lambda: resets.append(len(tries.phases)))
    for verdict in verdicts:
        if not tries.over([Phase(PASS), Phase(verdict), Phase(PASS)], opened, in_time=in_time):
            break
    return verdicts[tries.counts], len(tries.phases), resets, tries.blames_another


@pytest.mark.parametrize(
    ("verdicts", "counts", "number", "another"),
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
def test_after_an_earlier_case(verdicts: tuple[Verdict, ...], counts: Verdict, number: int, another: bool) -> None:
    """On a device that was not reset, the second try follows a reset, the third does not."""
    assert tried(*verdicts) == (counts, number, [1] if number > 1 else [], another)


@pytest.mark.parametrize(
    "why", [{"left_over": False}, {"in_time": False}, {"device_blamed": False}, {"lost": True}], ids=str
)
def test_no_second_try(why: Mapping[str, bool]) -> None:
    """After a reset, without time for more, for a reason other than the device, and if the device is gone."""
    assert tried(FAIL, PASS, FAIL, **why) == (FAIL, 1, [], False)
