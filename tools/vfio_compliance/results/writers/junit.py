# SPDX-License-Identifier: GPL-2.0-only
"""The result for what reads JUnit's XML: a suite for each area of rules, a test for each case.

A test is named by clause and case, its class by the rule. What the format has no word for stands in properties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from ...common.words import printable_lines
from ..about import about, began, driver
from ..case import Case
from ..conclusion import conclude
from ..figures import figures, flat
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
    _total(root, [case for cases in groups.values() for case in cases])
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, "unicode")}\n'


def _title(summary: Summary, rule: str) -> str:
    known = summary.rules[rule]
    title = summary.run.areas.get(known.area, known.area)
    return f"{title} (the suite itself)" if known.of_the_suite else title


def _suite(root: Element, title: str, cases: list[Case], summary: Summary, common: Mapping[str, str]) -> None:
    suite = _element(root, "testsuite", name=title, timestamp=f"{began(summary):%Y-%m-%dT%H:%M:%S}")
    _total(suite, cases)
    _properties(suite, common)
    for case in cases:
        _case(suite, case, summary)


def _total(element: Element, cases: Iterable[Case]) -> None:
    cases = list(cases)
    told = [_TOLD.get(case.verdict) for case in cases]
    element.set("tests", str(len(cases)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(told.count(kind)))
    element.set("time", f"{sum(case.seconds for case in cases):.6f}")


def _case(suite: Element, case: Case, summary: Summary) -> None:
    rule = summary.rules[case.rule]
    test = _element(suite, "testcase", classname=rule.id, name=f"{rule.clause} {case.name}", time=f"{case.seconds:.6f}")
    properties = {"rule": rule.id, "clause": ", ".join(rule.clauses), "level": rule.level, "case": case.key}
    _properties(test, {**properties, "verdict": case.verdict.value})
    if kind := _TOLD.get(case.verdict):
        told = _element(test, kind, message=f"{case.verdict.value}: {brief(summary, case)}", type=case.verdict.value)
        if troubled(case):
            told.text = f"\n{block(summary, case)}\n"


def _properties(element: Element, values: Mapping[str, str]) -> None:
    properties = SubElement(element, "properties")
    for name, value in values.items():
        _element(properties, "property", name=name, value=value)


def _element(parent: Element, tag: str, **attributes: str) -> Element:
    return SubElement(parent, tag, {name: printable_lines(value) for name, value in attributes.items()})
