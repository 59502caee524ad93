# SPDX-License-Identifier: GPL-2.0-only
"""Whether what a report tells its reader to run shows the failure again.

A case that failed is run alone, in a run of its own. Where it does not fail so, the device or what it is in remembers
an earlier case, which is looked for: first among those just before, then further and further back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ..results.case import NAMED, Case, shows
from ..results.events import Rerun
from ..results.summary import Summary
from ..results.verdict import Verdict

#: Seconds that it may take to run failing cases alone, and to look for earlier ones, where the run was shorter.
_ALONE, _LOOKING = 10.0, 30.0

#: Running failing cases alone may take this part of the time that the run took; looking for earlier ones all of it.
_PART = 1 / 3

#: So many times as many earlier cases are taken when the nearest ones were not enough, once they are too many to name.
_FURTHER = 8


class _NoTime(Exception):
    """What is left to do would take too long, or cannot be done."""


class Reruns:
    """Runs the first failing case of each rule once more, after nothing or after earlier cases.

    One that hung, or in which a server died or the kernel complained, is not run again: it is known what that costs.
    """

    def __init__(self, summary: Summary, play: Callable[[Sequence[str]], Verdict | None]) -> None:
        """``play`` runs cases in this order and gives the verdict on the last; None where no more can be run."""
        self._summary = summary
        self._play = play
        self._ran = [case for case in summary.cases.values() if case.over and case.verdict is not Verdict.NOT_RUN]
        self._until = 0.0

    def __iter__(self) -> Iterator[Rerun]:
        """Each as soon as it was made."""
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
        """The first failing case of each rule, but not one before which none ran; what others stand on comes first."""
        summary, first = self._summary, dict[str, Case]()
        for case in self._ran[1:]:
            if case.verdict is Verdict.FAIL and not summary.rules[case.rule].on_request:
                first.setdefault(case.rule, case)
        known = [case for case in first.values() if _may_run(case)]
        return sorted(known, key=lambda case: bool(summary.causes(case.rule)))

    def _look(self, case: Case) -> Iterator[Rerun]:
        """Look for the earlier case after which ``case`` fails, or as few as can be."""
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
        """See whether these are enough without the ones after them, then halve them as long as one half is enough."""
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
