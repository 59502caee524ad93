# SPDX-License-Identifier: GPL-2.0-only
"""What a journal amounts to: the verdict on each rule. Every report is made from this and from nothing else."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ..common.calls import Call, Span
from ..rules import Rule
from .calls import count
from .conclusion import RunVerdict, conclude
from .journal import JournalError, Record
from .scope import Scope, scope_of
from .settle import settle
from .shape import is_record
from .verdict import Verdict, exit_code, gravest

#: What becomes of reading a record that is not as it was written.
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)

#: Verdicts that a reader has to do something about.
TROUBLE = (Verdict.FAIL, Verdict.STALE, Verdict.KERNEL, Verdict.HANG, Verdict.BROKEN)

#: Records after which a new test process is to continue the run, if a case is left.
_CUTS = ("broken", "hang", "lost")

_COUNTS_ALWAYS = (Verdict.HANG, Verdict.KERNEL, Verdict.BROKEN)
_SAYS_NO = (Verdict.HANG, Verdict.FAIL, Verdict.KERNEL, Verdict.WAIVED)


@dataclass
class Case:
    """One parametrised case of a rule's test."""

    id: str
    rule: str
    verdict: Verdict = Verdict.NOT_RUN
    seconds: float = 0.0
    #: what, expected, seen, remedy, traceback, wants, skipped, ...: those that apply.
    failure: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    #: Running number of the call that shows the failure; 0 where there is none.
    failed_call: int = 0
    #: Calls of other cases that it was judged from.
    stands_on: list[Span] = field(default_factory=list)
    #: What the kernel logged meanwhile that shows a fault in it.
    kernel_log: list[str] = field(default_factory=list)
    #: The ends of servers meanwhile, in words.
    deaths: list[str] = field(default_factory=list)
    #: Whether its end is recorded: its own, or that of its test process.
    over: bool = False

    @property
    def broke(self) -> bool:
        """Whether the rule was seen to be broken, by a waiver or not; an expired one has not excused it."""
        broken = self.verdict in (Verdict.FAIL, Verdict.KERNEL, Verdict.WAIVED)
        return broken or (self.verdict is Verdict.STALE and not self.needless)

    @property
    def needless(self) -> bool:
        """Whether it is stale because its rule held, so that the waiver is not needed; not because that has expired."""
        return self.verdict is Verdict.STALE and "waiver" not in self.failure

    @property
    def counts_always(self) -> bool:
        """Whether it counts though its rule does not block: that is no matter of rules."""
        return self.verdict in _COUNTS_ALWAYS or (self.verdict is Verdict.FAIL and bool(self.deaths))


@dataclass(frozen=True)
class Answer:
    """What rules that do not block amount to: whether something that the interface does not promise works."""

    #: The area of the rules.
    title: str
    #: None: not all of them could be judged, or were selected.
    works: bool | None
    #: The rules that say no, or those that say nothing.
    because: list[str]


