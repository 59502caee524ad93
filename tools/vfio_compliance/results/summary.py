# SPDX-License-Identifier: GPL-2.0-only
"""The summary of a journal: the verdict on each rule. Every report is made from this alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

from ..common.calls import Call
from ..rules import Rule
from .case import Case
from .events import Run, State, Target
from .failure import Stop
from .flows import Measures, total
from .scope import Scope, scope_of
from .setting import KernelWarning, Waiver
from .verdict import Verdict, exit_code, gravest

#: Verdicts that a reader has to act on.
TROUBLE: Final = (Verdict.FAIL, Verdict.STALE, Verdict.KERNEL, Verdict.HANG, Verdict.BROKEN)

_SAYS_NO: Final = (Verdict.HANG, Verdict.FAIL, Verdict.KERNEL, Verdict.WAIVED)


@dataclass(frozen=True)
class Answer:
    """The answer of rules that do not block: whether something works that the interface does not promise."""

    #: The area of the rules.
    title: str
    #: None: not all of them were judged or selected.
    works: bool | None
    #: The rules that are the reason for a no, or for no answer.
    because: list[str]


@dataclass
class UsedWaiver:
    """The effect of a waiver in a run."""

    waiver: Waiver
    #: The cases that it excuses.
    cases: list[Case] = field(default_factory=list)
    #: Why it excuses none, in a clause; empty if it does, or if its rule was not judged.
    unused: str = ""


@dataclass
class UsedWarning:
    """The effect of a waiver of a kernel warning."""

    waiver: KernelWarning
    #: The cases in which the warning came, and whether it came outside of any rule as well.
    cases: list[Case] = field(default_factory=list)
    outside: bool = False
    #: Why it excuses nothing, in a clause; empty if it does.
    unused: str = ""
    #: Whether that is because there is nothing left to excuse.
    stale: bool = False


class Explained(NamedTuple):
    """The end of a server in a case that depends on a broken rule."""

    case: str
    seen: str
    #: That rule.
    cause: str


@dataclass
class Summary:
    """A run, finished or not, as its journal has it."""

    run: Run
    #: When it began, in seconds since 1970.
    began: float
    #: What the run was made with, by name: kernel, driver, host; empty if it is not recorded.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: What the device reported about itself; empty if it was never opened.
    target: Target = field(default_factory=lambda: Target({}))
    cases: dict[str, Case] = field(default_factory=dict)
    #: The calls by which the last test process opened the device.
    opening: Sequence[Call] = ()
    #: Questions and answers where the specification is silent, each answer with how often it was seen.
    observed: dict[str, Counter[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    #: The answers for states that were given to the device at the end, by what they are of.
    states: dict[str, State] = field(default_factory=dict)
    #: Why a new test process continued the run, each time.
    processes: list[str] = field(default_factory=list)
    #: Why the run could not continue: message and remedy each time.
    stops: list[Stop] = field(default_factory=list)
    #: Calls that did not return, where no rule of the device was judged: message and remedy of each.
    hangs: list[Stop] = field(default_factory=list)
    #: Ends of servers that break no rule, in words.
    deaths: list[str] = field(default_factory=list)
    #: Ends of servers that a broken rule may explain.
    explained: list[Explained] = field(default_factory=list)
    #: Lines that the kernel logged while no rule of the device was judged, and that show a fault in it.
    kernel_log: list[str] = field(default_factory=list)
    #: The effect of each waiver.
    waivers: list[UsedWaiver] = field(default_factory=list)
    #: The effect of each waiver of a kernel warning.
    warnings: list[UsedWarning] = field(default_factory=list)
    #: The sums of the events ``finish``, by field; empty if no test process finished. Without ``call_ns`` and
    #: ``reset_ns`` if the journal does not have them for all calls.
    totals: Counter[str] = field(default_factory=Counter)
    #: Seconds from the first event to the last.
    seconds: float = 0.0

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """All rules, by their ids."""
        return {rule.id: rule for rule in self.run.rules}

    def cases_of(self, rule: str) -> list[Case]:
        """The selected cases of a rule, in the order in which they ran."""
        return self._cases_by_rule.get(rule, [])

    @cached_property
    def _cases_by_rule(self) -> dict[str, list[Case]]:
        """Needed only once every case is known."""
        cases: dict[str, list[Case]] = {}
        for case in self.cases.values():
            cases.setdefault(case.rule, []).append(case)
        return cases

    @property
    def started(self) -> bool:
        """Whether the run got as far as a case."""
        return any(case.verdict is not Verdict.NOT_RUN or case.failure for case in self.cases.values())

    @cached_property
    def flaky(self) -> list[list[Case]]:
        """The cases with different verdicts in the rounds that judged them, round by round."""
        rounds: dict[str, list[Case]] = {}
        for case in self.cases.values():
            if case.over:
                rounds.setdefault(case.id, []).append(case)
        return [cases for cases in rounds.values() if len({case.verdict for case in cases}) > 1]

    @property
    def number_of_cases(self) -> int:
        """How many of the device's cases were selected, counted once for all rounds."""
        return len({case.id for case in self.cases.values() if self.of_device(case)})

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each selected rule, in the order of the rules."""
        cases = self._cases_by_rule
        return {rule: gravest(case.verdict for case in cases[rule]) for rule in self.rules if rule in cases}

    @property
    def device_verdicts(self) -> dict[str, Verdict]:
        """The verdicts on rules about a device, which its driver or the kernel has to keep."""
        return {rule: verdict for rule, verdict in self.verdicts.items() if not self.rules[rule].of_the_suite}

    @property
    def suite_verdicts(self) -> dict[str, Verdict]:
        """The verdicts on rules that judge the suite itself. None of them counts for or against a device."""
        return {rule: verdict for rule, verdict in self.verdicts.items() if self.rules[rule].of_the_suite}

    @property
    def suite_faults(self) -> list[str]:
        """The rules that the suite itself broke, or in which its set-up failed."""
        return [rule for rule, verdict in self.suite_verdicts.items() if verdict in (Verdict.FAIL, Verdict.BROKEN)]

    def of_device(self, case: Case) -> bool:
        """Whether a case judges the device."""
        return case.rule not in self.rules or not self.rules[case.rule].of_the_suite

    @cached_property
    def scope(self) -> Scope:
        """What was to be judged: plan, selection, and what they leave out."""
        return scope_of(self.run, [case.rule for case in self.cases.values()])

    @cached_property
    def measures(self) -> Measures:
        """Time and bytes of all cases."""
        return total(case.measures for case in self.cases.values())

    @cached_property
    def counting(self) -> frozenset[str]:
        """The rules of the device that count. Needed only once every verdict is final."""
        return frozenset(self.counted)

    @property
    def counted(self) -> dict[str, Verdict]:
        """The verdict on each rule of the device as far as it counts.

        Rules that do not block count only if the device hung, a server died, the kernel complained, or the fault was
        ours. Those of a suite that does not block also count if nothing else was selected.
        """
        rules = [self.rules[rule] for rule in self.device_verdicts]
        all_count = not any(rule.blocking for rule in rules)
        excused = {rule for those in self.scope.not_blocking.values() for rule in those}
        counted = {}
        for rule in rules:
            blocks = (rule.blocking or all_count) and rule.id not in excused
            cases = [case for case in self.cases_of(rule.id) if blocks or case.counts_always]
            if cases:
                counted[rule.id] = gravest(case.verdict for case in cases)
        return counted

    @property
    def exit_code(self) -> int:
        """Exit code of the run."""
        verdicts = [*self.counted.values()]
        for happened, verdict in (
            (self.stops or self.suite_faults, Verdict.BROKEN),
            (self.hangs, Verdict.HANG),
            (self.deaths, Verdict.FAIL),
            (self.kernel_log, Verdict.KERNEL),
            (self.stale_warnings, Verdict.STALE),
        ):
            verdicts += [verdict] if happened else []
        return exit_code(verdicts)

    @property
    def stale_warnings(self) -> list[UsedWarning]:
        """Waivers of kernel warnings that did not come although everything was judged."""
        return [used for used in self.warnings if used.stale]

    def foundations(self, rule: str) -> list[str]:
        """All rules that a rule depends on, the nearest first."""
        found: dict[str, None] = {}
        nearest = [rule]
        while nearest:
            below = [each for id_ in nearest if id_ in self.rules for each in self.rules[id_].stands_on]
            nearest = [each for each in dict.fromkeys(below) if each not in found and each != rule]
            found |= dict.fromkeys(nearest)
        return list(found)

    def failed(self, rule: str) -> bool:
        """Whether a rule was broken in this run, or a call of its cases hung: others may have failed because of it."""
        return any(case.broke or case.verdict is Verdict.HANG for case in self.cases_of(rule))

    def causes(self, rule: str) -> list[str]:
        """Root causes: failed rules that a rule depends on and that depend on no failed rule, in the order of rules."""
        failed = {each for each in self.foundations(rule) if self.failed(each)}
        return [each for each in self.rules if each in failed and failed.isdisjoint(self.foundations(each))]

    def hindrance(self, case: Case) -> str:
        """The failed rule without which this case could not be judged; empty if none is known."""
        if case.verdict is not Verdict.NOT_RUN or not case.failure or case.failure.wants or case.failure.skipped:
            return ""
        return next(iter(self.causes(case.rule)), "")

    def answers(self) -> Iterator[Answer]:
        """One for each area of rules that do not block, if any of its rules was selected."""
        verdicts = self.verdicts
        for area, title in self.run.areas.items():
            rules = [rule.id for rule in self.rules.values() if rule.area == area and not rule.blocking]
            if verdicts.keys().isdisjoint(rules):
                continue
            broken = [rule for rule in rules if verdicts.get(rule) in _SAYS_NO]
            silent = [rule for rule in rules if verdicts.get(rule) not in (*_SAYS_NO, Verdict.PASS)]
            yield Answer(title, False if broken else None if silent else True, broken or silent)
