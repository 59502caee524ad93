# SPDX-License-Identifier: GPL-2.0-only
"""What a journal amounts to: the verdict on each rule. Every report is made from this and from nothing else."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..spec import Rule
from .journal import JournalError, Record
from .shape import is_record
from .verdict import Verdict, exit_code, gravest

#: What becomes of reading a record that is not as it was written.
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)

#: Verdicts that a reader has to do something about.
TROUBLE = (Verdict.HANG, Verdict.FAIL, Verdict.STALE, Verdict.KERNEL, Verdict.BROKEN)

_COUNTS_ALWAYS = (Verdict.HANG, Verdict.KERNEL, Verdict.BROKEN)
_SAYS_NO = (Verdict.HANG, Verdict.FAIL, Verdict.KERNEL, Verdict.WAIVED)


@dataclass
class Case:
    """One parametrised case of a rule's test."""

    id: str
    rule: str
    verdict: Verdict = Verdict.NOT_RUN
    seconds: float = 0.0
    #: what, expected, seen, remedy, traceback: those that apply.
    failure: dict[str, str] = field(default_factory=dict)
    calls: list[list[Any]] = field(default_factory=list)
    #: What the kernel logged meanwhile that tells of a fault in it.
    kernel_log: list[str] = field(default_factory=list)


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
    cases: dict[str, Case]
    #: Question and answers where the text is silent, each with how often it was seen.
    observed: dict[str, Counter[str]]
    notes: Counter[str]
    #: Why the run could not go on: message and remedy of each ``broken`` record.
    stops: list[Record]
    hang: Record | None
    #: The ``finish`` record; empty when the run did not get there.
    totals: Record
    #: Seconds from the first record to the last.
    seconds: float

    def cases_of(self, rule: str) -> list[Case]:
        """The selected cases of a rule, in the order in which they ran."""
        return [case for case in self.cases.values() if case.rule == rule]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each selected rule, in the order of the rules."""
        cases: dict[str, list[Verdict]] = {}
        for case in self.cases.values():
            cases.setdefault(case.rule, []).append(case.verdict)
        return {rule: gravest(cases[rule]) for rule in self.rules if rule in cases}

    @property
    def exit_code(self) -> int:
        """Exit code of the run.

        Rules that do not block count when nothing else was selected; else only where the device hung, the kernel
        complained, or the fault was ours: that is no matter of rules.
        """
        blocking = [verdict for rule, verdict in self.verdicts.items() if self.rules[rule].blocking]
        others = [verdict for rule, verdict in self.verdicts.items() if not self.rules[rule].blocking]
        verdicts = blocking + [verdict for verdict in others if not blocking or verdict in _COUNTS_ALWAYS]
        if self.stops:
            verdicts.append(Verdict.BROKEN)
        if self.hang:
            verdicts.append(Verdict.HANG)
        return exit_code(verdicts)

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

    @property
    def waived_log(self) -> list[str]:
        """Lines of the kernel's log that were waived."""
        return [line for case in self.cases.values() if case.verdict is Verdict.WAIVED for line in case.kernel_log]


def summarise(records: Iterable[Record], today: datetime.date | None = None) -> Summary:
    """Add up a journal, whole or not. ``today`` decides whether a waiver has expired; the day of the run unless given.

    A record that is damaged, or the lack of an end, is one more reason why not everything could be judged. Raises
    JournalError when the first record is not that of a run.
    """
    try:
        run, *rest = records
        if not is_record(run):
            raise ValueError("a field is missing, or not of its type")
        summary = Summary(run, {}, _rules(run), {}, {}, Counter(), [], None, {}, 0.0)
        began = last = float(run["time"])
    except _MALFORMED as error:
        raise JournalError(f"the journal's first record is none of this version: {error!r}") from None
    for number, record in enumerate(rest, 2):
        try:
            if not is_record(record):
                raise ValueError
            last = float(record["time"])
            _add(summary, record)
        except _MALFORMED:
            summary.stops.append({"message": f"line {number} of the journal is damaged", "remedy": "run again"})
    if not (summary.totals or summary.stops or summary.hang):
        summary.stops.append({"message": "the journal ends before the run did", "remedy": "run again"})
    summary.seconds = last - began
    _waive(summary, today or datetime.date.fromtimestamp(began))
    return summary


