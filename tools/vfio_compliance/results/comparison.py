# SPDX-License-Identifier: GPL-2.0-only
"""Two runs compared, rule by rule: what got worse, what got better, and what else changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .about import about
from .case import Case
from .figures import figures
from .summary import Summary
from .verdict import Verdict, worst_exit

#: How bad a verdict is; the same number is neither better nor worse. What was not judged is worse than what was waived.
_RANK: Final = {
    Verdict.PASS: 0,
    Verdict.WAIVED: 1,
    Verdict.NOT_APPLICABLE: 2,
    Verdict.NOT_RUN: 2,
    Verdict.BROKEN: 2,
    None: 2,
    Verdict.STALE: 3,
    Verdict.KERNEL: 3,
    Verdict.HANG: 3,
    Verdict.FAIL: 3,
}

#: The totals that are times in nanoseconds, and their names in seconds.
_TIMES: Final = {"call_ns": "seconds in calls", "reset_ns": "seconds in resets"}


class Trend(Enum):
    """How the result of a rule changed."""

    WORSE = "Worse"
    BETTER = "Better"
    OTHER = "Other changes"
    SAME = "The same"


@dataclass(frozen=True, slots=True)
class Side:
    """A rule, or a case, in one of the runs."""

    #: None if it is not in the run.
    verdict: Verdict | None
    calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CaseChange:
    """A case of the earlier run whose verdict differs in the later one, or that is not in it."""

    name: str
    before: Verdict
    #: None if it is not in the run.
    after: Verdict | None
    #: Why it did not pass the second time, in a line.
    why: str

    @property
    def trend(self) -> Trend:
        """How its verdict changed."""
        return _trend(self.before, self.after)


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A rule in both runs, or in one of them."""

    rule: str
    clause: str
    before: Side
    after: Side
    cases: tuple[CaseChange, ...]

    @property
    def trend(self) -> Trend:
        """Worse: its verdict is graver, it is no longer judged, or one of its cases got worse."""
        trends = {_trend(self.before.verdict, self.after.verdict), *(case.trend for case in self.cases)}
        return next(trend for trend in Trend if trend in trends)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two runs differ, the earlier one first."""

    rules: tuple[RuleChange, ...]
    #: Facts of device, driver, kernel and program that differ: before and after, empty if unknown.
    about: dict[str, tuple[str, str]]
    #: Numbers of both runs, by name; None if a run does not have one.
    figures: dict[str, tuple[float | None, float | None]]
    exit_codes: tuple[int, int]

    @property
    def worse(self) -> bool:
        """Whether a rule got worse, or the run as a whole did for a reason outside of the rules."""
        before, after = self.exit_codes
        graver = before != after and worst_exit(self.exit_codes) == after
        return graver or any(change.trend is Trend.WORSE for change in self.rules)


def compare(before: Summary, after: Summary) -> Comparison:
    """Both runs, the earlier first."""
    verdicts = (before.verdicts, after.verdicts)
    rules = tuple(
        RuleChange(
            rule,
            (after if rule in after.rules else before).rules[rule].clause,
            _side(before, rule, verdicts[0].get(rule)),
            _side(after, rule, verdicts[1].get(rule)),
            tuple(_cases(before, after, rule)),
        )
        for rule in dict.fromkeys([*verdicts[1], *verdicts[0]])
    )
    return Comparison(rules, _about(before, after), _figures(before, after), (before.exit_code, after.exit_code))


def _trend(before: Verdict | None, after: Verdict | None) -> Trend:
    if before is after:
        return Trend.SAME
    was, now = _RANK[before], _RANK[after]
    if was < now:
        return Trend.WORSE
    # A rule that was broken and is no longer judged did not get better, nor did one that is now seen to be broken.
    better = now < was and now < _RANK[None] and after is not Verdict.WAIVED
    return Trend.BETTER if better else Trend.OTHER


def _side(summary: Summary, rule: str, verdict: Verdict | None) -> Side:
    cases = summary.cases_of(rule)
    calls = sum(case.totals.calls for case in cases)
    return Side(verdict, calls, sum(case.seconds for case in cases))


def _cases(before: Summary, after: Summary, rule: str) -> list[CaseChange]:
    known = {case.key: case for case in after.cases_of(rule)}
    if not known:  # the rule is not in the later run at all, which is reported for the rule
        return []
    changes = []
    for case in before.cases_of(rule):
        later = known.get(case.key)
        if later is None:
            changes.append(CaseChange(case.name, case.verdict, None, "it is not in the later run"))
        elif later.verdict is not case.verdict:
            changes.append(CaseChange(case.name, case.verdict, later.verdict, _why(later)))
    return changes


def _why(case: Case) -> str:
    return "" if case.verdict is Verdict.PASS else case.why.whole


def _about(before: Summary, after: Summary) -> dict[str, tuple[str, str]]:
    both = (_known(before), _known(after))
    names = [name for name in dict.fromkeys([*both[0], *both[1]]) if both[0].get(name) != both[1].get(name)]
    changed = {name: (both[0].get(name, ""), both[1].get(name, "")) for name in names}
    if rules := _rules(before, after):
        changed["rules"] = (str(len(before.rules)), f"{len(after.rules)} ({rules})")
    return changed


def _known(summary: Summary) -> dict[str, str]:
    run = summary.run
    known = {name: text for name, text in about(summary).items() if name != "judged"}
    return {"program": run.version, **known, "plan": run.plan.name, "seed": str(run.seed)}


def _rules(before: Summary, after: Summary) -> str:
    """How the rules themselves differ, in words."""
    numbers = Counter(
        {
            "new": len(after.rules.keys() - before.rules.keys()),
            "gone": len(before.rules.keys() - after.rules.keys()),
            "say something else": sum(
                before.rules[rule].says != after.rules[rule].says for rule in before.rules.keys() & after.rules.keys()
            ),
        }
    )
    return ", ".join(f"{number} {what}" for what, number in numbers.items() if number)


def _figures(before: Summary, after: Summary) -> dict[str, tuple[float | None, float | None]]:
    both = [dict(_numbers(summary)) for summary in (before, after)]
    return {name: (both[0].get(name), both[1].get(name)) for name in dict.fromkeys([*both[0], *both[1]])}


def _numbers(summary: Summary) -> list[tuple[str, float]]:
    """Of the whole run, of states, and of flows the medians."""
    known = figures(summary.measures)
    flows = [
        (f"{kind}, {name}", each["median"] if isinstance(each, dict) else each)
        for kind, flow in known["flows"].items()
        for name, each in flow.items()
    ]
    states = [
        (f"seconds in {state}, {name}", spent)
        for name, each in known["states"].items()
        for state, spent in each.items()
    ]
    counts = [(name, number) for name, number in summary.totals.items() if name not in _TIMES]
    times = [(text, summary.totals[name] / 1e9) for name, text in _TIMES.items() if name in summary.totals]
    return [*counts, ("seconds", summary.seconds), *times, *states, *flows]
