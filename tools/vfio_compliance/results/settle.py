# SPDX-License-Identifier: GPL-2.0-only
"""What can be decided only after the whole journal was read: dead servers, the kernel's complaints, waivers."""

from __future__ import annotations

import datetime
from dataclasses import replace

from . import waived_warnings
from .case import Case
from .failure import Failure, Stop
from .kernel_log import INDENT
from .sanitizer import reports
from .summary import Explained, Summary
from .verdict import Verdict
from .waiving import waive

#: Verdicts on a rule that can explain the end of a server.
_EXPLAINS = (Verdict.FAIL, Verdict.KERNEL, Verdict.HANG, Verdict.STALE)

#: The kernel's message about a task that hangs: the case that hung reports this already.
_HUNG_TASK = "blocked for more than"


def settle(summary: Summary, today: datetime.date) -> None:
    """Give each case its final verdict. ``today`` decides whether a waiver has expired."""
    waived_warnings.excuse(summary, today)
    _of_the_suite(summary)
    _deaths(summary)
    for case in summary.cases.values():
        if case.kernel_log:
            _complained(case)
    waive(summary, today)
    for explained in summary.explained:
        _put_down(summary, explained)


def _put_down(summary: Summary, explained: Explained) -> None:
    """A death is attributed to a rule that is broken and counts; else it counts itself."""
    text = f"{explained.case}: {explained.seen}"
    if summary.counted.get(explained.cause) in _EXPLAINS:
        summary.notes[f"{text}; this is attributed to {explained.cause}, which failed"] += 1
    else:
        summary.deaths.append(text)


def _of_the_suite(summary: Summary) -> None:
    """What happened to the device while the suite itself was judged is reported for the device, not for a rule."""
    for case in summary.cases.values():
        if summary.of_device(case):
            continue
        if case.verdict is Verdict.HANG:
            summary.hangs.append(Stop(f"{case.why} ({case.name})", case.why.remedy))
        if case.kernel_log and case.verdict is Verdict.BROKEN:
            _complained(case)  # the suite is not at fault if the kernel ended its process
        summary.deaths += [f"{death} ({case.name})" for death in case.deaths]
        summary.kernel_log += case.kernel_log
        case.deaths, case.kernel_log = [], []


# -- servers that died ------------------------------------------------------------------------------------------------


def _deaths(summary: Summary) -> None:
    """The end of a server breaks the rule of the case, unless another failure explains it."""
    dead = [case for case in summary.cases.values() if case.deaths]
    # The rules that a rule depends on come before it.
    for case in sorted(dead, key=lambda case: len(summary.foundations(case.rule))):
        seen = "\n".join(map(str, case.deaths))
        cause = next(iter(summary.causes(case.rule)), None)
        if case.verdict in (Verdict.FAIL, Verdict.HANG):
            case.failure = replace(case.why, server=seen)
        elif cause and not reports(seen):
            summary.explained.append(Explained(case.name, seen, cause))
            case.deaths = []
        elif (case.verdict is Verdict.NOT_RUN and case.failure) or not any(death.asked for death in case.deaths):
            # The rule's precondition was not reached, or it was judged before: this counts for the device alone.
            if case.verdict is not Verdict.PASS:
                case.failure = replace(case.why, server=seen)
            summary.deaths += [f"{death} ({case.name})" for death in case.deaths]
            case.deaths = []
        else:
            _overrule(case, Verdict.FAIL, Failure("watching the server", "it keeps running", seen))


def _overrule(case: Case, verdict: Verdict, failure: Failure) -> None:
    """Replace the verdict, and keep the former result of the case."""
    if before := case.failure:
        failure = replace(failure, also=before.brief, traceback=before.traceback)
    case.verdict, case.failure = verdict, failure


# -- the kernel -------------------------------------------------------------------------------------------------------


def _complained(case: Case) -> None:
    """A case during which the kernel complained did not pass, whatever its own result."""
    lines = "\n".join(case.kernel_log)
    said = [line for line in case.kernel_log if not line.startswith(INDENT)]
    hung = case.verdict is Verdict.HANG and all(_HUNG_TASK in line for line in said)
    if case.verdict in (Verdict.FAIL, Verdict.STALE) or hung:
        case.failure = replace(case.why, kernel=lines)
    else:
        _overrule(case, Verdict.KERNEL, Failure("watching the kernel's log", "no complaint", lines))
