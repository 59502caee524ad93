# SPDX-License-Identifier: GPL-2.0-only
"""Which warnings of the kernel a run's waivers excuse, and which of these waivers are stale.

A waiver excuses what one WARN statement prints, and nothing else that a kernel reports. Such a statement also taints
the kernel (W), once until the next boot: the taint is excused if only excused warnings were logged in the same case. A
later warning taints nothing, but has lines of its own. Any other taint counts.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from ..common.kernel_reports import damage
from .case import Case
from .failure import Failure
from .kernel_log import INDENT, TAINTED, UNWATCHED, warned
from .setting import KernelWarning
from .summary import Summary, UsedWarning
from .verdict import Verdict
from .waiving import elsewhere

#: The taint of a WARN statement.
_TAINT = f"{TAINTED}W"

#: Verdicts that say nothing against the rule or the device: then the warning is the only problem.
_HELD = (Verdict.PASS, Verdict.NOT_APPLICABLE)


def excuse(summary: Summary, today: datetime.date) -> None:
    """Apply every waiver of a warning; ``today`` decides whether one has expired. Excused lines leave the logs."""
    for listed in summary.run.kernel_warnings:
        used = UsedWarning(listed)
        used.unused = elsewhere(summary.run, "kernel", listed.kernel)
        summary.warnings.append(used)
    for case in summary.cases.values():
        if excusing := _excusing(summary, case.kernel_log):
            if summary.of_device(case):
                _excuse(case, excusing, today)
            else:
                _excuse_outside(summary, case.kernel_log, excusing, today)
    if excusing := _excusing(summary, summary.kernel_log):
        _excuse_outside(summary, summary.kernel_log, excusing, today)
    for used in summary.warnings:
        _look_for_stale(summary, used, today)


def _excusing(summary: Summary, log: list[str]) -> list[UsedWarning]:
    """The waivers that excuse all of a log; none if anything in it is not excused."""
    found = []
    heads = [line for line in log if not line.startswith(INDENT)]
    for line in heads:
        used = _waiver_of(summary, line)
        if used is None and line != _TAINT:
            return []
        found += [used] if used else []
    return list({id(used): used for used in found}.values())


def _waiver_of(summary: Summary, line: str) -> UsedWarning | None:
    where = warned(line)
    if where is None or damage(*where):
        return None
    for used in summary.warnings:
        listed = used.waiver
        same = f"/{where.file}".endswith(f"/{listed.file}") and where.function == listed.function
        if same and not used.unused:
            return used
    return None


def _expired(excusing: list[UsedWarning], today: datetime.date) -> KernelWarning | None:
    return next((used.waiver for used in excusing if used.waiver.expires < today), None)


def _excuse(case: Case, excusing: list[UsedWarning], today: datetime.date) -> None:
    lines, expired = "\n".join(case.kernel_log), _expired(excusing, today)
    case.kernel_log = []
    for used in excusing:
        used.cases.append(case)
    reason = "; ".join(used.waiver.reason for used in excusing)
    if expired:
        reason = f"waived until {expired.expires} only: {expired.reason}"
    if case.verdict in _HELD:
        failure = Failure("watching the kernel's log", "no complaint", lines, waiver=reason)
        case.verdict, case.failure = Verdict.STALE if expired else Verdict.WAIVED, failure
    elif expired:
        case.kernel_log = lines.splitlines()  # something else is wrong, too, so the warning is kept
    else:
        case.failure = replace(case.why, kernel=f"{lines}\n{INDENT}waived: {reason}")


def _excuse_outside(summary: Summary, log: list[str], excusing: list[UsedWarning], today: datetime.date) -> None:
    """An expired waiver excuses nothing here; the warning is still noted."""
    for used in excusing:
        used.outside = True
    if not _expired(excusing, today):
        for used in excusing:
            summary.notes[f"{used.waiver} came outside of any rule, as waived: {used.waiver.reason}"] += 1
        log.clear()


def _look_for_stale(summary: Summary, used: UsedWarning, today: datetime.date) -> None:
    """A waiver is stale if all cases were run, the kernel was watched, and the warning did not come."""
    if used.cases or used.outside or used.unused:
        return
    if not summary.target.identity.get("transport", "").startswith("kernel"):
        used.unused = "no kernel is judged"
    elif any(note.startswith(UNWATCHED) for note in summary.notes):
        used.unused = UNWATCHED
    elif used.waiver.sometimes or summary.scope.selection or not all(case.over for case in summary.cases.values()):
        used.unused = "the warning did not come in what was judged"
    else:
        over = f", and the waiver has expired on {used.waiver.expires}" if used.waiver.expires < today else ""
        used.unused = f"the warning did not come{over}; remove it"
        used.stale = True
