# SPDX-License-Identifier: GPL-2.0-only
"""Whether the command that a report gives its reader shows the failure again.

A case that failed is run alone, in a separate run. If it does not fail then, the device or its environment remembers an
earlier case, which is looked for: first among the cases just before, then further and further back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ..results.case import NAMED, Case, shows
from ..results.events import Rerun
from ..results.summary import Summary
from ..results.verdict import Verdict

#: Seconds to run failing cases alone, and to look for earlier ones, if the run was shorter than that.
_ALONE, _LOOKING = 10.0, 30.0

#: Running failing cases alone may take this part of the run's time; looking for earlier ones, as long as the run.
_PART = 1 / 3

#: Factor by which the number of earlier cases grows if the nearest ones do not suffice, once they are too many to name.
_FURTHER = 8


class _NoTime(Exception):
    """The rest would take too long, or cannot be done."""


class Reruns:
    """Runs the first failing case of each rule once more, after nothing or after earlier cases.

    A case that hung, or in which a server died or the kernel complained, is not run again: that is expensive.
    """

    def __init__(self, summary: Summary, play: Callable[[Sequence[str]], Verdict | None]) -> None:
        """``play`` runs cases in this order and gives the verdict on the last; None if no more can be run."""
        self._summary = summary
        self._play = play
        self._ran = [case for case in summary.cases.values() if case.over and case.verdict is not Verdict.NOT_RUN]
        self._until = 0.0

    def __iter__(self) -> Iterator[Rerun]:
        """Yield each rerun as soon as it was made."""
        try:
            self._until = time.monotonic() + max(_ALONE, self._summary.seconds * _PART)
            innocent = []
            for case in self._failed():
                rerun = self._run(case, [])
                yield rerun
                if not shows(rerun.verdict):
                    innocent.append(case)
            self._until = time.monotonic() + max(_LOOKING, self._summary.seconds)
            for case in innocent:
                yield from self._look(case)
        except _NoTime:
            return

    def _failed(self) -> list[Case]:
        """The first failing case of each rule, except the very first of the run; rules that others need come first."""
        summary, first = self._summary, dict[str, Case]()
        for case in self._ran[1:]:
            if case.verdict is Verdict.FAIL and not summary.rules[case.rule].on_request:
                first.setdefault(case.rule, case)
        known = [case for case in first.values() if _may_run(case)]
        return sorted(known, key=lambda case: bool(summary.causes(case.rule)))

    def _look(self, case: Case) -> Iterator[Rerun]:
        """Look for the earlier case after which ``case`` fails, or for as few as possible."""
        before = [each for each in self._ran[: self._ran.index(case)] if _may_run(each)]
        near, far = 0, min(1, len(before))
        while near < far:
            yield (rerun := self._run(case, before[-far:]))
            if shows(rerun.verdict):
                if near:
                    yield from self._narrow(case, before[-far : len(before) - near])
                return
            near, far = far, min(far * (_FURTHER if far >= NAMED else 2), len(before))

    def _narrow(self, case: Case, before: list[Case]) -> Iterator[Rerun]:
        """See whether these suffice without the ones after them, then halve them as long as one half suffices."""
        parts = [before]
        while parts:
            yield (rerun := self._run(case, part := parts.pop(0)))
            if shows(rerun.verdict):
                half = len(part) // 2
                parts = [part[half:], part[:half]] if half else []

    def _run(self, case: Case, before: Sequence[Case]) -> Rerun:
        """Raises _NoTime."""
        cases = [*before, case]
        if time.monotonic() + sum(each.seconds for each in cases) > self._until:
            raise _NoTime
        verdict = self._play([each.id for each in cases])
        if verdict in (None, Verdict.BROKEN):
            raise _NoTime
        return Rerun(case.id, verdict, tuple(each.id for each in before))


def _may_run(case: Case) -> bool:
    return case.verdict is not Verdict.HANG and not case.deaths and not case.kernel_log
