# SPDX-License-Identifier: GPL-2.0-only
"""The result for readers of JUnit's XML: a suite for each area of rules, a test for each case.

A test is named by clause and case, its class by the rule. What has no place in the format is in properties.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from ...common.words import printable_lines
from ..about import about, began, driver
from ..case import Case
from ..conclusion import conclude
from ..figures import figures, flat
from ..outside import NAME, NOT_BLOCKING, blocks, outside
from ..summary import Summary
from ..verdict import Verdict
from .blocks import block, brief, troubled

#: The element for each verdict; a case that passed has none.
_KINDS: Final = {
    Verdict.FAIL: "failure",
    Verdict.STALE: "failure",
    Verdict.KERNEL: "failure",
    Verdict.WAIVED: "skipped",
    Verdict.NOT_APPLICABLE: "skipped",
    Verdict.BROKEN: "error",
    Verdict.NOT_RUN: "error",
    Verdict.HANG: "error",
}

_ANSWER: Final = {True: "yes", False: "no", None: "unknown"}


def render(summary: Summary) -> str:
    """The report. Characters that XML cannot hold, and control characters, are escaped."""
    word, detail, plan = conclude(summary)
    common = {
        "verdict": word,
        "detail": detail,
        "plan": plan,
        "exit code": str(summary.exit_code),
        **about(summary),
        "driver": driver(summary),
        **{answer.title: _ANSWER[answer.works] for answer in summary.answers()},
        **{name: str(value) for name, value in flat(figures(summary.measures))},
    }
    suites: dict[str, list[_Test]] = {}
    for rule in summary.verdicts:
        suites.setdefault(_title(summary, rule), []).extend(_test(summary, case) for case in summary.cases_of(rule))
    others = [*_outside(summary)]
    if others:
        suites[NAME] = others
    day = f"{began(summary):%Y-%m-%dT%H:%M:%S}"
    tests = [test for group in suites.values() for test in group]
    lines = [f"<testsuites{_attributes(name='vfio-compliance', **_counts(tests))}>"]
    for title, group in suites.items():
        lines += [f"<testsuite{_attributes(name=title, timestamp=day, **_counts(group))}>", _properties(common)]
        lines += [test.text for test in group]
        lines += ["</testsuite>"]
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', *lines, "</testsuites>", ""])


class _Test(NamedTuple):
    #: The element that says how it ended; None if it passed.
    kind: str | None
    seconds: float
    text: str


def _title(summary: Summary, rule: str) -> str:
    known = summary.rules[rule]
    title = summary.run.areas.get(known.area, known.area)
    return f"{title} (the suite itself)" if known.of_the_suite else title


def _kind(summary: Summary, case: Case) -> str | None:
    """The element of a case; if its rule does not count and it did not pass, it is skipped."""
    kind = _KINDS.get(case.verdict)
    return kind and (kind if blocks(summary, case) else "skipped")


def _counts(tests: Sequence[_Test]) -> dict[str, str]:
    kinds = [test.kind for test in tests]
    elements = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {name: str(kinds.count(kind)) for name, kind in elements.items()}
    return {"tests": str(len(tests)), **counts, "time": f"{sum(test.seconds for test in tests):.6f}"}


def _test(summary: Summary, case: Case) -> _Test:
    rule = summary.rules[case.rule]
    properties = {"rule": rule.id, "clause": ", ".join(rule.clauses), "level": rule.level, "case": case.key}
    content = _properties({**properties, "verdict": case.verdict.value})
    if kind := _kind(summary, case):
        excused = "" if kind == _KINDS.get(case.verdict) else f"{NOT_BLOCKING}: "
        message = f"{excused}{case.verdict.value}: {brief(summary, case)}"
        words = f"\n{escape(block(summary, case), quote=False)}\n" if troubled(case) else ""
        content += f"\n<{kind}{_attributes(message=message, type=case.verdict.value)}>{words}</{kind}>"
    names = _attributes(classname=rule.id, name=f"{rule.clause} {case.name}", time=f"{case.seconds:.6f}")
    return _Test(kind, case.seconds, f"<testcase{names}>\n{content}\n</testcase>")


def _outside(summary: Summary) -> Iterator[_Test]:
    """What happened outside of any rule."""
    for number, (verdict, text) in enumerate(outside(summary), 1):
        kind = _KINDS[verdict]
        element = f"<{kind}{_attributes(message=f'{verdict.value}: {text}', type=verdict.value)}/>"
        names = _attributes(classname=NAME, name=f"{NAME} ({number})", time="0")
        yield _Test(kind, 0.0, f"<testcase{names}>{element}</testcase>")


def _properties(values: Mapping[str, str]) -> str:
    lines = (f"<property{_attributes(name=name, value=value)}/>" for name, value in values.items())
    return f"<properties>{''.join(lines)}</properties>"


def _attributes(**values: str) -> str:
    """Written out; a line break in one stays one."""
    return "".join(f' {name}="{_quoted(printable_lines(value))}"' for name, value in values.items())


def _quoted(text: str) -> str:
    return escape(text, quote=False).replace('"', "&quot;").replace("\n", "&#10;")
