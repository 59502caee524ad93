# SPDX-License-Identifier: GPL-2.0-only
"""What can be decided only once a whole journal was read: dead servers, the kernel's complaints, waivers."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import TypeAlias

from .case import Case
from .failure import Failure, Stop
from .setting import Waiver
from .summary import Summary
from .verdict import Verdict

#: What the kernel says of a task that hangs: the case that hung says so already.
_HUNG_TASK = "blocked for more than"

#: What was to be said of each case without the kernel's complaints.
_Before: TypeAlias = dict[str, tuple[Verdict, Failure | None]]


def settle(summary: Summary, today: datetime.date) -> None:
    """Give each case its last verdict. ``today`` decides whether a waiver has expired."""
    _of_the_suite(summary)
    _deaths(summary)
    before = {case.id: (case.verdict, case.failure) for case in summary.cases.values()}
    for case in summary.cases.values():
        if case.kernel_log:
            _complained(case)
    _Waivers(summary, today, before).apply()


def _of_the_suite(summary: Summary) -> None:
    """What befell the device while the suite itself was judged is told of the device, and of no rule."""
    for case in summary.cases.values():
        if summary.of_device(case):
            continue
        if case.verdict is Verdict.HANG:
            summary.hangs.append(Stop(f"{case.why} ({case.name})", case.why.remedy))
        if case.kernel_log and case.verdict is Verdict.BROKEN:
            _complained(case)  # the suite is not at fault where the kernel ended its process
        summary.deaths += [f"{death} ({case.name})" for death in case.deaths]
        summary.kernel_log += case.kernel_log
        case.deaths, case.kernel_log = [], []


# -- servers that died ------------------------------------------------------------------------------------------------


def _deaths(summary: Summary) -> None:
    """A server that ended breaks the rule of the case, unless something else that was seen explains it."""
    dead = [case for case in summary.cases.values() if case.deaths]
    # What a rule stands on comes before the rule.
    for case in sorted(dead, key=lambda case: len(summary.foundations(case.rule))):
        seen = "\n".join(map(str, case.deaths))
        cause = next(iter(summary.causes(case.rule)), None)
        if case.verdict in (Verdict.FAIL, Verdict.HANG):
            case.failure = replace(case.why, server=seen)
        elif cause:
            summary.notes[f"{case.name}: {seen}; this is put down to {cause}, which failed"] += 1
            case.deaths = []
        elif (case.verdict is Verdict.NOT_RUN and case.failure) or not any(death.asked for death in case.deaths):
            # What the rule needs was not reached, or it was judged before: no verdict on it, but on the device.
            if case.verdict is not Verdict.PASS:
                case.failure = replace(case.why, server=seen)
            summary.deaths += [f"{death} ({case.name})" for death in case.deaths]
            case.deaths = []
        else:
            _overrule(case, Verdict.FAIL, Failure("watching the server", "it keeps running", seen))


def _overrule(case: Case, verdict: Verdict, failure: Failure) -> None:
    """Another verdict, which does not lose what was said of the case before."""
    if before := case.failure:
        failure = replace(failure, also=before.brief, traceback=before.traceback)
    case.verdict, case.failure = verdict, failure


# -- the kernel -------------------------------------------------------------------------------------------------------


def _complained(case: Case) -> None:
    """A case during which the kernel complained did not pass, whatever else is said of it."""
    lines = "\n".join(case.kernel_log)
    hung = case.verdict is Verdict.HANG and all(_HUNG_TASK in line for line in case.kernel_log)
    if case.verdict in (Verdict.FAIL, Verdict.STALE) or hung:
        case.failure = replace(case.why, kernel=lines)
    else:
        _overrule(case, Verdict.KERNEL, Failure("watching the kernel's log", "no complaint", lines))


# -- waivers ----------------------------------------------------------------------------------------------------------


class _Waivers:
    """The waivers of the profile, applied to the cases of a run."""

    def __init__(self, summary: Summary, today: datetime.date, before: _Before) -> None:
        self._summary = summary
        self._today = today
        self._before = before
        self._at_first = {case.id: case.verdict for case in summary.cases.values()}

    def apply(self) -> None:
        """Every waiver that the profile lists. None excuses the suite itself."""
        for waiver in self._summary.run.waivers:
            self._excuse(waiver)
        for waiver in self._summary.run.waivers:
            self._look_for_stale(waiver)

    def _cases(self, waiver: Waiver) -> list[Case]:
        return list(filter(self._summary.of_device, self._summary.cases_of(waiver.rule)))

    def _excuse(self, waiver: Waiver) -> None:
        expired = waiver.expires is not None and waiver.expires < self._today
        for case in self._cases(waiver):
            if case.verdict not in (Verdict.FAIL, Verdict.KERNEL):
                continue
            if not _listed(waiver, case):
                only = " and ".join(repr(words) for words in (waiver.case, waiver.shows) if words)
                only = only or "no more than the rule broken"
                words = case.why.waiver or f"waived only where it shows {only}: {waiver.reason}"
                case.failure = replace(case.why, waiver=words)
            elif expired:
                case.failure = replace(case.why, waiver=f"waived until {waiver.expires} only: {waiver.reason}")
                case.verdict = Verdict.STALE
            else:
                self._waive(case, waiver.reason)
        lines = [line for line in self._summary.kernel_log if waiver.shows and waiver.shows in line]
        if lines and not expired:
            self._waive_log(lines, waiver.reason)

    def _waive(self, case: Case, reason: str) -> None:
        before, failure = self._before[case.id]
        if case.verdict is Verdict.KERNEL and before not in (Verdict.PASS, Verdict.NOT_APPLICABLE):
            # The complaint is excused; that the case came to no good end is not.
            case.verdict = before
            case.failure = replace(failure or Failure("the case came to no end"), kernel=case.why.seen or "")
        else:
            case.verdict = Verdict.WAIVED
        case.failure = replace(case.why, waiver=reason)
        self._summary.waived_log += case.kernel_log

    def _waive_log(self, lines: list[str], reason: str) -> None:
        """Complaints outside of any rule, where none is to be marked."""
        self._summary.waived_log += lines
        self._summary.kernel_log = [line for line in self._summary.kernel_log if line not in lines]
        text = "\n".join(lines)
        self._summary.notes[f"the kernel logged outside of any rule, waived ({reason}):\n{text}"] += 1

    def _look_for_stale(self, waiver: Waiver) -> None:
        """A waiver is stale when all cases that it is for were run, and held."""
        cases = self._cases(waiver)
        meant = [case for case in cases if _is_for(waiver, case)]
        if waiver.sometimes or self._summary.scope.selection:
            return
        if cases and not meant:
            self._summary.notes[f"the waiver of {waiver.rule} is for no case: {waiver.case!r}"] += 1
        verdicts = {self._at_first[case.id] for case in meant}
        if Verdict.PASS in verdicts and verdicts <= {Verdict.PASS, Verdict.NOT_APPLICABLE}:
            first = next(case for case in meant if self._at_first[case.id] is Verdict.PASS)
            first.verdict = Verdict.STALE
            first.failure = Failure(
                "comparing with the profile's waivers",
                f"the rule broken, as waived: {waiver.reason}",
                "the rule held; remove the waiver",
            )


def _is_for(waiver: Waiver, case: Case) -> bool:
    return not waiver.case or waiver.case in case.id


def _listed(waiver: Waiver, case: Case) -> bool:
    """Whether a case failed as a waiver says.

    What a kernel complains of, or that a server died, is waived by its own words only: each line of the kernel's.
    """
    shows, failure = waiver.shows or "", case.why
    if not _is_for(waiver, case) or (case.kernel_log and case.verdict is not Verdict.KERNEL):
        return False
    if case.kernel_log:
        return bool(shows) and all(shows in line for line in case.kernel_log)
    if case.deaths:
        return bool(shows) and (shows in (failure.seen or "") or shows in failure.server)
    return shows in (failure.seen or "")
