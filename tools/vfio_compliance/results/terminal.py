# SPDX-License-Identifier: GPL-2.0-only
"""The result as text for a terminal."""

from __future__ import annotations

import datetime
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..common.words import counted
from ..common.wrap import wrap
from ..rules import Rule
from .conclusion import reason
from .excerpt import excerpt
from .summary import TROUBLE, Case, Summary
from .verdict import Verdict

#: How many of the last calls of a failing case are shown, and how many of a rule's other failing cases.
_CALLS = 12
_CASES = 8

#: The same for a rule that stands on one that failed.
_DEPENDENT_CALLS = 4
_DEPENDENT_CASES = 2

#: How many different ways are shown in which cases could not be judged because one rule failed.
_WAYS = 3

#: How many reasons are shown for which test processes were started.
_PROCESSES = 3

#: How many rules are named of those that have the same reason not to be judged.
_RULES = 8

_LABEL = 10

#: Columns of the table of rules, and of one with a rule's verdict, name and cases alone.
_WIDE = 78
_ROW, _NARROW_ROW = "  {0:8}{1:8}{2:44}{3:7}{4:>9}", "  {0:8}{2:39}{4:>10}"

#: What is shown of a failure, and the words before it.
_FIELDS = (
    ("what", "did"),
    ("expected", "expected"),
    ("seen", "seen"),
    ("also", "also"),
    ("then", "then"),
    ("server", "server"),
    ("kernel", "kernel"),
    ("remedy", "remedy"),
    ("waiver", "waiver"),
)

_ANSWER = {True: "yes", False: "no, because the device breaks", None: "not known, because nothing is said by"}


def render(summary: Summary, width: int = 100) -> str:
    """All of the result, in lines of at most ``width`` columns where words allow it."""
    pieces = [
        *_heading(summary, width),
        *_table(summary, width),
        *_behaviour(summary, width),
        *_notes(summary, width),
        *_failures(summary, width),
        *_end(summary, width),
    ]
    return "\n".join(_printable(line) for piece in pieces for line in piece.split("\n"))


