# SPDX-License-Identifier: GPL-2.0-only
"""What happened to a run rather than to a rule, and rules that do not count, for formats that only have tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from .case import Case
from .summary import Summary
from .verdict import Verdict

#: The name of such a test.
NAME: Final = "outside of any rule"

NOT_BLOCKING: Final = "does not block"


class Happened(NamedTuple):
    """One thing that happened."""

    #: The verdict, as for a rule.
    verdict: Verdict
    text: str


def outside(summary: Summary) -> Iterator[Happened]:
    """All that counts for the exit code and does not belong to a rule."""
    yield from (Happened(Verdict.FAIL, f"a server died: {text}") for text in summary.deaths)
    if summary.kernel_log:
        yield Happened(Verdict.KERNEL, "the kernel complained: " + "; ".join(summary.kernel_log))
    yield from (Happened(Verdict.STALE, f"waiver of {used.waiver}: {used.unused}") for used in summary.stale_warnings)
    yield from (Happened(Verdict.HANG, stop.message) for stop in summary.hangs)
    yield from (Happened(Verdict.BROKEN, stop.message) for stop in summary.stops)


def blocks(summary: Summary, case: Case) -> bool:
    """Whether the verdict on a case counts; verdicts on the suite itself do."""
    return not summary.of_device(case) or case.rule in summary.counting
