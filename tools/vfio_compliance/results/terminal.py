# SPDX-License-Identifier: GPL-2.0-only
"""The result as text for a terminal."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator

from ..spec import Rule
from .calls import describe
from .summary import TROUBLE, Case, Summary
from .verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_HANG, EXIT_NOTHING, EXIT_OK, Verdict

#: How many of the last calls of a failing case are shown, how many cases of one rule, and how many more by name.
_CALLS = 12
_CASES = 3
_NAMED = 24

_LABEL = 10

_CONCLUSION = {
    EXIT_OK: "PASS: every rule that was judged held",
    EXIT_FAIL: "FAIL: the device breaks rules",
    EXIT_BROKEN: "INCOMPLETE: not every rule could be judged",
    EXIT_HANG: "HANG: the device did not answer in time",
    EXIT_NOTHING: "NOTHING: no rule was judged",
}


def render(summary: Summary, width: int = 100) -> str:
    """All of the result, in lines of at most ``width`` columns where words allow it."""
    return "\n".join(
        [
            *_heading(summary, width),
            *_table(summary),
            *_behaviour(summary),
            *_notes(summary, width),
            *_failures(summary, width),
            *_end(summary, width),
        ]
    )


def _heading(summary: Summary, width: int) -> Iterator[str]:
    run = summary.run
    yield f"{run['profile'].get('name', '?')}: {run.get('description') or 'no description'}"
    identity = {"kernel": run.get("kernel", "")} | summary.target.get("identity", {})
    if run.get("defects"):
        identity["broken on purpose"] = ", ".join(run["defects"])
    for key, value in identity.items():
        yield from _wrap(f"  {key:18}", value, width)


def _table(summary: Summary) -> Iterator[str]:
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
        for question, answers in summary.observed.items():
            for answer, times in answers.items():
                yield f"  {question:44}{answer}" + (f"  ({times} times)" if times > 1 else "")


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
                yield f"{number}) {troubled.value.upper()}  {id_}  ({len(cases)} of {len(summary.cases_of(id_))} cases)"
                yield from _explanation(rule, width)
                for case in cases[:_CASES]:
                    yield from _case(case, summary, width)
                yield from _others(cases[_CASES:], width)
        if verdict is Verdict.WAIVED:
            yield ""
            yield f"waived: {id_}"
            yield from _labelled("reason", summary.cases_of(id_)[0].failure.get("waiver", ""), width)
    yield from _unjudged(summary, width)


def _unjudged(summary: Summary, width: int) -> Iterator[str]:
    reasons: dict[str, list[Case]] = {}
    for case in summary.cases.values():
        if case.verdict is Verdict.NOT_RUN and case.failure:
            reasons.setdefault(_sentence(case.failure), []).append(case)
    for reason, cases in reasons.items():
        rules = dict.fromkeys(case.rule for case in cases)
        yield ""
        yield f"Not judged: {len(cases)} cases of {len(rules)} rules"
        yield from _labelled("because", reason, width)
        yield from _labelled("rules", ", ".join(rules), width)


def _others(cases: list[Case], width: int) -> Iterator[str]:
    """The cases for which there was no room, by their parameters."""
    if cases:
        named = [case.id.partition("[")[2].rstrip("]") for case in cases[:_NAMED]]
        rest = f" and {len(cases) - _NAMED} more" if len(cases) > _NAMED else ""
        yield from _labelled("also", ", ".join(named) + rest, width)


def _sentence(failure: dict[str, str]) -> str:
    text = failure["what"]
    if "expected" in failure:
        text += f": expected {failure['expected']}, seen {failure['seen']}"
    return text


def _explanation(rule: Rule, width: int) -> Iterator[str]:
    yield from _labelled("rule", rule.says, width)
    yield from _labelled("clause", f"{', '.join(rule.clauses)} ({rule.level}, {rule.status}), {rule.source}", width)


def _case(case: Case, summary: Summary, width: int) -> Iterator[str]:
    yield from _labelled("case", _parameters(case), width)
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


def rerun(summary: Summary, case: Case) -> str:
    """The command that runs this case alone."""
    words = ["vfio-compliance", "run", summary.run["profile"]["path"]]
    for defect in summary.run["defects"]:
        words += ["--defect", defect]
    return shlex.join([*words, "--only", case.id])


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
    yield f"{sum(verdicts.values())} rules: {counts or 'none'}"
    totals = summary.totals
    cases = (
        f"{sum(case.verdict is not Verdict.NOT_RUN for case in summary.cases.values())} of {len(summary.cases)} cases"
    )
    if totals:
        moved = totals["bytes_read"] + totals["bytes_written"]
        cases += (
            f", {totals['calls']} calls, {totals['opens']} opens, {totals['resets']} resets, "
            f"{moved / 1024:.0f} KiB moved"
        )
    yield f"{cases}, {summary.seconds:.1f} s"
    yield _CONCLUSION[summary.exit_code]


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    return _wrap(f"   {label:{_LABEL}}", text, width)


def _wrap(start: str, text: str, width: int) -> Iterator[str]:
    for line in text.splitlines() or [""]:
        yield from textwrap.wrap(
            line, width, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False
        ) or [start]
        start = " " * len(start)
