# SPDX-License-Identifier: GPL-2.0-only
"""The result for what reads JUnit's XML: a suite for each area of rules, a test for each case.

A test is named by clause and case, its class by the rule. What the format has no word for stands in properties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from ...common.words import printable_lines
from ..about import about, began, driver
from ..case import Case
from ..conclusion import conclude
from ..figures import figures, flat
from ..outside import NAME, NOT_BLOCKING, blocks, outside
from ..summary import Summary
from ..verdict import Verdict
from .blocks import block, brief, troubled

#: The elements that a verdict is told by; a case that passed has none.
_TOLD: Final = {
    Verdict.FAIL: "failure",
    Verdict.STALE: "failure",
    Verdict.KERNEL: "failure",
    Verdict.WAIVED: "skipped",
    Verdict.NOT_APPLICABLE: "skipped",
    Verdict.BROKEN: "error",
    Verdict.NOT_RUN: "error",
    Verdict.HANG: "error",
}

_ANSWER: Final = {True: "yes", False: "no", None: "not known"}


def render(summary: Summary) -> str:
    """Letters that XML cannot hold, or that steer a terminal, stand there by their escapes."""
    root = Element("testsuites", {"name": "vfio-compliance"})
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
    groups: dict[str, list[Case]] = {}
    for rule in summary.verdicts:
        groups.setdefault(_title(summary, rule), []).extend(summary.cases_of(rule))
    for title, cases in groups.items():
        _suite(root, title, cases, summary, common)
    others = [*outside(summary)]
    if others:
        suite = _element(root, "testsuite", name=NAME, timestamp=f"{began(summary):%Y-%m-%dT%H:%M:%S}")
        _count(suite, [_TOLD.get(verdict) for verdict, _ in others], 0.0)
        _properties(suite, common)
        for number, (verdict, text) in enumerate(others, 1):
            test = _element(suite, "testcase", classname=NAME, name=f"{NAME} ({number})", time="0")
            _element(test, _TOLD[verdict], message=f"{verdict.value}: {text}", type=verdict.value)
    cases = [case for cases in groups.values() for case in cases]
    kinds = [*(_kind(summary, case) for case in cases), *(_TOLD.get(verdict) for verdict, _ in others)]
    _count(root, kinds, sum(case.seconds for case in cases))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, "unicode")}\n'


def _title(summary: Summary, rule: str) -> str:
    known = summary.rules[rule]
    title = summary.run.areas.get(known.area, known.area)
    return f"{title} (the suite itself)" if known.of_the_suite else title


def _suite(root: Element, title: str, cases: list[Case], summary: Summary, common: Mapping[str, str]) -> None:
    suite = _element(root, "testsuite", name=title, timestamp=f"{began(summary):%Y-%m-%dT%H:%M:%S}")
    _count(suite, [_kind(summary, case) for case in cases], sum(case.seconds for case in cases))
    _properties(suite, common)
    for case in cases:
        _case(suite, case, summary)


def _kind(summary: Summary, case: Case) -> str | None:
    """How a case is told; one of a rule that does not count is skipped where it did not pass."""
    kind = _TOLD.get(case.verdict)
    return kind and (kind if blocks(summary, case) else "skipped")


def _count(element: Element, kinds: Sequence[str | None], seconds: float) -> None:
    element.set("tests", str(len(kinds)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(kinds.count(kind)))
    element.set("time", f"{seconds:.6f}")


def _case(suite: Element, case: Case, summary: Summary) -> None:
    rule = summary.rules[case.rule]
    test = _element(suite, "testcase", classname=rule.id, name=f"{rule.clause} {case.name}", time=f"{case.seconds:.6f}")
    properties = {"rule": rule.id, "clause": ", ".join(rule.clauses), "level": rule.level, "case": case.key}
    _properties(test, {**properties, "verdict": case.verdict.value})
    if kind := _kind(summary, case):
        excused = "" if kind == _TOLD.get(case.verdict) else f"{NOT_BLOCKING}: "
        message = f"{excused}{case.verdict.value}: {brief(summary, case)}"
        told = _element(test, kind, message=message, type=case.verdict.value)
        if troubled(case):
            told.text = f"\n{block(summary, case)}\n"


def _properties(element: Element, values: Mapping[str, str]) -> None:
    properties = SubElement(element, "properties")
    for name, value in values.items():
        _element(properties, "property", name=name, value=value)


def _element(parent: Element, tag: str, **attributes: str) -> Element:
    return SubElement(parent, tag, {name: printable_lines(value) for name, value in attributes.items()})
