# SPDX-License-Identifier: GPL-2.0-only
"""Which failures a run's waivers excuse, and which waivers are stale.

A waiver of a rule excuses that the rule is broken, and nothing else: not a complaint of the kernel (a taint, an oops),
a report of a sanitizer, or a fault of the suite. Kernel warnings have waivers of their own (``waived_warnings``).
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from ..common import versions
from .case import Case
from .events import Run
from .failure import Failure
from .sanitizer import reports
from .setting import Waiver
from .summary import Summary, UsedWaiver
from .verdict import Verdict


def waive(summary: Summary, today: datetime.date) -> None:
    """Apply every waiver; ``today`` decides whether one has expired."""
    at_first = {case.key: case.verdict for case in summary.cases.values()}
    for waiver in summary.run.waivers:
        used = UsedWaiver(waiver)
        summary.waivers.append(used)
        used.unused = _elsewhere(summary.run, waiver)
        _excuse(summary, used, today)
    for used in summary.waivers:
        if not used.unused:
            _look_for_stale(summary, used, at_first)


def _cases(summary: Summary, waiver: Waiver) -> list[Case]:
    return list(filter(summary.of_device, summary.cases_of(waiver.rule)))


def _elsewhere(run: Run, waiver: Waiver) -> str:
    """Why it does not hold on this kernel, or for this driver; empty if it does."""
    return elsewhere(run, "kernel", waiver.kernel) or elsewhere(run, "driver", waiver.driver)


def elsewhere(run: Run, what: str, held: str | None) -> str:
    """Why ``held``, versions of ``what`` (kernel, driver), does not include this one; empty if it does."""
    if held is None:
        return ""
    version = run.kernel.rpartition(" ")[2] if what == "kernel" else run.driver_version
    inside = _within(held, version)
    if inside is None:
        return f"it holds for {what} {held}, and the version of the {what} is unknown"
    return "" if inside else f"it holds for {what} {held}, and this is {version}"


def _within(held: str, version: str) -> bool | None:
    try:
        return versions.within(held, version)
    except ValueError:  # in a journal that was edited
        return False


def excused(run: Run, case: Case) -> bool:
    """Whether a waiver of the run lists the failure of a case, as far as that is known while it runs."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return any(
        waiver.rule == case.rule
        and (waiver.expires is None or waiver.expires >= today)
        and not _elsewhere(run, waiver)
        and not _unlisted(waiver, case)
        for waiver in run.waivers
    )


def _excuse(summary: Summary, used: UsedWaiver, today: datetime.date) -> None:
    waiver = used.waiver
    for case in _cases(summary, waiver):
        if case.verdict is not Verdict.FAIL:
            continue
        if used.unused:
            case.failure = replace(case.why, waiver=case.why.waiver or f"not waived: {used.unused}")
        elif why := _unlisted(waiver, case):
            case.failure = replace(case.why, waiver=case.why.waiver or f"{why}: {waiver.reason}")
        elif waiver.expires is not None and waiver.expires < today:
            case.failure = replace(case.why, waiver=f"waived until {waiver.expires} only: {waiver.reason}")
            case.verdict = Verdict.STALE
        else:
            case.failure = replace(case.why, waiver=waiver.reason)
            case.verdict = Verdict.WAIVED
            used.cases.append(case)


def _unlisted(waiver: Waiver, case: Case) -> str:
    """Why a waiver does not list the failure of a case; empty if it does."""
    failure, shows = case.why, waiver.shows or ""
    if never_waived(case):
        return "what the kernel or a sanitizer reports is never waived"
    # All that was seen has to be listed. The death of a server explains whatever else was seen.
    seen = (
        [failure.server or failure.seen or ""]
        if case.deaths
        else [failure.seen or "", *(each.seen for each in failure.further)]
    )
    listed = _is_for(waiver, case) and all(shows in text for text in seen)
    # The death of a server is waived only by its own words.
    if listed and (shows or not case.deaths):
        return ""
    only = " and ".join(repr(words) for words in (waiver.case, waiver.shows) if words)
    return f"waived only if it shows {only or 'nothing but the broken rule'}"


def never_waived(case: Case) -> bool:
    """Whether the kernel complained in a case, or a sanitizer in the server."""
    return bool(case.kernel_log) or any(reports(str(death)) for death in case.deaths)


def _look_for_stale(summary: Summary, used: UsedWaiver, at_first: dict[str, Verdict]) -> None:
    """A waiver is stale if all cases that it is for were run and held."""
    waiver = used.waiver
    cases = _cases(summary, waiver)
    meant = [case for case in cases if _is_for(waiver, case)]
    if cases and not meant and not summary.scope.selection and not waiver.sometimes:
        summary.notes[f"the waiver of {waiver.rule} matches no case: {waiver.case!r}"] += 1
    verdicts = {at_first[case.key] for case in meant}
    if Verdict.PASS not in verdicts or not verdicts <= {Verdict.PASS, Verdict.NOT_APPLICABLE}:
        return
    if waiver.sometimes or summary.scope.selection:
        used.unused = "the rule held in the cases that were judged"
        return
    first = next(case for case in meant if at_first[case.key] is Verdict.PASS)
    first.verdict = Verdict.STALE
    used.unused = "the rule held; remove it"
    first.failure = Failure(
        "comparing with the waivers",
        f"the rule broken, as waived: {waiver.reason}",
        f"the rule held; remove the waiver{f' at {waiver.where}' if waiver.where else ''}",
    )


def _is_for(waiver: Waiver, case: Case) -> bool:
    return not waiver.case or waiver.case in case.id