def _printable(line: str) -> str:
    """Devices and their servers say things too: what would steer the terminal is shown instead of obeyed."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def _heading(summary: Summary, width: int) -> Iterator[str]:
    run = summary.run
    yield from wrap("", f"{run['profile'].get('name', '?')}: {run.get('description') or 'no description'}", width)
    began = datetime.datetime.fromtimestamp(run["time"], datetime.timezone.utc)
    identity = {"judged": f"{began:%Y-%m-%d %H:%M} UTC by vfio-compliance {run.get('version', '?')}"}
    if digest := run["profile"].get("digest"):
        identity["profile"] = f"{run['profile'].get('path', '')}, sha256 {digest[:16]}"
    identity |= run.get("device", {}) | {"kernel": run.get("kernel", "")} | summary.target.get("identity", {})
    if run.get("defects"):
        identity["broken on purpose"] = ", ".join(run["defects"])
    for key, value in identity.items():
        yield from wrap(f"  {key:18}", value, width)


def _table(summary: Summary, width: int) -> Iterator[str]:
    if all(case.verdict is Verdict.NOT_RUN and not case.failure for case in summary.cases.values()):
        return  # the run ended before the first case: the reason, which comes last, is all there is to say
    row = _ROW if width >= _WIDE else _NARROW_ROW
    for area, title in summary.run["areas"].items():
        rules = {id_: verdict for id_, verdict in summary.verdicts.items() if summary.rules[id_].area == area}
        if rules:
            yield ""
            heads = row.format("", "", "", "level", "cases")
            yield f"{title:{len(heads) - len(heads.lstrip())}}{heads.lstrip()}"
        for id_, verdict in rules.items():
            rule = summary.rules[id_]
            cases = Counter(case.verdict for case in summary.cases_of(id_))
            count = str(cases[verdict]) if len(cases) == 1 else f"{cases[verdict]} of {cases.total()}"
            quiet = verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE)
            yield row.format(verdict.value if quiet else verdict.value.upper(), rule.clause, rule.id, rule.level, count)


def _behaviour(summary: Summary, width: int) -> Iterator[str]:
    if summary.observed:
        yield ""
        yield "Where the text is silent, this device does"
        widest = max(map(len, summary.observed))
        beside = width - widest >= 40
        for question, answers in summary.observed.items():
            if not beside:
                yield from wrap("  ", question, width)
            start = f"  {question:{widest}}  " if beside else "      "
            for answer, times in answers.items():
                yield from wrap(start, answer + (f"  ({counted(times, 'time')})" if times > 1 else ""), width)


def _notes(summary: Summary, width: int) -> Iterator[str]:
    notes = [text + (f" ({counted(times, 'time')})" if times > 1 else "") for text, times in summary.notes.items()]
    if summary.processes:
        notes.append(_processes(summary.processes))
    if notes:
        yield ""
        yield "Notes"
    for text in notes:
        yield from wrap("  ", text, width)


def _processes(reasons: Sequence[str]) -> str:
    text = f"a new test process was started {counted(len(reasons), 'time')}:"
    shown = [f"\n  {reason}" for reason in reasons[:_PROCESSES]]
    more = f"\n  and {len(reasons) - _PROCESSES} more" if len(reasons) > _PROCESSES else ""
    return text + "".join(shown) + more


class _Fault(NamedTuple):
    """Cases of a rule that ended in the same verdict."""

    rule: str
    verdict: Verdict
    cases: list[Case]


def _faults(summary: Summary) -> list[_Fault]:
    """What the reader has to do something about, what others stand on first, each followed by those others."""
    by_rule = {
        rule: [
            _Fault(rule, troubled, cases)
            for troubled in TROUBLE
            if (cases := [case for case in summary.cases_of(rule) if case.verdict is troubled])
        ]
        for rule in summary.verdicts
    }
    causes = {rule: [cause for cause in summary.causes(rule) if by_rule.get(cause)] for rule in by_rule}
    first = [rule for rule in by_rule if not causes[rule]]
    order = [rule for root in first for rule in (root, *(each for each in by_rule if causes[each][:1] == [root]))]
    order += [rule for rule in by_rule if rule not in order]  # rules that stand on each other, in a damaged journal
    return [fault for rule in order for fault in by_rule[rule]]


def _failures(summary: Summary, width: int) -> Iterator[str]:
    faults = _faults(summary)
    numbers: dict[str, int] = {}
    for number, fault in enumerate(faults, 1):
        numbers.setdefault(fault.rule, number)
    for number, fault in enumerate(faults, 1):
        yield ""
        yield from _fault(f"{number}) ", fault, summary, numbers, width)
    yield from _waived(summary, width)
    yield from _not_judged(summary, numbers, width)
    yield from _grouped(Verdict.NOT_APPLICABLE, "Not applicable", summary, width)
    yield from _left_out(summary, width)


def _fault(number: str, fault: _Fault, summary: Summary, numbers: Mapping[str, int], width: int) -> Iterator[str]:
    """All about a fault. Of one that has its cause elsewhere, less."""
    all_cases = counted(len(summary.cases_of(fault.rule)), "case")
    causes = summary.causes(fault.rule)
    head = f"{number}{fault.verdict.value.upper()}  "
    yield from wrap(head, f"{fault.rule}  ({len(fault.cases)} of {all_cases})", width)
    yield from _explanation(summary.rules[fault.rule], width)
    for cause in causes:
        where = f"see {numbers[cause]})" if cause in numbers else "as the profile's waiver says"
        yield from _labelled("stands on", f"{cause}, which failed: {where}", width)
    yield from _case(fault.cases[0], summary, _DEPENDENT_CALLS if causes else _CALLS, width)
    yield from _others(fault.cases, _DEPENDENT_CASES if causes else _CASES, width)


def _waived(summary: Summary, width: int) -> Iterator[str]:
    for rule in summary.verdicts:
        reasons: dict[str, list[Case]] = {}
        for case in summary.cases_of(rule):
            if case.verdict is Verdict.WAIVED:
                reasons.setdefault(case.failure["waiver"], []).append(case)
        for text, cases in reasons.items():
            yield ""
            yield f"waived: {rule}  ({len(cases)} of {counted(len(summary.cases_of(rule)), 'case')})"
            yield from _labelled("reason", text, width)
            yield from _lines_of(cases, cases[0], _CASES, "in", width)


def _not_judged(summary: Summary, numbers: Mapping[str, int], width: int) -> Iterator[str]:
    """First what follows from a rule that failed, then what the profile is silent about, then all else."""
    failed: dict[str, list[Case]] = {}
    silent: dict[str, list[Case]] = {}
    for case in summary.cases.values():
        if case.verdict is Verdict.NOT_RUN:
            if wants := case.failure.get("wants"):
                silent.setdefault(wants, []).append(case)
            elif rule := summary.hindrance(case):
                failed.setdefault(rule, []).append(case)
    for rule, cases in failed.items():
        yield from _group_head("Not judged", cases)
        where = f"see {numbers[rule]})" if rule in numbers else "as the profile's waiver says"
        yield from _labelled("stands on", f"{rule}, which failed: {where}", width)
        ways = list(dict.fromkeys(sentence(case.failure) for case in cases))
        for index, way in enumerate(ways[:_WAYS]):
            yield from _labelled("" if index else "met by", way, width)
        if len(ways) > _WAYS:
            yield from _labelled("", f"and in {counted(len(ways) - _WAYS, 'other way')}", width)
        yield from _names(cases, width)
    for cases in silent.values():
        yield from _group_head("Not judged", cases)
        yield from _labelled("because", reason(summary, cases[0]), width)
        add = f"add it to {summary.run['profile']['path']} (see profiles/template.yaml)"
        yield from _labelled("remedy", f"{add}, or leave the rules out by a plan", width)
        yield from _names(cases, width)
    yield from _grouped(Verdict.NOT_RUN, "Not judged", summary, width)


def _grouped(verdict: Verdict, title: str, summary: Summary, width: int) -> Iterator[str]:
    """Cases that say nothing about their rule, by the reason."""
    reasons: dict[str, list[Case]] = {}
    for case in summary.cases.values():
        if case.verdict is verdict and "wants" not in case.failure and not summary.hindrance(case):
            text = sentence(case.failure) if case.failure else "the run ended before"
            reasons.setdefault(text, []).append(case)
    for text, cases in reasons.items():
        yield from _group_head(title, cases)
        yield from _labelled("because", text, width)
        yield from _names(cases, width)


def _group_head(title: str, cases: Sequence[Case]) -> Iterator[str]:
    yield ""
    yield f"{title}: {counted(len(cases), 'case')} of {counted(len({case.rule for case in cases}), 'rule')}"


def _names(cases: Sequence[Case], width: int) -> Iterator[str]:
    yield from _labelled("rules", _some([*dict.fromkeys(case.rule for case in cases)]), width)


def _left_out(summary: Summary, width: int) -> Iterator[str]:
    """What was never meant to be judged in this run."""
    scope = summary.scope
    for text, rules in scope.left_out.items():
        yield ""
        yield f"Left out by plan {scope.plan}: {counted(len(rules), 'rule')}"
        yield from _labelled("because", text, width)
        yield from _labelled("rules", _some(rules), width)
    if scope.only or scope.skip:
        of_rules = f"{len(summary.verdicts)} of {counted(scope.rules, 'rule')}"
        yield ""
        yield f"Selected: {len(summary.cases)} of {counted(scope.cases or 0, 'case')}, {of_rules}"
        for option, patterns in (("--only", scope.only), ("--skip", scope.skip)):
            for index, pattern in enumerate(patterns[:_RULES]):
                yield from _labelled("" if index else option, pattern, width)
            if len(patterns) > _RULES:
                yield from _labelled("", f"and {len(patterns) - _RULES} more", width)


def _some(rules: Sequence[str]) -> str:
    """The names of the first few."""
    rest = f" and {len(rules) - _RULES} more" if len(rules) > _RULES else ""
    return ", ".join(rules[:_RULES]) + rest


def _others(cases: Sequence[Case], most: int, width: int) -> Iterator[str]:
    """The cases after the first one, which is shown in full."""
    yield from _lines_of(cases[1:], cases[0], most, "also in", width)


def _lines_of(cases: Sequence[Case], first: Case, most: int, label: str, width: int) -> Iterator[str]:
    """Cases that a rule failed in, a line each, as far as there is room: what differs from the ``first`` one."""
    for index, case in enumerate(cases[:most]):
        yield from _labelled("" if index else label, _unlike(case, first), width)
    if len(cases) > most:
        yield from _labelled("", f"and {counted(len(cases) - most, 'more case')}", width)


def _unlike(case: Case, first: Case) -> str:
    """The name of a case, what was done unless the ``first`` one says it, and what was seen."""
    what, seen = case.failure["what"], case.failure.get("seen", "")
    name = case.id.partition("[")[2].rstrip("]") or _short(case)
    did = what if what != first.failure["what"] or not seen else ""
    return ": ".join(filter(None, ("" if did.startswith(name) else name, did, seen)))


def sentence(failure: dict[str, str]) -> str:
    """What a case failed with, in one line: "WHAT: expected EXPECTED, seen SEEN"."""
    text = failure["what"]
    if "expected" in failure:
        text += f": expected {failure['expected']}, seen {failure['seen']}"
    return text


def _explanation(rule: Rule, width: int) -> Iterator[str]:
    yield from _labelled("rule", rule.says, width)
    kind = f"{rule.level}, {rule.status}" if rule.blocking else f"{rule.level}, {rule.status}, does not block"
    yield from _labelled("clause", f"{', '.join(rule.clauses)} ({kind}), {rule.source}", width)


def _case(case: Case, summary: Summary, most: int, width: int) -> Iterator[str]:
    """A case in full, with so many of its last calls."""
    yield from _labelled("case", _short(case), width)
    yield from _table_of(case.failure.get("path", ""))
    for key, label in _FIELDS:
        if key in case.failure:
            yield from _labelled(label, case.failure[key], width)
    if "traceback" in case.failure:
        yield textwrap.indent(case.failure["traceback"], "           ")
    if case.needless:
        return  # nothing went wrong in it, and alone it would not show that the waiver is stale
    for index, line in enumerate(excerpt(case, summary, most)):
        yield from wrap(f"   {'' if index else 'calls':{_LABEL}}{line.mark}", line.text, width, hanging="  ")
    yield f"   {'rerun':{_LABEL}}{rerun(summary, case)}"


def _table_of(path: str) -> Iterator[str]:
    """A table in columns of its own, which are kept."""
    for index, line in enumerate(path.splitlines()):
        yield f"   {'' if index else 'path':{_LABEL}}{line}"


def rerun(summary: Summary, case: Case) -> str:
    """The command that runs this case alone."""
    words = ["vfio-compliance", "run", summary.run["profile"]["path"]]
    for defect in summary.run["defects"]:
        words += ["--defect", defect]
    return shlex.join([*words, *case.failure.get("options", "").split(), "--only", case.id])


def _short(case: Case) -> str:
    return case.id.rpartition("/")[2]


def _end(summary: Summary, width: int) -> Iterator[str]:
    for stop in summary.stops:
        yield ""
        yield from _labelled("stopped", stop["message"], width)
        yield from _labelled("remedy", stop["remedy"], width)
    for hang in summary.hangs:
        yield ""
        yield from _labelled("hang", hang["message"], width)
        yield from _labelled("remedy", hang["remedy"], width)
    for label, seen in (("died", summary.deaths), ("kernel", summary.kernel_log)):
        if seen:
            yield ""
            yield from _labelled(label, "\n".join(seen), width)
    verdicts = Counter(verdict.value for verdict in summary.verdicts.values())
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    yield ""
    yield from wrap("", f"{counted(sum(verdicts.values()), 'rule')}: {counts or 'none'}", width)
    totals = summary.totals
    judged = sum(case.verdict is not Verdict.NOT_RUN for case in summary.cases.values())
    cases = f"{judged} of {counted(len(summary.cases), 'case')}"
    if totals:
        moved = totals["bytes_read"] + totals["bytes_written"]
        cases += (
            f", {counted(totals['calls'], 'call')}, {counted(totals['opens'], 'open')}, "
            f"{counted(totals['resets'], 'reset')}, {moved / 1024:.0f} KiB moved, "
            f"{counted(totals.get('passes', 0), 'full save pass')}"
        )
    yield from wrap("", f"{cases}, {summary.seconds:.1f} s", width)
    for answer in summary.answers():
        yield from wrap("", f"{answer.title}: {_ANSWER[answer.works]} {_some(answer.because)}".rstrip(), width)
    word, detail = summary.verdict
    yield f"{word} by plan {summary.scope.plan}: {detail}"


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    return wrap(f"   {label:{_LABEL}}", text, width)
