# SPDX-License-Identifier: GPL-2.0-only
"""What happened to a run rather than to a rule, and the rules that do not count, for formats that know tests alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from .case import Case
from .summary import Summary
from .verdict import Verdict

#: What such a test is called.
NAME: Final = "outside of any rule"

NOT_BLOCKING: Final = "does not block"


class Happened(NamedTuple):
    """One thing that happened."""

    #: As that of a rule would be.
    verdict: Verdict
    text: str


def outside(summary: Summary) -> Iterator[Happened]:
    """All that counts for the exit code and is in no rule."""
    yield from (Happened(Verdict.FAIL, f"a server died: {text}") for text in summary.deaths)
    if summary.kernel_log:
        yield Happened(Verdict.KERNEL, "the kernel complained: " + "; ".join(summary.kernel_log))
    yield from (Happened(Verdict.STALE, f"waiver of {used.waiver}: {used.unused}") for used in summary.stale_warnings)
    yield from (Happened(Verdict.HANG, stop.message) for stop in summary.hangs)
    yield from (Happened(Verdict.BROKEN, stop.message) for stop in summary.stops)


def blocks(summary: Summary, case: Case) -> bool:
    """Whether the verdict on a case counts; those on the suite itself do."""
    return not summary.of_device(case) or case.rule in summary.counting
