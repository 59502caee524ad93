# SPDX-License-Identifier: GPL-2.0-only
"""The cases that had different verdicts in different rounds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from ....common.words import counted
from ....common.wrap import wrap
from ...summary import Summary

#: How many cases of each rule are named.
_CASES: Final = 8


def flaky(summary: Summary, width: int) -> Iterator[str]:
    """Each flaky case with its verdicts, round by round. The gravest of them is the verdict on its rule."""
    order = {rule: number for number, rule in enumerate(summary.rules)}
    found = sorted(summary.flaky, key=lambda cases: order.get(cases[0].rule, len(order)))
    if not found:
        return
    yield ""
    cases, rounds = counted(len(found), "case"), counted(summary.run.rounds, "round")
    yield from wrap("", f"Flaky: {cases} had different verdicts in {rounds}; the gravest counts", width)
    for rule, those in groupby(found, key=lambda cases: cases[0].rule):
        yield f"   {rule}"
        unlike = list(those)
        for each in unlike[:_CASES]:
            verdicts = ", ".join(case.verdict.value for case in each)
            yield from wrap("      ", f"{each[0].id.rpartition('/')[2]}: {verdicts}", width)
        if len(unlike) > _CASES:
            yield f"      and {counted(len(unlike) - _CASES, 'more case')}"
