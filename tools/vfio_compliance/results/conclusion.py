# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on the device: a word, and a line that claims no more than was judged."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ..common.words import counted
from .case import ENDED, Case
from .setting import NO_SHOULD
from .summary import Summary
from .verdict import EXIT_FAIL, EXIT_NOTHING, EXIT_OK, Verdict

#: The first word if every rule that counts held or was waived.
_CONFORMANT: Final = "CONFORMANT"

#: Characters of a reason; the full reason is above the verdict.
_LONGEST = 120


class RunVerdict(NamedTuple):
    """CONFORMANT, CONFORMANT WITH WAIVERS (n), NOT CONFORMANT, INCOMPLETE, SELECTION or NOTHING JUDGED; and why."""

    word: str
    detail: str
    #: The plan by which it was judged, with what keeps this from being a certificate.
    plan: str = ""

    def __str__(self) -> str:
        return f"{self.word} by plan {self.plan}: {self.detail}"


def conclude(summary: Summary) -> RunVerdict:
    """The verdict, by what was judged of what was to be judged."""
    concluded, scope = _conclude(summary), summary.scope
    if flaky := len(summary.flaky):
        unlike = f"{counted(flaky, 'case')} flaky in {counted(summary.run.rounds, 'round')}"
        concluded = concluded._replace(detail=f"{concluded.detail}; {unlike}")
    no_certificate = concluded.word.startswith(_CONFORMANT) and not scope.certifies
    words = (scope.plan, NO_SHOULD if scope.no_should else "", "(no certificate)" if no_certificate else "")
    return concluded._replace(plan=" ".join(filter(None, words)))


def _conclude(summary: Summary) -> RunVerdict:
    tally, code, scope = _Tally(summary), summary.exit_code, summary.scope
    if code == EXIT_NOTHING and not summary.device_verdicts and summary.cases:
        return RunVerdict("NOTHING JUDGED", "no rule of the device was selected")
    if scope.selection and summary.cases:
        return RunVerdict("SELECTION", f"{_chosen(summary)}: {_listed([*tally.all(), *_outside(summary)])}")
    if code == EXIT_NOTHING:
        return RunVerdict("NOTHING JUDGED", _listed(tally.all()) or "no case was run")
    if code == EXIT_FAIL:
        return RunVerdict("NOT CONFORMANT", _listed([*tally.trouble(), *_outside(summary)]))
    if code != EXIT_OK:
        return RunVerdict("INCOMPLETE", "; ".join(_missing(summary, tally)))
    held = f"{counted(tally.held, 'rule')} held"
    if waived := tally[Verdict.WAIVED]:
        return RunVerdict(f"{_CONFORMANT} WITH WAIVERS ({waived})", f"{held}, {waived} broken as waived{tally.aside()}")
    return RunVerdict(_CONFORMANT, held + tally.aside())


