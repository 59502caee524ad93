# SPDX-License-Identifier: GPL-2.0-only
"""What can be decided only once a whole journal was read: dead servers, the kernel's complaints, waivers."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from .journal import Record
from .verdict import Verdict

if TYPE_CHECKING:
    from .summary import Case, Summary

#: What the kernel says of a task that hangs: the case that hung says so already.
_HUNG_TASK = "blocked for more than"


def settle(summary: Summary, today: datetime.date) -> None:
    """Give each case its last verdict. ``today`` decides whether a waiver has expired."""
    _deaths(summary)
    before = {case.id: (case.verdict, dict(case.failure)) for case in summary.cases.values()}
    for case in summary.cases.values():
        if case.kernel_log:
            _complained(case)
    _Waivers(summary, today, before).apply()


# -- servers that died ------------------------------------------------------------------------------------------------


def _deaths(summary: Summary) -> None:
    """A server that ended breaks the rule of the case, unless something else that was seen explains it."""
    dead = [case for case in summary.cases.values() if case.deaths]
    # What a rule stands on comes before the rule.
    for case in sorted(dead, key=lambda case: len(summary.foundations(case.rule))):
        seen = "\n".join(case.deaths)
        cause = next(iter(summary.causes(case.rule)), None)
        if case.verdict in (Verdict.FAIL, Verdict.HANG):
            case.failure["server"] = seen
        elif cause:
            name = case.id.rpartition("/")[2]
            summary.notes[f"{name}: {seen}; this is put down to {cause}, which failed"] += 1
            case.deaths = []
        elif (case.verdict is Verdict.NOT_RUN and case.failure) or all(map(_after_all_calls, case.deaths)):
            # What the rule needs was not reached, or it was judged before: no verdict on it, but on the device.
            if case.verdict is not Verdict.PASS:
                case.failure["server"] = seen
            summary.deaths += [f"{death} ({case.id.rpartition('/')[2]})" for death in case.deaths]
            case.deaths = []
        else:
            _overrule(case, Verdict.FAIL, {"what": "watching the server", "expected": "it keeps running", "seen": seen})


def _after_all_calls(death: str) -> bool:
    """Whether the server ended when nothing was asked of it any more."""
    return death.startswith(("when its client closed the connection,", "between two connections,", "when it was asked"))


def _overrule(case: Case, verdict: Verdict, failure: dict[str, str]) -> None:
    """Another verdict, which does not lose what was said of the case before."""
    if before := case.failure:
        failure["also"] = f"{before['what']}: seen {before['seen']}" if "seen" in before else before["what"]
        failure |= {key: before[key] for key in ("traceback",) if key in before}
    case.verdict, case.failure = verdict, failure


# -- the kernel -------------------------------------------------------------------------------------------------------


def _complained(case: Case) -> None:
    """A case during which the kernel complained did not pass, whatever else is said of it."""
    lines = "\n".join(case.kernel_log)
    hung = case.verdict is Verdict.HANG and all(_HUNG_TASK in line for line in case.kernel_log)
    if case.verdict in (Verdict.FAIL, Verdict.STALE) or hung:
        case.failure["kernel"] = lines
    else:
        failure = {"what": "watching the kernel's log", "expected": "no complaint", "seen": lines}
        _overrule(case, Verdict.KERNEL, failure)


# -- waivers ----------------------------------------------------------------------------------------------------------


class _Waivers:
    """The waivers of the profile, applied to the cases of a run."""

    def __init__(
        self, summary: Summary, today: datetime.date, before: dict[str, tuple[Verdict, dict[str, str]]]
    ) -> None:
        """``before`` has what was to be said of each case without the kernel's complaints."""
        self._summary = summary
        self._today = today
        self._before = before
        self._at_first = {case.id: case.verdict for case in summary.cases.values()}

    def apply(self) -> None:
        """Every waiver that the profile lists."""
        for waiver in self._summary.run["waivers"]:
            self._excuse(waiver)
        for waiver in self._summary.run["waivers"]:
            self._look_for_stale(waiver)

    def _excuse(self, waiver: Record) -> None:
        expired = waiver["expires"] and datetime.date.fromisoformat(waiver["expires"]) < self._today
        for case in self._summary.cases_of(waiver["rule"]):
            if case.verdict not in (Verdict.FAIL, Verdict.KERNEL):
                continue
            if not _listed(waiver, case):
                only = " and ".join(repr(words) for words in (waiver["case"], waiver["shows"]) if words)
                only = only or "no more than the rule broken"
                case.failure.setdefault("waiver", f"waived only where it shows {only}: {waiver['reason']}")
            elif expired:
                case.failure["waiver"] = f"waived until {waiver['expires']} only: {waiver['reason']}"
                case.verdict = Verdict.STALE
            else:
                self._waive(case, waiver["reason"])
        lines = [line for line in self._summary.kernel_log if waiver["shows"] and waiver["shows"] in line]
        if lines and not expired:
            self._waive_log(lines, waiver["reason"])

    def _waive(self, case: Case, reason: str) -> None:
        before, failure = self._before[case.id]
        if case.verdict is Verdict.KERNEL and before not in (Verdict.PASS, Verdict.NOT_APPLICABLE):
            # The complaint is excused; that the case came to no good end is not.
            case.verdict = before
            case.failure = {"what": "the case came to no end", **failure, "kernel": case.failure["seen"]}
        else:
            case.verdict = Verdict.WAIVED
        case.failure["waiver"] = reason
        self._summary.waived_log += case.kernel_log

    def _waive_log(self, lines: list[str], reason: str) -> None:
        """Complaints outside of any case, where no rule is to be marked."""
        self._summary.waived_log += lines
        self._summary.kernel_log = [line for line in self._summary.kernel_log if line not in lines]
        text = "\n".join(lines)
        self._summary.notes[f"the kernel logged outside of any case, waived ({reason}):\n{text}"] += 1

    def _look_for_stale(self, waiver: Record) -> None:
        """A waiver is stale when all cases that it is for were run, and held."""
        cases = self._summary.cases_of(waiver["rule"])
        meant = [case for case in cases if _is_for(waiver, case)]
        if waiver["sometimes"] or self._summary.scope.selection:
            return
        if cases and not meant:
            self._summary.notes[f"the waiver of {waiver['rule']} is for no case: {waiver['case']!r}"] += 1
        verdicts = {self._at_first[case.id] for case in meant}
        if Verdict.PASS in verdicts and verdicts <= {Verdict.PASS, Verdict.NOT_APPLICABLE}:
            first = next(case for case in meant if self._at_first[case.id] is Verdict.PASS)
            first.verdict = Verdict.STALE
            first.failure = {
                "what": "comparing with the profile's waivers",
                "expected": f"the rule broken, as waived: {waiver['reason']}",
                "seen": "the rule held; remove the waiver",
            }


def _is_for(waiver: Record, case: Case) -> bool:
    return not waiver["case"] or waiver["case"] in case.id


def _listed(waiver: Record, case: Case) -> bool:
    """Whether a case failed as a waiver says.

    What a kernel complains of, or that a server died, is waived by its own words only: each line of the kernel's.
    """
    shows = waiver["shows"] or ""
    if not _is_for(waiver, case) or (case.kernel_log and case.verdict is not Verdict.KERNEL):
        return False
    if case.kernel_log:
        return bool(shows) and all(shows in line for line in case.kernel_log)
    if case.deaths:
        return bool(shows) and any(shows in case.failure.get(key, "") for key in ("seen", "server"))
    return shows in case.failure.get("seen", "")
