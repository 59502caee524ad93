# SPDX-License-Identifier: GPL-2.0-only
"""The result as text for a terminal."""

from __future__ import annotations

import datetime
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from ..spec import Rule
from .calls import describe
from .summary import TROUBLE, Case, Summary
from .verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_HANG, EXIT_NOTHING, EXIT_OK, Verdict

#: How many of the last calls of a failing case are shown, and how many of a rule's other failing cases.
_CALLS = 12
_CASES = 8

#: How many rules are named of those that have the same reason not to be judged.
_RULES = 8

_LABEL = 10

_CONCLUSION = {
    EXIT_OK: "PASS: every rule that was judged held",
    EXIT_FAIL: "FAIL: the device breaks rules",
    EXIT_BROKEN: "INCOMPLETE: not every rule could be judged",
    EXIT_HANG: "HANG: the device did not answer in time",
    EXIT_NOTHING: "NOTHING: no rule was judged",
}

_ANSWER = {True: "yes", False: "no, because the device breaks", None: "not known, because nothing is said by"}


def render(summary: Summary, width: int = 100) -> str:
    """All of the result, in lines of at most ``width`` columns where words allow it."""
    pieces = [
        *_heading(summary, width),
        *_table(summary),
        *_behaviour(summary),
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
    yield from _wrap("", f"{run['profile'].get('name', '?')}: {run.get('description') or 'no description'}", width)
    began = datetime.datetime.fromtimestamp(run["time"], datetime.timezone.utc)
    identity = {"judged": f"{began:%Y-%m-%d %H:%M} UTC by vfio-compliance {run.get('version', '?')}"}
    if digest := run["profile"].get("digest"):
        identity["profile"] = f"{run['profile'].get('path', '')}, sha256 {digest[:16]}"
    identity |= run.get("device", {}) | {"kernel": run.get("kernel", "")} | summary.target.get("identity", {})
    if run.get("defects"):
        identity["broken on purpose"] = ", ".join(run["defects"])
    for key, value in identity.items():
        yield from _wrap(f"  {key:18}", value, width)


def _table(summary: Summary) -> Iterator[str]:
    if all(case.verdict is Verdict.NOT_RUN and not case.failure for case in summary.cases.values()):
        return  # the run ended before the first case: the reason, which comes last, is all there is to say
    for area, title in summary.run["areas"].items():
        rules = {id_: verdict for id_, verdict in summary.verdicts.items() if summary.rules[id_].area == area}
        if rules:
            yield ""
            yield f"{title:62}{'level':7}{'cases':>9}"
        for id_, verdict in rules.items():
            rule = summary.rules[id_]
            cases = Counter(case.verdict for case in summary.cases_of(id_))
            count = str(cases[verdict]) if len(cases) == 1 else f"{cases[verdict]} of {cases.total()}"
            quiet = verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE)
            mark = verdict.value if quiet else verdict.value.upper()
            yield f"  {mark:8}{rule.clause:8}{rule.id:44}{rule.level:7}{count:>9}"


def _behaviour(summary: Summary) -> Iterator[str]:
    if summary.observed:
        yield ""
        yield "Where the text is silent, this device does"
        widest = max(map(len, summary.observed))
        for question, answers in summary.observed.items():
            for answer, times in answers.items():
                yield f"  {question:{widest}}  {answer}" + (f"  ({times} times)" if times > 1 else "")


def _notes(summary: Summary, width: int) -> Iterator[str]:
    if summary.notes:
        yield ""
        yield "Notes"
        for text, times in summary.notes.items():
            yield from _wrap("  ", f"{text}" + (f" ({times} times)" if times > 1 else ""), width)


def _failures(summary: Summary, width: int) -> Iterator[str]:
    number = 0
    for id_, verdict in summary.verdicts.items():
        rule = summary.rules[id_]
        for troubled in TROUBLE:
            cases = [case for case in summary.cases_of(id_) if case.verdict is troubled]
            if cases:
                number += 1
                yield ""
                all_cases = _count(len(summary.cases_of(id_)), "case")
                yield f"{number}) {troubled.value.upper()}  {id_}  ({len(cases)} of {all_cases})"
                yield from _explanation(rule, width)
                yield from _case(cases[0], summary, width)
                yield from _others(cases[1:], width)
        if verdict is Verdict.WAIVED:
            yield ""
            yield f"waived: {id_}"
            waived = [case for case in summary.cases_of(id_) if case.verdict is Verdict.WAIVED]
            yield from _labelled("reason", waived[0].failure.get("waiver", ""), width)
            yield from _others(waived, width, "in")
    for verdict, title in ((Verdict.NOT_RUN, "Not judged"), (Verdict.NOT_APPLICABLE, "Not applicable")):
        yield from _left_out(verdict, title, summary, width)