class _Tally:
    """The rules of the device by verdict. Those that do not count are kept apart."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        counted, verdicts = summary.counted, summary.device_verdicts
        self._counted = Counter(counted.values())
        self._uncounted = Counter(verdict for rule, verdict in verdicts.items() if rule not in counted)
        #: Rules that are not broken, with a waiver that is no longer needed.
        self.needless = sum(_needless(summary, rule) for rule, verdict in counted.items() if verdict is Verdict.STALE)

    def __getitem__(self, verdict: Verdict) -> int:
        return self._counted[verdict]

    @property
    def held(self) -> int:
        return self._counted[Verdict.PASS] + self._uncounted[Verdict.PASS]

    @property
    def broken(self) -> int:
        return self[Verdict.FAIL] + self[Verdict.KERNEL] + self[Verdict.STALE] - self.needless

    @property
    def unjudged(self) -> int:
        return self[Verdict.NOT_RUN] + self[Verdict.BROKEN]

    def trouble(self) -> Iterator[str]:
        """What speaks against the device, then what is missing."""
        if self.broken:
            yield f"{counted(self.broken, 'rule')} broken"
        if self.needless:
            stale = counted(self.needless, "waiver")
            stale += " is stale: its rule holds" if self.needless == 1 else " are stale: their rules hold"
            yield stale if self.broken else f"no rule broken, but {stale}"
        if self[Verdict.HANG]:
            yield f"a call hung in {self[Verdict.HANG]}"
        if self.unjudged:
            yield f"{self.unjudged} not judged"

    def all(self) -> Iterator[str]:
        """Each number that is not 0."""
        for number, words in (
            (self.broken, "broken"),
            (self.needless, "with a stale waiver"),
            (self[Verdict.HANG], "with a call that hung"),
            (self.unjudged, "not judged"),
            (self[Verdict.WAIVED], "broken as waived"),
            (self.held, "held"),
            (self._not_applicable, "not applicable"),
            *self._apart(),
        ):
            if number:
                yield f"{number} {words}"

    def aside(self) -> str:
        """What says nothing about the device, in parentheses."""
        left_out = sum(map(len, self._summary.scope.left_out.values()))
        parts = [(self._not_applicable, "not applicable"), (left_out, "left out by the plan"), *self._apart()]
        text = _listed(f"{number} {words}" for number, words in parts if number)
        return f" ({text})" if text else ""

    @property
    def _not_applicable(self) -> int:
        return self._counted[Verdict.NOT_APPLICABLE] + self._uncounted[Verdict.NOT_APPLICABLE]

    def _apart(self) -> list[tuple[int, str]]:
        broken = sum(self._uncounted[verdict] for verdict in (Verdict.FAIL, Verdict.STALE, Verdict.WAIVED))
        return [(broken, "non-blocking broken"), (self._uncounted[Verdict.NOT_RUN], "non-blocking not judged")]


def _needless(summary: Summary, rule: str) -> bool:
    """Of a rule with a stale waiver: whether it is stale because the rule held, not because it has expired."""
    return not any(case.verdict is Verdict.STALE and case.broke for case in summary.cases_of(rule))


def _chosen(summary: Summary) -> str:
    scope, verdicts = summary.scope, summary.device_verdicts
    if any(summary.rules[rule].on_request for rule in verdicts):
        return _rules(len(verdicts), "rule of --stress", "rules of --stress")
    cases = summary.number_of_cases
    return f"{len(verdicts)} of {_rules(scope.rules)} ({cases} of {counted(scope.cases, 'case')})"


def _missing(summary: Summary, tally: _Tally) -> Iterator[str]:
    """What has no verdict, and why."""
    if tally[Verdict.HANG]:
        yield f"a call hung in {counted(tally[Verdict.HANG], 'rule')}"
    if tally.unjudged:
        first, *others = _reasons(summary).most_common()
        more = f" (and {counted(len(others), 'other reason')})" if others else ""
        why = "" if summary.stops and first[0] == ENDED and not others else f", because {first[0]}{more}"
        yield f"{_rules(tally.unjudged)} not judged{why}"
    yield from _outside(summary)


def _outside(summary: Summary) -> Iterator[str]:
    """What happened to the run rather than to a rule."""
    for happened, words in (
        (summary.deaths, "a server died outside of any rule"),
        (summary.kernel_log, "the kernel complained outside of any rule"),
        (summary.stale_warnings, "a waiver of a warning of the kernel is stale"),
        (summary.hangs, "a call hung outside of any rule"),
        (summary.stops, _stopped(summary)),
        (summary.suite_faults, "a rule of the suite itself came out broken"),
    ):
        if happened:
            yield words


def _stopped(summary: Summary) -> str:
    """Why, by the first of the reasons: the others usually follow from it."""
    why = _first_line(next((stop.message for stop in summary.stops), ""))
    return f"the run ended early: {textwrap.shorten(why, _LONGEST, placeholder=' ...')}"


def _reasons(summary: Summary) -> Counter[str]:
    """The reasons why rules that count were not judged, each with the number of rules."""
    reasons: Counter[str] = Counter()
    for rule, verdict in summary.counted.items():
        if verdict in (Verdict.NOT_RUN, Verdict.BROKEN):
            reasons.update({reason(summary, case) for case in summary.cases_of(rule) if case.verdict is verdict})
    return reasons


def reason(summary: Summary, case: Case) -> str:
    """Why a case was not judged, in a clause of moderate length."""
    failure = case.why
    if failure.wants:
        return f"the profile says nothing about {failure.wants}"
    if rule := summary.hindrance(case):
        return f"{rule} failed"
    what = _first_line(failure.what)
    text = f"{what}: {_first_line(failure.seen)}" if failure.seen else what
    return textwrap.shorten(text, _LONGEST, placeholder=" ...")


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def _rules(number: int, one: str = "rule", several: str = "rules") -> str:
    return f"{number} {one if number == 1 else several}"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