def _rules(run: Record) -> dict[str, Rule]:
    rules = {}
    for record in run["rules"]:
        lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
        rules[record["id"]] = Rule(**{**record, **lists})
    return rules


def _add(summary: Summary, record: Record) -> None:
    event = record["event"]
    if event == "plan":
        summary.cases = {case: Case(case, rule) for case, rule in record["cases"]}
    elif event == "target":
        summary.target = record
    elif event == "start":
        summary.cases.setdefault(record["case"], Case(record["case"], record["rule"]))
    elif event == "end":
        ended = summary.cases.setdefault(record["case"], Case(record["case"], record["rule"]))
        ended.verdict = Verdict(record["verdict"])
        ended.seconds, ended.calls = record["seconds"], record["calls"]
        ended.failure = record["failure"] or {}
        for question, answer in record["observed"].items():
            summary.observed.setdefault(question, Counter())[answer] += 1
    elif event == "note":
        summary.notes[record["text"]] += 1
    elif event == "kernel":
        _add_kernel(summary, record)
    elif event == "broken":
        summary.stops.append(record)
    elif event == "hang":
        summary.hang = record
        if case := summary.cases.get(record["case"] or ""):
            case.verdict, case.failure = Verdict.HANG, {"what": record["message"]}
    elif event == "finish":
        summary.totals = record


def _add_kernel(summary: Summary, record: Record) -> None:
    """A case during which the kernel complained did not pass, whatever else is said of it."""
    case = summary.cases.get(record["case"] or "")
    lines = "\n".join(record["lines"])
    if case is None:
        summary.notes[f"the kernel logged outside of any case:\n{lines}"] += 1
        return
    case.kernel_log += record["lines"]
    if case.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.NOT_RUN, Verdict.KERNEL):
        seen = f"{case.failure['seen']}\n{lines}" if case.verdict is Verdict.KERNEL else lines
        case.verdict = Verdict.KERNEL
        case.failure = {"what": "watching the kernel's log", "expected": "no complaint", "seen": seen}
    else:
        case.failure["kernel"] = lines


def _waive(summary: Summary, today: datetime.date) -> None:
    for waiver in summary.run["waivers"]:
        expired = waiver["expires"] and datetime.date.fromisoformat(waiver["expires"]) < today
        cases = summary.cases_of(waiver["rule"])
        failing = [case for case in cases if case.verdict in (Verdict.FAIL, Verdict.KERNEL)]
        for case in failing:
            listed = waiver["case"] in case.id if waiver["case"] else True
            # What a kernel complains of is waived by its own words only, line by line.
            for seen in case.kernel_log or [case.failure.get("seen", "")]:
                listed &= waiver["shows"] in seen if waiver["shows"] else not case.kernel_log
            listed &= case.verdict is Verdict.KERNEL or not case.kernel_log
            if expired:
                case.failure["waiver"] = f"waived until {waiver['expires']} only: {waiver['reason']}"
                case.verdict = Verdict.STALE
            elif listed:
                case.failure["waiver"] = waiver["reason"]
                case.verdict = Verdict.WAIVED
            else:
                only = " and ".join(repr(words) for words in (waiver["case"], waiver["shows"]) if words)
                case.failure["waiver"] = f"waived only where it shows {only}: {waiver['reason']}"
        if cases and not failing and not waiver["sometimes"] and all(case.verdict is Verdict.PASS for case in cases):
            cases[0].verdict = Verdict.STALE
            cases[0].failure = {
                "what": "comparing with the profile's waivers",
                "expected": f"the rule broken, as waived: {waiver['reason']}",
                "seen": "the rule held; remove the waiver",
            }
