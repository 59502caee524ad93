# SPDX-License-Identifier: GPL-2.0-only
"""The verdicts, how they add up, and the exit codes they lead to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum


class Verdict(Enum):
    """The result of one case, and of one rule; the value is the word in every report."""

    #: The rule held.
    PASS = "pass"
    #: The rule was broken.
    FAIL = "fail"
    #: Broken, as listed in a waiver.
    WAIVED = "waived"
    #: Listed in a waiver, but it held, or the waiver has expired.
    STALE = "stale"
    #: A claim of the profile denies it, or this transport cannot express it.
    NOT_APPLICABLE = "n/a"
    #: The rule was not seen to be broken, but the kernel warned, oopsed or got tainted in the meantime.
    KERNEL = "kernel"
    #: Our set-up or the host failed.
    BROKEN = "broken"
    #: Not judged: the run ended first, a rule that the case depends on failed, or the profile lacks what it needs.
    NOT_RUN = "not-run"
    #: A call did not return by its deadline.
    HANG = "hang"


#: In order of weight: the first of these that any case has is the verdict on its rule.
_GRAVEST_FIRST = (
    Verdict.FAIL,
    Verdict.STALE,
    Verdict.KERNEL,
    Verdict.HANG,
    Verdict.BROKEN,
    Verdict.NOT_RUN,
    Verdict.WAIVED,
    Verdict.PASS,
    Verdict.NOT_APPLICABLE,
)

EXIT_OK = 0
EXIT_FAIL = 1
EXIT_BROKEN = 2
EXIT_HANG = 3
EXIT_NOTHING = 4

_EXIT = {
    Verdict.FAIL: EXIT_FAIL,
    Verdict.STALE: EXIT_FAIL,
    Verdict.KERNEL: EXIT_FAIL,
    Verdict.HANG: EXIT_HANG,
    Verdict.BROKEN: EXIT_BROKEN,
    Verdict.NOT_RUN: EXIT_BROKEN,
    Verdict.WAIVED: EXIT_OK,
    Verdict.PASS: EXIT_OK,
    Verdict.NOT_APPLICABLE: EXIT_NOTHING,
}


_WORST_EXIT_FIRST = (EXIT_FAIL, EXIT_HANG, EXIT_BROKEN, EXIT_NOTHING, EXIT_OK)


def worst_exit(codes: Iterable[int]) -> int:
    """The exit code for several runs together; a code outside of 0 to 4 counts as fail; 0 without any run."""
    known = (code if code in _WORST_EXIT_FIRST else EXIT_FAIL for code in codes)
    return min(known, key=_WORST_EXIT_FIRST.index, default=EXIT_OK)


def tally(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many there are of each verdict, the gravest first."""
    counts = Counter(verdicts)
    return {verdict.value: counts[verdict] for verdict in _GRAVEST_FIRST if verdict in counts}


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that represents all of ``verdicts``; NOT_RUN without any."""
    present = set(verdicts)
    return next((verdict for verdict in _GRAVEST_FIRST if verdict in present), Verdict.NOT_RUN)


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """Exit code of a run: 1 a rule was broken, else 3 a call hung, else 2 something was not judged, else 0; 4 nothing.

    A broken rule outweighs an incomplete run: what was seen to be broken stays broken, whatever else might have run.
    """
    present = set(verdicts)
    return _EXIT[gravest(present)] if present else EXIT_NOTHING