@dataclass
class Summary:
    """A run, finished or not, as far as its journal goes."""

    #: The ``run`` record.
    run: Record
    #: What the device said of itself; empty when it was never opened.
    target: Record
    rules: dict[str, Rule]
    cases: dict[str, Case] = field(default_factory=dict)
    #: The calls by which the last test process opened the device.
    opening: list[Call] = field(default_factory=list)
    #: Question and answers where the text is silent, each with how often it was seen.
    observed: dict[str, Counter[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    #: Why a new test process continued the run, each time.
    processes: list[str] = field(default_factory=list)
    #: Why the run could not continue: message and remedy each time.
    stops: list[Record] = field(default_factory=list)
    #: Calls outside of any case that did not return: message and remedy of each.
    hangs: list[Record] = field(default_factory=list)
    #: Ends of servers outside of any case, in words.
    deaths: list[str] = field(default_factory=list)
    #: What the kernel logged outside of any case that shows a fault in it, by line.
    kernel_log: list[str] = field(default_factory=list)
    #: Lines of the kernel's log that were waived, in a case or outside of any.
    waived_log: list[str] = field(default_factory=list)
    #: The sums of the ``finish`` records; empty when no test process got there.
    totals: Counter[str] = field(default_factory=Counter)
    #: Seconds from the first record to the last.
    seconds: float = 0.0

    def cases_of(self, rule: str) -> list[Case]:
        """The selected cases of a rule, in the order in which they ran."""
        return self._cases_by_rule.get(rule, [])

    @cached_property
    def _cases_by_rule(self) -> dict[str, list[Case]]:
        """Asked for once every case is known."""
        cases: dict[str, list[Case]] = {}
        for case in self.cases.values():
            cases.setdefault(case.rule, []).append(case)
        return cases

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each selected rule, in the order of the rules."""
        cases = self._cases_by_rule
        return {rule: gravest(case.verdict for case in cases[rule]) for rule in self.rules if rule in cases}

    @cached_property
    def scope(self) -> Scope:
        """What was to be judged: plan, selection, and what they leave out."""
        return scope_of(self.run, self.rules, [case.rule for case in self.cases.values()])

    @property
    def counted(self) -> dict[str, Verdict]:
        """The verdict on each rule as far as it counts.

        Rules that do not block count when nothing else was selected; else only where the device hung, a server died,
        the kernel complained, or the fault was ours.
        """
        all_count = not any(rule.blocking and self.cases_of(rule.id) for rule in self.rules.values())
        counted = {}
        for rule in self.rules.values():
            cases = [case for case in self.cases_of(rule.id) if rule.blocking or all_count or case.counts_always]
            if cases:
                counted[rule.id] = gravest(case.verdict for case in cases)
        return counted

    @property
    def exit_code(self) -> int:
        """Exit code of the run."""
        verdicts = [*self.counted.values()]
        for happened, verdict in (
            (self.stops, Verdict.BROKEN),
            (self.hangs, Verdict.HANG),
            (self.deaths, Verdict.FAIL),
            (self.kernel_log, Verdict.KERNEL),
        ):
            verdicts += [verdict] if happened else []
        return exit_code(verdicts)

    @property
    def verdict(self) -> RunVerdict:
        """The verdict on the device, which says no more than was judged."""
        return conclude(self)

    def foundations(self, rule: str) -> list[str]:
        """All rules that a rule stands on, the nearest first."""
        found: dict[str, None] = {}
        nearest = [rule]
        while nearest:
            below = [each for id_ in nearest if id_ in self.rules for each in self.rules[id_].stands_on]
            nearest = [each for each in dict.fromkeys(below) if each not in found and each != rule]
            found |= dict.fromkeys(nearest)
        return list(found)

    def failed(self, rule: str) -> bool:
        """Whether a rule was broken in this run, or a call of its cases hung: others may have failed by it."""
        return any(case.broke or case.verdict is Verdict.HANG for case in self.cases_of(rule))

    def causes(self, rule: str) -> list[str]:
        """Of the rules that a rule stands on, those that failed and stand on none that did, in the order of rules."""
        failed = {each for each in self.foundations(rule) if self.failed(each)}
        return [each for each in self.rules if each in failed and failed.isdisjoint(self.foundations(each))]

    def hindrance(self, case: Case) -> str:
        """The rule that failed and without which this case could not be judged; nothing where none is known."""
        if case.verdict is not Verdict.NOT_RUN or not case.failure or {"wants", "skipped"} & case.failure.keys():
            return ""
        return next(iter(self.causes(case.rule)), "")

    def answers(self) -> Iterator[Answer]:
        """One for each area of rules that do not block, if any rule of it was selected."""
        verdicts = self.verdicts
        for area, title in self.run["areas"].items():
            rules = [rule.id for rule in self.rules.values() if rule.area == area and not rule.blocking]
            if verdicts.keys().isdisjoint(rules):
                continue
            broken = [rule for rule in rules if verdicts.get(rule) in _SAYS_NO]
            silent = [rule for rule in rules if verdicts.get(rule) not in (*_SAYS_NO, Verdict.PASS)]
            yield Answer(title, False if broken else None if silent else True, broken or silent)


def summarise(records: Iterable[Record], today: datetime.date | None = None) -> Summary:
    """Add up a journal, whole or not. ``today`` decides whether a waiver has expired; the day of the run unless given.

    A record that is damaged, or the lack of an end, is one more reason why not everything could be judged. Raises
    JournalError when the first record is not that of a run.
    """
    try:
        run, *rest = records
        if not is_record(run):
            raise ValueError("a field is missing, or not of its type")
        summary = Summary(run, {}, _rules(run))
        began = last = float(run["time"])
    except _MALFORMED as error:
        raise JournalError(f"the journal's first record is none of this version: {error!r}") from None
    reader = _Reader(summary)
    for number, record in enumerate(rest, 2):
        try:
            if not is_record(record):
                raise ValueError
            last = float(record["time"])
            reader.take(record)
        except _MALFORMED:
            summary.stops.append({"message": f"line {number} of the journal is damaged", "remedy": "run again"})
    reader.end()
    summary.seconds = last - began
    settle(summary, today or datetime.date.fromtimestamp(began))
    return summary


def _rules(run: Record) -> dict[str, Rule]:
    rules = {}
    for record in run["rules"]:
        lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
        rules[record["id"]] = Rule(**{**record, **lists})
    return rules


class _Reader:
    """Adds one record after the other to a summary."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        #: The record by which the present test process came to its end.
        self._last: Record | None = None
        #: What the present test process has done, as far as its cases tell; it may not get to count itself.
        self._counts: Counter[str] = Counter()

    def take(self, record: Record) -> None:
        """Raises one of _MALFORMED for a record that is not as it was written."""
        take = getattr(self, f"_take_{record['event']}", None)
        if take is not None:
            take(record)

    def end(self) -> None:
        """There is nothing more to come: if the run had not come to its end, that is a stop."""
        summary, last = self._summary, self._last
        if last is None and not summary.stops:
            summary.stops.append({"message": "the journal ends before the run did", "remedy": "run again"})
        if last and last["event"] in _CUTS and not all(case.over for case in summary.cases.values()):
            summary.stops.append({"remedy": "find out why, then run again", **last})
        if summary.processes:
            summary.totals.update(self._counts)

    def _case(self, record: Record) -> Case:
        return self._summary.cases.setdefault(record["case"], Case(record["case"], record["rule"]))

    def _cut_off(self, record: Record, verdict: Verdict) -> bool:
        """The test process ended, or had to be ended, in a case; whether it was in one."""
        case = self._summary.cases.get(record.get("case") or "")
        if case is None:
            return False
        failure = {"what": record["message"], "remedy": record["remedy"]}
        if case.over and gravest((case.verdict, verdict)) is not verdict:
            case.failure["then"] = record["message"]
        else:
            case.verdict, case.failure = verdict, failure
        case.over = True
        return True

    def _take_plan(self, record: Record) -> None:
        for case, rule in record["cases"]:
            self._summary.cases.setdefault(case, Case(case, rule))

    def _take_target(self, record: Record) -> None:
        self._summary.target = record

    def _take_opening(self, record: Record) -> None:
        self._summary.opening = list(map(Call.from_json, record["calls"]))
        self._counts.update(count(self._summary.opening))

    def _take_start(self, record: Record) -> None:
        self._case(record)
        self._last = None

    def _take_end(self, record: Record) -> None:
        verdict = Verdict(record["verdict"])
        case = self._case(record)
        case.over, case.verdict, case.failure = True, verdict, record["failure"] or {}
        case.seconds, case.failed_call = record["seconds"], record.get("failed_call", 0)
        case.calls = list(map(Call.from_json, record["calls"]))
        case.stands_on = list(map(Span.from_json, record.get("stands_on", ())))
        self._counts.update(count(case.calls))
        for question, answer in record["observed"].items():
            self._summary.observed.setdefault(question, Counter())[answer] += 1

    def _take_note(self, record: Record) -> None:
        self._summary.notes[record["text"]] += 1

    def _take_kernel(self, record: Record) -> None:
        case = self._summary.cases.get(record["case"] or "")
        (self._summary if case is None else case).kernel_log.extend(record["lines"])

    def _take_death(self, record: Record) -> None:
        case = self._summary.cases.get(record["case"] or "")
        (self._summary if case is None else case).deaths.append(f"{record['when']}, {record['who']} {record['how']}")

    def _take_broken(self, record: Record) -> None:
        self._last = record
        if not self._cut_off(record, Verdict.BROKEN):
            self._last = {"event": "stop"}
            self._summary.stops.append(record)

    def _take_hang(self, record: Record) -> None:
        self._last = record
        if not self._cut_off(record, Verdict.HANG):
            self._last = {"event": "stop"}
            self._summary.hangs.append(record)

    def _take_unanswered(self, record: Record) -> None:
        self._summary.hangs.append(record)

    def _take_lost(self, record: Record) -> None:
        self._last = record

    def _take_process(self, record: Record) -> None:
        self._last = None
        self._summary.processes.append(record["why"])
        self._summary.totals.update(self._counts)
        self._counts.clear()

    def _take_finish(self, record: Record) -> None:
        self._summary.totals.update({key: value for key, value in record.items() if type(value) is int})
        self._counts.clear()
        if self._last is None or self._last["event"] != "lost":
            self._last = record
