# SPDX-License-Identifier: GPL-2.0-only
"""Which case of a run a user means, and which failing case of a rule shows the reason most clearly."""

from __future__ import annotations

from collections.abc import Iterator

from ..common.suggest import did_you_mean, similar
from ..results.case import Case
from ..results.summary import Summary
from ..results.verdict import Verdict
from .trace import NoProgram

#: Verdicts of cases whose failure a program can show.
_FAILED = (Verdict.FAIL, Verdict.WAIVED, Verdict.HANG, Verdict.KERNEL)


def failing(summary: Summary) -> Iterator[list[Case]]:
    """For each failed rule of the device, the cases to be tried, the most promising one first."""
    for rule in summary.device_verdicts:
        cases = [case for case in summary.cases_of(rule) if case.verdict in _FAILED and case.failed_call]
        if cases:
            yield _to_be_tried(cases)


def _to_be_tried(cases: list[Case]) -> list[Case]:
    """The one with the fewest calls; then the one that ran first, after the fewest others."""
    return list({case.key: case for case in (min(cases, key=_length), cases[0])}.values())


def chosen(summary: Summary, what: str) -> list[list[Case]]:
    """The failing cases that ``what`` names, as for ``--only``; for a rule, those to be tried. Raises NoProgram."""
    rules = [rule for rule in summary.rules.values() if _is(what, rule.id) or what in rule.clauses]
    named = [case for rule in rules for case in summary.cases_of(rule.id)]
    if not rules:
        named = [case for case in summary.cases.values() if case.id.endswith(what) or case.key.endswith(what)]
    if rules and not named:
        raise NoProgram(f"no case of {what} was run: there is nothing to show")
    if not named:
        known = [*summary.rules, *(case.name for case in summary.cases.values())]
        raise NoProgram(f"the run has neither a case nor a rule {what!r}{did_you_mean(similar(what, known))}")
    failed: dict[str, list[Case]] = {}
    for case in named:
        if case.verdict in _FAILED:
            failed.setdefault(case.rule, []).append(case)
    if not failed:
        words = ", ".join(sorted({case.verdict.value for case in named}))
        raise NoProgram(f"{what} did not fail in this run ({words}): there is nothing to show")
    return [_to_be_tried(cases) for cases in failed.values()]


def _length(case: Case) -> tuple[int, int]:
    """How many calls a case made until it failed; one without calls was judged from those of others."""
    calls = sum(call.times for call in case.calls if call.serial <= case.failed_call)
    return calls or 1 << 31, len(case.stands_on)


def _is(pattern: str, rule: str) -> bool:
    """Whether a pattern names a rule, or its beginning up to the end of a word."""
    return rule == pattern or (rule.startswith(pattern) and not rule[len(pattern) : len(pattern) + 1].isalnum())