def _left_out(verdict: Verdict, title: str, summary: Summary, width: int) -> Iterator[str]:
    """Cases that say nothing about their rule, grouped by the reason."""
    reasons: dict[str, list[Case]] = {}
    for case in summary.cases.values():
        if case.verdict is verdict and case.failure:
            reasons.setdefault(sentence(case.failure), []).append(case)
    for reason, cases in reasons.items():
        rules = dict.fromkeys(case.rule for case in cases)
        yield ""
        yield f"{title}: {_count(len(cases), 'case')} of {_count(len(rules), 'rule')}"
        yield from _labelled("because", reason, width)
        yield from _labelled("rules", _some([*rules]), width)


def _some(rules: Sequence[str]) -> str:
    """The names of the first few."""
    rest = f" and {len(rules) - _RULES} more" if len(rules) > _RULES else ""
    return ", ".join(rules[:_RULES]) + rest


def _others(cases: list[Case], width: int, label: str = "also in") -> Iterator[str]:
    """Cases that a rule failed in, a line each, as far as there is room."""
    for index, case in enumerate(cases[:_CASES]):
        parameters = case.id.partition("[")[2].rstrip("]")
        seen = case.failure.get("seen") or case.failure.get("what", "")
        yield from _labelled("" if index else label, f"{parameters}: {seen}", width)
    if len(cases) > _CASES:
        yield from _labelled("", f"and {_count(len(cases) - _CASES, 'more case')}", width)


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{plural}"


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


def _case(case: Case, summary: Summary, width: int) -> Iterator[str]:
    yield from _labelled("case", _parameters(case), width)
    yield from _table_of(case.failure.get("path", ""))
    for key, label in (
        ("what", "did"),
        ("expected", "expected"),
        ("seen", "seen"),
        ("remedy", "remedy"),
        ("waiver", "waiver"),
        ("kernel", "kernel"),
    ):
        if key in case.failure:
            yield from _labelled(label, case.failure[key], width)
    if "traceback" in case.failure:
        yield textwrap.indent(case.failure["traceback"], "           ")
    for index, call in enumerate(case.calls[-_CALLS:]):
        label = "calls" if not index else ""
        yield f"   {label:{_LABEL}}{describe(call, summary.target.get('migration'))}"
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


def _parameters(case: Case) -> str:
    return case.id.rpartition("/")[2]


def _end(summary: Summary, width: int) -> Iterator[str]:
    for stop in summary.stops:
        yield ""
        yield from _labelled("stopped", stop["message"], width)
        yield from _labelled("remedy", stop["remedy"], width)
    if summary.hang:
        yield ""
        yield from _labelled("hang", summary.hang["message"], width)
        yield from _labelled("remedy", summary.hang["remedy"], width)
    verdicts = Counter(verdict.value for verdict in summary.verdicts.values())
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    yield ""
    yield f"{_count(sum(verdicts.values()), 'rule')}: {counts or 'none'}"
    totals = summary.totals
    cases = (
        f"{sum(case.verdict is not Verdict.NOT_RUN for case in summary.cases.values())} of {len(summary.cases)} cases"
    )
    if totals:
        moved = totals["bytes_read"] + totals["bytes_written"]
        cases += (
            f", {_count(totals['calls'], 'call')}, {_count(totals['opens'], 'open')}, "
            f"{_count(totals['resets'], 'reset')}, {moved / 1024:.0f} KiB moved, "
            f"{_count(totals.get('passes', 0), 'full save pass', 'es')}"
        )
    yield f"{cases}, {summary.seconds:.1f} s"
    for answer in summary.answers():
        yield from _wrap("", f"{answer.title}: {_ANSWER[answer.works]} {_some(answer.because)}".rstrip(), width)
    conclusion = _CONCLUSION[summary.exit_code]
    if summary.exit_code == EXIT_OK and any(verdict in TROUBLE for verdict in summary.verdicts.values()):
        conclusion = "PASS: every rule of the interface that was judged held"
    if summary.exit_code == EXIT_OK and verdicts[Verdict.NOT_APPLICABLE.value]:
        conclusion += f" ({verdicts[Verdict.NOT_APPLICABLE.value]} not applicable)"
    yield conclusion


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    return _wrap(f"   {label:{_LABEL}}", text, width)


def _wrap(start: str, text: str, width: int) -> Iterator[str]:
    for line in text.splitlines() or [""]:
        yield from textwrap.wrap(
            line,
            width,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [start]
        start = " " * len(start)
